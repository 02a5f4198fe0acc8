/** Listeners: where they listen, and how they close. */
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { type BindError, Transport } from "effect-transport"
import { EchoService, echo, messages, numbered, serveEcho } from "./fixtures/echo.js"
import { closable, soon, within } from "./fixtures/expect.js"
import { captureLog, follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

export const listeners = ({ test, unixSockets }: Suite): void => {
  describe("listeners", () => {
    test("report the port that the system chose, and log it once", function* () {
      const log = yield* captureLog
      const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo)).pipe(
        Effect.provide(log.layer)
      )
      expect(listener.address.host).toBe("127.0.0.1")
      expect(listener.address.port).toBeGreaterThan(0)
      expect(listener.target).toBe(`127.0.0.1:${listener.address.port}`)
      yield* client.echo({})
      const lines = log.lines.filter(({ text }) => text.includes(listener.target))
      expect(lines).toEqual([{ level: "INFO", text: expect.stringContaining("listening") }])
    })

    test("on a port that is taken fail with BindError", function* () {
      const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const again = Transport.listen([], { port: listener.address.port })
      const error: BindError = yield* Effect.flip(again)
      expect(error).toMatchObject({ _tag: "BindError", reason: "AddressInUse", address: listener.target })
      expect((yield* client.echo({ message: "undisturbed" })).message).toBe("undisturbed")
    })

    test("and clients refuse ports that are none", function* () {
      for (const port of [65_536, 70_000, 2 ** 32 + 443, -1, 80.5, Number.NaN, Number.POSITIVE_INFINITY]) {
        expect(yield* Effect.flip(Transport.listen([], { port })), String(port)).toMatchObject({
          _tag: "BindError",
          reason: "InvalidAddress",
          address: `127.0.0.1:${port}`
        })
        expect(yield* Effect.flip(Transport.client(EchoService, `127.0.0.1:${port}`)), String(port)).toMatchObject({
          _tag: "InvalidArgument",
          peer: `127.0.0.1:${port}`
        })
      }
    })

    test("leave their port free when they close", function* () {
      const handlers = [Transport.handlers(EchoService, echo)] as const
      const { address } = yield* Effect.scoped(Transport.listen(handlers))
      const again = yield* Transport.listen(handlers, { port: address.port })
      expect(again.address).toEqual(address)
    })

    test(
      "listen on a unix socket",
      function* () {
        const directory = yield* Effect.acquireRelease(
          Effect.promise(() => Fs.mkdtemp(Path.join(Os.tmpdir(), "transport-"))),
          (directory) => Effect.promise(() => Fs.rm(directory, { recursive: true }))
        )
        const path = Path.join(directory, "node.sock")
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo), { path })
        expect(listener.target).toBe(`unix:${path}`)
        expect((yield* client.echo({ message: "short way" })).message).toBe("short way")
        expect(yield* Effect.flip(Transport.listen([], { path }))).toMatchObject({
          _tag: "BindError",
          reason: "AddressInUse"
        })
      },
      unixSockets
    )

    test("let calls in flight finish when they close, and take no new ones", function* () {
      const latch = yield* Deferred.make<void>()
      const draining = yield* Deferred.make<void>()
      const handler = yield* follow
      const [listener, close] = yield* closable(
        Transport.listen(
          [
            Transport.handlers(EchoService, {
              ...echo,
              echo: (_, call) =>
                handler.run(
                  Effect.gen(function* () {
                    yield* call.draining
                    yield* Deferred.succeed(draining, undefined)
                    yield* Deferred.await(latch)
                    return { message: "in time" }
                  })
                )
            })
          ],
          { gracePeriod: "10 seconds" }
        )
      )
      const client = yield* Transport.client(EchoService, listener.target)
      const call = yield* Effect.fork(client.echo({}))
      yield* handler.started
      const closing = yield* Effect.fork(close)
      yield* soon(Deferred.await(draining))
      expect(yield* Effect.flip(client.echoClientStream(Stream.empty))).toMatchObject({ _tag: "Unavailable" })
      yield* Deferred.succeed(latch, undefined)
      expect((yield* soon(Fiber.join(call))).message).toBe("in time")
      expect(yield* handler.ended).toBe("succeeded")
      yield* soon(Fiber.join(closing))
    })

    test("tell long streams that they close, so that these can end", function* () {
      const [listener, close] = yield* closable(
        Transport.listen([
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: (_, call) =>
              Stream.concat(numbered(2), Stream.as(Stream.fromEffect(call.draining), { message: "bye" }))
          })
        ])
      )
      const client = yield* Transport.client(EchoService, listener.target)
      const second = yield* Deferred.make<void>()
      const fiber = yield* client.echoServerStream({}).pipe(
        Stream.tap(({ message }) => (message === "2" ? Deferred.succeed(second, undefined) : Effect.void)),
        messages,
        Effect.fork
      )
      yield* soon(Deferred.await(second))
      yield* soon(close)
      expect(yield* soon(Fiber.join(fiber))).toEqual(["1", "2", "bye"])
    })

    test("interrupt what still runs after the grace period, and its callers get Unavailable", function* () {
      const unary = yield* follow
      const streaming = yield* follow
      const [listener, close] = yield* closable(
        Transport.listen(
          [
            Transport.handlers(EchoService, {
              ...echo,
              echo: () => unary.run(Effect.never),
              echoBidi: () => Stream.fromEffect(streaming.run(Effect.never))
            })
          ],
          { gracePeriod: "100 millis" }
        )
      )
      const client = yield* Transport.client(EchoService, listener.target)
      const calls = yield* Effect.fork(
        Effect.all([Effect.flip(client.echo({})), Effect.flip(Stream.runDrain(client.echoBidi(Stream.never)))], {
          concurrency: 2
        })
      )
      yield* unary.started
      yield* streaming.started
      const [elapsed] = yield* Effect.timed(close)
      expect(Duration.toMillis(elapsed)).toBeGreaterThan(90)
      expect(Duration.toMillis(elapsed)).toBeLessThan(5500)
      expect([yield* unary.ended, yield* streaming.ended]).toEqual(["interrupted", "interrupted"])
      for (const error of yield* soon(Fiber.join(calls))) {
        expect(error).toMatchObject({
          _tag: "Unavailable",
          code: 14,
          processed: "unknown",
          peer: listener.target,
          method: expect.stringMatching("^/echo.v1.EchoService/Echo")
        })
      }
    })

    test("wait no longer for a handler that can't be interrupted", function* () {
      const latch = yield* Deferred.make<void>()
      const handler = yield* follow
      const [listener, close] = yield* closable(
        Transport.listen(
          [
            Transport.handlers(EchoService, {
              ...echo,
              echo: () => Effect.uninterruptible(handler.run(Effect.as(Deferred.await(latch), {})))
            })
          ],
          { gracePeriod: "100 millis" }
        )
      )
      const client = yield* Transport.client(EchoService, listener.target)
      const call = yield* Effect.fork(Effect.flip(client.echo({})))
      yield* handler.started
      yield* within(close, "3 seconds")
      expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", peer: listener.target })
      yield* Deferred.succeed(latch, undefined)
    })
  })
}
