/** Deadlines: both sides know when a call is over, and it is over then. */
import { describe, expect } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { Deadline, DeadlineExceeded, Middleware, Transport } from "effect-transport"
import { EchoService, echo, echoPath, numbered, serveEcho, upTo } from "./fixtures/echo.js"
import { eventually, soon, within } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

export const deadlines = ({ test, withOptions }: Suite): void => {
  describe("deadlines", () => {
    const near = (deadline: Deadline.Deadline, expected: number) => {
      expect(deadline).toBeGreaterThan(expected - 500)
      expect(deadline).toBeLessThan(expected + 7500)
    }

    /** A listener whose handlers tell the deadline they were given. */
    const deadlines = Effect.gen(function* () {
      const seen = yield* Queue.unbounded<Deadline.Deadline>()
      const see = (call: Transport.Call) => Queue.offer(seen, call.deadline)
      const handlers = Transport.handlers(EchoService, {
        ...echo,
        echo: (_, call) => Effect.as(see(call), {}),
        echoServerStream: (_, call) => Stream.drain(Stream.fromEffect(see(call)))
      })
      return { handlers, seen: soon(Queue.take(seen)) }
    })

    test("the caller gives up when the time is over, and the handler is interrupted", function* () {
      const unary = yield* follow
      const streaming = yield* follow
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => unary.run(Effect.never),
          echoBidi: () => Stream.fromEffect(streaming.run(Effect.never))
        })
      )
      for (const [handler, path, call] of [
        [unary, echoPath, client.echo({}, { timeout: "100 millis" })],
        [
          streaming,
          "/echo.v1.EchoService/EchoBidi",
          Stream.runDrain(client.echoBidi(Stream.never, { timeout: "100 millis" }))
        ]
      ] as const) {
        const [elapsed, error] = yield* Effect.timed(Effect.flip(call))
        expect(error).toBeInstanceOf(DeadlineExceeded)
        expect(error).toMatchObject({ code: 4, peer: listener.target, method: path })
        expect(Duration.toMillis(elapsed)).toBeGreaterThan(90)
        expect(Duration.toMillis(elapsed)).toBeLessThan(5000)
        expect(yield* handler.ended).toBe("interrupted")
      }
    })

    test("a stream that goes on past its deadline ends there", function* () {
      const seen: Array<string> = []
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => Stream.concat(numbered(3), Stream.fromEffect(handler.run(Effect.never)))
        })
      )
      const error = yield* client.echoServerStream({}, { timeout: "200 millis" }).pipe(
        Stream.runForEach(({ message }) => Effect.sync(() => seen.push(message))),
        Effect.flip
      )
      expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
      expect(seen).toEqual(upTo(3))
      expect(yield* handler.ended).toBe("interrupted")
    })

    test("the handler knows when the caller stops waiting", function* () {
      const { handlers, seen } = yield* deadlines
      const { client } = yield* serveEcho(handlers)
      const now = yield* Clock.currentTimeMillis
      yield* client.echo({}, { timeout: "5 seconds" })
      near(yield* seen, now + 5_000)
      yield* Stream.runDrain(client.echoServerStream({}, { timeout: "6 minutes" }))
      near(yield* seen, now + 360_000)
    })

    test("a call that names no timeout has its client's, or the transport's", function* () {
      const { handlers, seen } = yield* deadlines
      const listener = yield* Transport.listen([handlers])
      const plain = yield* Transport.client(EchoService, listener.target)
      const patient = yield* Transport.client(EchoService, listener.target, { timeout: "4 minutes" })
      const other = yield* withOptions({ defaultTimeout: "9 seconds" })(Transport.client(EchoService, listener.target))
      const now = yield* Clock.currentTimeMillis
      yield* plain.echo({})
      near(yield* seen, now + 30_000)
      yield* patient.echo({})
      near(yield* seen, now + 240_000)
      yield* patient.echo({}, { timeout: "8 seconds" })
      near(yield* seen, now + 8_000)
      yield* other.echo({})
      near(yield* seen, now + 9_000)
    })

    test("an infinite timeout leaves a unary call 5 minutes, and sets a stream no deadline", function* () {
      const { handlers, seen } = yield* deadlines
      const { client } = yield* serveEcho(handlers)
      const now = yield* Clock.currentTimeMillis
      yield* client.echo({}, { timeout: Duration.infinity })
      near(yield* seen, now + 300_000)
      yield* client.echo({}, { timeout: "6 minutes" })
      near(yield* seen, now + 300_000)
      yield* Stream.runDrain(client.echoServerStream({}, { timeout: Duration.infinity }))
      expect(yield* seen).toBe(Number.POSITIVE_INFINITY)
    })

    test("a listener's limit holds for both, and an earlier deadline of the caller's counts", function* () {
      const { handlers, seen } = yield* deadlines
      const { client } = yield* withOptions({ maxCallDuration: "1 minute" })(serveEcho(handlers))
      const now = yield* Clock.currentTimeMillis
      yield* client.echo({}, { timeout: Duration.infinity })
      near(yield* seen, now + 60_000)
      yield* Stream.runDrain(client.echoServerStream({}, { timeout: "2 minutes" }))
      near(yield* seen, now + 60_000)
      yield* client.echo({}, { timeout: "10 seconds" })
      near(yield* seen, now + 10_000)
      const unlimited = yield* withOptions({ maxCallDuration: Duration.infinity })(serveEcho(handlers))
      yield* unlimited.client.echo({}, { timeout: Duration.infinity })
      expect(yield* seen).toBe(Number.POSITIVE_INFINITY)
    })

    test("calls without a deadline don't hold the places of a connection for ever", function* () {
      const count = 100
      let interrupted = 0
      const never = Effect.onInterrupt(Effect.never, () => Effect.sync(() => (interrupted += 1)))
      const { client, listener } = yield* withOptions({ maxCallDuration: "2 seconds", maxConcurrentStreams: count })(
        serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: ({ message }) => (message === "never" ? never : Effect.succeed({ message })),
            echoBidi: () => Stream.fromEffect(never)
          })
        )
      )
      const calls = yield* Effect.forEach(
        Array.from({ length: count }, (_, i) => i),
        (i) =>
          Effect.fork(
            Effect.flip(
              i % 2 === 0
                ? client.echo({ message: "never" }, { timeout: Duration.infinity })
                : Stream.runDrain(client.echoBidi(Stream.never, { timeout: "1 hour" }))
            )
          )
      )
      expect((yield* within(client.echo({ message: "next" }), "5 seconds")).message).toBe("next")
      for (const error of yield* Effect.forEach(calls, Fiber.join)) {
        expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: listener.target })
        expect(error.message).toContain("maxCallDuration")
      }
      yield* eventually(Effect.sync(() => expect(interrupted).toBe(count)))
    })

    test("where the time is over already, no call is made", function* () {
      const handler = yield* follow
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => handler.run(Effect.succeed({})),
          echoBidi: () => Stream.drain(Stream.fromEffect(handler.run(Effect.void)))
        })
      )
      for (const call of [
        client.echo({}, { timeout: 0 }),
        Stream.runDrain(client.echoBidi(Stream.never, { timeout: 0 }))
      ]) {
        expect(yield* Effect.flip(call)).toMatchObject({ _tag: "DeadlineExceeded", peer: listener.target })
      }
      expect((yield* client.echoClientStream(Stream.empty)).index).toBe(0)
      expect(yield* handler.isStarted).toBe(false)
    })

    test("a handler's own calls end no later than the call that it handles, unless it says so", function* () {
      const { handlers, seen } = yield* deadlines
      const last = yield* serveEcho(handlers)
      const relay = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (request) =>
            last.client.echo(
              request,
              request.message === "shorter"
                ? { timeout: "2 seconds" }
                : { timeout: "1 minute", inheritDeadline: request.message === "inherit" }
            ),
          echoServerStream: () => Stream.as(last.client.echoServerStream({}), {})
        })
      )
      const now = yield* Clock.currentTimeMillis
      yield* relay.client.echo({ message: "inherit" }, { timeout: "9 seconds" })
      near(yield* seen, now + 9_000)
      yield* Stream.runDrain(relay.client.echoServerStream({}, { timeout: "8 seconds" }))
      near(yield* seen, now + 8_000)
      yield* relay.client.echo({ message: "shorter" }, { timeout: "20 seconds" })
      near(yield* seen, now + 2_000)
      yield* relay.client.echo({ message: "do not" }, { timeout: "9 seconds" })
      near(yield* seen, now + 60_000)
      yield* relay.client.echo({ message: "inherit" }, { timeout: Duration.infinity })
      near(yield* seen, now + 60_000)
    })

    test("calls inside of Deadline.within end by it, and their peers know it", function* () {
      const { handlers, seen } = yield* deadlines
      const { client } = yield* serveEcho(handlers)
      const now = yield* Clock.currentTimeMillis
      yield* Deadline.within(client.echo({}, { inheritDeadline: false }), now + 9_000)
      near(yield* seen, now + 9_000)
      yield* client.echo({}, { timeout: "1 minute" }).pipe(Deadline.within(now + 8_000), Deadline.within(now + 50_000))
      near(yield* seen, now + 8_000)
      yield* Deadline.within(client.echo({}, { timeout: "7 seconds" }), now + 50_000)
      near(yield* seen, now + 7_000)
      yield* Deadline.within(Stream.runDrain(client.echoServerStream({})), now + 6_000)
      near(yield* seen, now + 6_000)
      // Listeners and clients that are made inside outlive it.
      const relay = yield* Deadline.within(
        serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echo: (request) => client.echo(request, { timeout: "40 seconds", inheritDeadline: false })
          }),
          { client: { middleware: [Middleware.client({ run: () => Effect.succeed({}) })] } }
        ),
        now + 20_000
      )
      yield* relay.client.echo({})
      near(yield* seen, now + 40_000)
      yield* relay.client.echo({}, { timeout: "30 seconds" })
      near(yield* seen, now + 40_000)
    })
  })
}
