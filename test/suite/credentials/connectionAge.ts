/** Connections of an age: they are replaced without a failed call. */
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Credentials, Transport } from "effect-transport"
import { EchoService, echo } from "../fixtures/echo.js"
import { eventually, leavesNothing, testTimeout, within } from "../fixtures/expect.js"
import { proxy } from "../fixtures/proxy.js"
import type { RotationOptions, Suite } from "./harness.js"

export const connectionAge = ({ layer, refusesLateCalls, tcp, test }: Suite): void => {
  describe("connections of an age", () => {
    /** A listener with an age for its connections, and a client of it. */
    const aging = (options: RotationOptions) =>
      Effect.gen(function* () {
        const connections = new Set<unknown>()
        const ran = new Set<string>()
        const replaced = yield* Deferred.make<void>()
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { peer }) =>
            Effect.sync(() => {
              connections.add(peer.address)
              ran.add(message)
              if (connections.size > 1) {
                Deferred.unsafeDone(replaced, Effect.void)
              }
              return { message }
            }),
          // The brief one ends when there is another connection already.
          echoServerStream: ({ message }) =>
            Stream.concat(
              Stream.make({}),
              message === "brief" ? Stream.as(Stream.fromEffect(Deferred.await(replaced)), {}) : Stream.never
            )
        })
        const context = yield* Layer.build(Layer.provide(layer(options), Credentials.layerDev()))
        const { target } = yield* Effect.provide(Transport.listen([handlers]), context)
        const clientOf = (target: string) => Effect.provide(Transport.client(EchoService, target), context)
        return { clientOf, connections, ran, target }
      })

    let calls = 0
    const callOf = ({ echo }: Transport.Client<typeof EchoService>) =>
      Effect.suspend(() => echo({ message: String(calls++) }, { timeout: "25 seconds" }))

    test(
      "are replaced without a failed call, and calls that go on have the grace period",
      Effect.gen(function* () {
        const began = performance.now()
        const { clientOf, connections, ran, target } = yield* aging({
          maxConnectionAge: "400 millis",
          gracePeriod: "1 second",
          initialReconnectBackoff: "10 millis"
        })
        const echoes = yield* clientOf(target)
        // A call that is refused as late says that it has not run, which must be true.
        const call = Effect.suspend(() => {
          const message = String(calls++)
          const once = echoes.echo({ message }, { timeout: "25 seconds" })
          return Effect.retry(once, {
            while: (error) =>
              refusesLateCalls !== undefined &&
              error._tag === "Unavailable" &&
              error.processed === "no" &&
              !ran.has(message)
          })
        })
        const endless = yield* Effect.fork(Effect.either(Stream.runDrain(echoes.echoServerStream({}))))
        const brief = yield* Effect.fork(
          Effect.mapError(
            Stream.runCount(echoes.echoServerStream({ message: "brief" })),
            (error) => `brief: ${error.message}`
          )
        )
        const load = yield* Effect.forkScoped(
          Effect.forever(
            Effect.zipRight(
              Effect.sleep("5 millis"),
              Effect.mapError(call, (error) => `a call: ${error._tag} ${error.message}`)
            )
          )
        )
        expect(yield* Effect.raceFirst(within(Fiber.join(brief), "5 seconds"), Fiber.join(load))).toBe(2)
        const end = yield* Effect.raceFirst(within(Fiber.join(endless), "5 seconds"), Fiber.join(load))
        expect(end).toMatchObject({ left: { _tag: "Unavailable" } })
        // A tenth less than the age, and the period; a stream is not cut to the millisecond.
        expect(performance.now() - began).toBeGreaterThan(360 + 1000 - 50)
        yield* Effect.raceFirst(
          eventually(
            Effect.sync(() => expect(connections.size).toBeGreaterThan(2)),
            "5 seconds"
          ),
          Fiber.join(load)
        )
      })
    )

    test(
      "answer a call that came just before, or say that it has not run, which is true",
      Effect.gen(function* () {
        const { clientOf, ran, target } = yield* aging({ maxConnectionAge: "300 millis" })
        for (let turns = 0; turns < 5; turns += 1) {
          const echoes = yield* clientOf(target)
          const connected = performance.now()
          yield* Effect.sleep("200 millis")
          const message = `just before ${turns}`
          const call = yield* Effect.fork(Effect.either(echoes.echo({ message }, { timeout: "25 seconds" })))
          for (let turn = 0; turn < turns; turn += 1) {
            yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
          }
          // A turn of the event loop in which both come: the age, and the call.
          while (performance.now() - connected < 350) {}
          const result = yield* Fiber.join(call)
          expect(Either.isRight(result) || { ...result.left, ran: ran.has(message) }).toEqual(
            Either.isRight(result) || expect.objectContaining({ _tag: "Unavailable", processed: "no", ran: false })
          )
        }
      })
    )

    if (tcp) {
      /** A call that begins while the word that the connection is to be left is on its way. */
      const crossing = Effect.gen(function* () {
        const { clientOf, connections, ran, target } = yield* aging({ maxConnectionAge: "1 second" })
        const line = yield* proxy(Number(target.slice(target.lastIndexOf(":") + 1)))
        const echoes = yield* clientOf(line.target)
        yield* callOf(echoes)
        yield* line.hold("down")
        yield* Effect.sleep("1200 millis")
        const message = "crossing"
        const call = yield* Effect.fork(Effect.either(echoes.echo({ message }, { timeout: "25 seconds" })))
        // Time enough to reach the listener.
        yield* Effect.sleep("100 millis")
        yield* line.release
        const result = yield* Fiber.join(call)
        yield* callOf(echoes)
        expect(connections.size).toBe(2)
        return { result, ran: ran.has(message) }
      })
      const title = "are replaced without a failed call where the word of that and the call cross"
      const body = Effect.flatMap(crossing, ({ result }) =>
        Effect.sync(() => expect(result).toMatchObject({ right: { message: "crossing" } }))
      )
      if (refusesLateCalls !== undefined) {
        it.live.fails(`${title} (${refusesLateCalls})`, () => leavesNothing(body), testTimeout)
        test(
          "refuse a call that crosses the word of that as one that has not run",
          Effect.map(crossing, (crossed) =>
            expect(crossed).toMatchObject({ result: { left: { _tag: "Unavailable", processed: "no" } }, ran: false })
          )
        )
      } else {
        test(title, body)
      }
    }

    for (const maxConnectionAge of ["30 days", Number.POSITIVE_INFINITY] as const) {
      test(
        `of ${maxConnectionAge} stay`,
        Effect.gen(function* () {
          const { clientOf, connections, target } = yield* aging({ maxConnectionAge })
          const echoes = yield* clientOf(target)
          yield* callOf(echoes)
          yield* Effect.sleep("50 millis")
          yield* callOf(echoes)
          expect(connections.size).toBe(1)
        })
      )
    }
  })
}
