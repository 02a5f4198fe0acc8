/** Health: what a listener tells of its services, by itself and as it is told. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { Health, Transport } from "effect-transport"
import { EchoService, echo } from "./fixtures/echo.js"
import { closable, soon } from "./fixtures/expect.js"
import type { Suite } from "./harness.js"

const name = EchoService.typeName
const own = Health.Contract.typeName

const [unknown, serving, notServing] = [3, 1, 2]

const EchoHandlers = Transport.handlers(EchoService, echo)

/** What a watcher is told, one after the other. */
const watching = (client: Transport.Client<typeof Health.Contract>, service: string) =>
  Effect.gen(function* () {
    const told = yield* Queue.unbounded<number>()
    const fiber = yield* Effect.forkScoped(
      Stream.runForEach(client.watch({ service }, { timeout: Number.POSITIVE_INFINITY }), ({ status }) =>
        Queue.offer(told, status)
      )
    )
    return { next: soon(Queue.take(told)), size: Queue.size(told), ended: soon(Fiber.join(fiber)) }
  })

export const health = ({ test }: Suite): void => {
  describe("health", () => {
    test("of each service of a listener is told by itself", function* () {
      const program = Effect.gen(function* () {
        const { target } = yield* Transport.listen([EchoHandlers, Health.handlers])
        const client = yield* Transport.client(Health.Contract, target)
        for (const service of [name, own, ""]) {
          expect(yield* client.check({ service }), service).toMatchObject({ status: serving })
        }
        for (const service of ["echo.v1", "echo.v1.Echo", `${name}/Echo`, "x".repeat(100_000)]) {
          expect(yield* Effect.flip(client.check({ service }))).toMatchObject({ _tag: "NotFound" })
        }
        const { statuses } = yield* client.list({})
        expect(Object.keys(statuses).sort()).toEqual(["", name, own])
        expect(Object.values(statuses).map(({ status }) => status)).toEqual([serving, serving, serving])
      })
      yield* Effect.provide(program, Health.layer)
    })

    test("is what was set, until that is cleared", function* () {
      const program = Effect.gen(function* () {
        const { clear, set } = yield* Health.Health
        const { target } = yield* Transport.listen([EchoHandlers, Health.handlers])
        const client = yield* Transport.client(Health.Contract, target)
        const check = (service: string) => Effect.map(client.check({ service }), ({ status }) => status)
        const watcher = yield* watching(client, name)
        expect(yield* watcher.next).toBe(serving)
        yield* set(name, "NOT_SERVING")
        expect(yield* watcher.next).toBe(notServing)
        expect([yield* check(name), yield* check("")]).toEqual([notServing, serving])
        yield* set("", "NOT_SERVING")
        yield* set("a.database", "SERVING")
        expect([yield* check(""), yield* check("a.database"), yield* check(own)]).toEqual([
          notServing,
          serving,
          serving
        ])
        yield* clear(name)
        expect(yield* watcher.next).toBe(serving)
        expect(yield* check(name)).toBe(serving)
        // Nothing was told of other services.
        expect(yield* watcher.size).toBe(0)
      })
      yield* Effect.provide(program, Health.layer)
    })

    test("of a service that comes and goes is told to watchers on another listener", function* () {
      const program = Effect.gen(function* () {
        const admin = yield* Transport.listen([Health.handlers])
        const client = yield* Transport.client(Health.Contract, admin.target)
        const watcher = yield* watching(client, name)
        expect(yield* watcher.next).toBe(unknown)
        const entered = yield* Deferred.make<void>()
        const latch = yield* Deferred.make<void>()
        const [node, close] = yield* closable(
          Transport.listen([
            Transport.handlers(EchoService, {
              ...echo,
              echo: () => Effect.zipRight(Deferred.succeed(entered, undefined), Effect.as(Deferred.await(latch), {}))
            })
          ])
        )
        expect(yield* watcher.next).toBe(serving)
        const call = yield* Effect.fork(Effect.flatMap(Transport.client(EchoService, node.target), (c) => c.echo({})))
        yield* soon(Deferred.await(entered))
        const closing = yield* Effect.fork(close)
        expect(yield* watcher.next).toBe(notServing)
        yield* Deferred.succeed(latch, undefined)
        yield* soon(Fiber.join(call))
        yield* soon(Fiber.join(closing))
        expect(yield* watcher.next).toBe(unknown)
        expect(yield* client.check({})).toMatchObject({ status: serving })
      })
      yield* Effect.provide(program, Health.layer)
    })

    test("is NOT_SERVING to all watchers of a listener that closes, and then their streams end", function* () {
      const program = Effect.gen(function* () {
        const [{ target }, close] = yield* closable(Transport.listen([EchoHandlers, Health.handlers]))
        const client = yield* Transport.client(Health.Contract, target)
        const watchers = yield* Effect.forEach([name, "", "nobody.knows.it"], (service) => watching(client, service))
        expect(yield* Effect.forEach(watchers, ({ next }) => next)).toEqual([serving, serving, unknown])
        yield* soon(close)
        expect(yield* Effect.forEach(watchers, ({ next }) => next)).toEqual([notServing, notServing, notServing])
        for (const { ended, size } of watchers) {
          yield* ended
          expect(yield* size).toBe(0)
        }
      })
      yield* Effect.provide(program, Health.layer)
    })

    test("that watchers keep is bounded by the length of its name", function* () {
      const program = Effect.gen(function* () {
        const { target } = yield* Transport.listen([Health.handlers])
        const client = yield* Transport.client(Health.Contract, target)
        const watch = Stream.runDrain(client.watch({ service: "x".repeat(1025) }))
        expect(yield* soon(Effect.flip(watch))).toMatchObject({ _tag: "InvalidArgument" })
      })
      yield* Effect.provide(program, Health.layer)
    })
  })
}
