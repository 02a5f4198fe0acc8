/** Cancellation: a call that nobody waits for any more ends on the other side too. */
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Runtime from "effect/Runtime"
import * as Stream from "effect/Stream"
import { InvalidArgument, Transport, TransportMetrics } from "effect-transport"
import { EchoService, echo, messages, numbered, payloadOf, serveEcho, upTo } from "./fixtures/echo.js"
import { eventually, soon, within } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

export const cancellation = ({ test }: Suite): void => {
  describe("cancellation", () => {
    test("interrupting the caller interrupts the handler, of every shape", function* () {
      const handlers = yield* Effect.all({
        unary: follow,
        serverStreaming: follow,
        clientStreaming: follow,
        bidiStreaming: follow
      })
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: () => handlers.unary.run(Effect.never),
          echoServerStream: () =>
            Stream.concat(numbered(2), Stream.fromEffect(handlers.serverStreaming.run(Effect.never))),
          echoClientStream: (requests) => Effect.as(handlers.clientStreaming.run(Stream.runDrain(requests)), {}),
          echoBidi: () => Stream.fromEffect(handlers.bidiStreaming.run(Effect.never))
        })
      )
      const calls = {
        unary: client.echo({}),
        serverStreaming: Stream.runDrain(client.echoServerStream({})),
        clientStreaming: client.echoClientStream(Stream.never),
        bidiStreaming: Stream.runDrain(client.echoBidi(Stream.never))
      }
      for (const shape of ["unary", "serverStreaming", "clientStreaming", "bidiStreaming"] as const) {
        const fiber = yield* Effect.fork(calls[shape])
        yield* handlers[shape].started
        const exit = yield* soon(Fiber.interrupt(fiber))
        expect(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause)).toBe(true)
        // Not "succeeded": requests that were broken off must not look as if they had come to their end.
        expect(yield* handlers[shape].ended).toBe("interrupted")
      }
    })

    test("a call that is interrupted in the turn in which it began is cancelled at the peer, or never gets there", function* () {
      const counts = { started: 0, interrupted: 0 }
      const handler = Effect.zipRight(
        Effect.sync(() => {
          counts.started += 1
        }),
        Effect.onInterrupt(Effect.never, () =>
          Effect.sync(() => {
            counts.interrupted += 1
          })
        )
      )
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: ({ message }) => (message === "good" ? Effect.succeed({ message }) : handler),
          echoServerStream: () => Stream.fromEffect(handler),
          echoClientStream: (requests) => Effect.zipRight(Stream.runDrain(Stream.take(requests, 1)), handler),
          echoBidi: () => Stream.fromEffect(handler)
        })
      )
      const run = Runtime.runFork(yield* Effect.runtime())
      const { value: before } = yield* Metric.value(TransportMetrics.callsInFlight)
      const calls: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        client.echo({}),
        Stream.runDrain(client.echoServerStream({})),
        client.echoClientStream(Stream.concat(numbered(1), Stream.never)),
        Stream.runDrain(client.echoBidi(Stream.never))
      ]
      for (const turns of [Effect.void, Effect.promise(() => Promise.resolve())]) {
        for (let i = 0; i < 300; i++) {
          const fiber = run(calls[i % calls.length] as Effect.Effect<unknown, unknown>)
          fiber.unsafeInterruptAsFork(FiberId.none)
          yield* turns
        }
        expect((yield* within(client.echo({ message: "good" }), "5 seconds")).message).toBe("good")
      }
      yield* eventually(
        Effect.gen(function* () {
          expect(counts.interrupted).toBe(counts.started)
          expect((yield* Metric.value(TransportMetrics.callsInFlight)).value).toBe(before)
        }),
        "5 seconds"
      )
    })

    test("a handler that cleans up slowly does not hold up the caller that gave up", function* () {
      const handler = yield* follow
      const latch = yield* Deferred.make<void>()
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => handler.run(Effect.onInterrupt(Effect.never, () => Deferred.await(latch)))
        })
      )
      const fiber = yield* Effect.fork(client.echo({}))
      yield* handler.started
      yield* soon(Fiber.interrupt(fiber))
      yield* Deferred.succeed(latch, undefined)
      expect(yield* handler.ended).toBe("interrupted")
    })

    test("a timeout of the caller's own cancels like any interruption", function* () {
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
      )
      const result = yield* Effect.timeoutOption(client.echo({}), "100 millis")
      expect(result).toEqual(Option.none())
      expect(yield* handler.ended).toBe("interrupted")
    })

    test("the loser of a race is cancelled", function* () {
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }) =>
            message === "slow" ? handler.run(Effect.never) : Effect.as(handler.started, { message })
        })
      )
      const answer = yield* Effect.race(client.echo({ message: "slow" }), client.echo({ message: "fast" }))
      expect(answer.message).toBe("fast")
      expect(yield* handler.ended).toBe("interrupted")
    })

    test("a consumer that has enough ends the handler", function* () {
      const server = yield* follow
      const bidi = yield* follow
      const endless = Stream.map(
        Stream.iterate(1, (n) => n + 1),
        (n) => ({ message: String(n) })
      )
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => Stream.merge(endless, Stream.fromEffect(server.run(Effect.never))),
          echoBidi: () => Stream.merge(endless, Stream.fromEffect(bidi.run(Effect.never)))
        })
      )
      expect(yield* messages(Stream.take(client.echoServerStream({}), 3))).toEqual(upTo(3))
      expect(yield* server.ended).toBe("interrupted")
      expect(yield* messages(Stream.take(client.echoBidi(Stream.never), 3))).toEqual(upTo(3))
      expect(yield* bidi.ended).toBe("interrupted")
    })

    test("the requests stop when the handler answers early or fails", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoClientStream: (requests) => Effect.as(Stream.runDrain(Stream.take(requests, 1)), { message: "one" }),
          echoBidi: (requests) =>
            Stream.mapEffect(requests, () => Effect.fail(new InvalidArgument({ message: "not that one" })))
        })
      )
      const early = yield* follow
      const failed = yield* follow
      const requests = (sender: Effect.Effect.Success<typeof follow>) =>
        Stream.merge(
          Stream.forever(Stream.make({ payload: payloadOf(1024) })),
          Stream.fromEffect(sender.run(Effect.never))
        )
      expect((yield* client.echoClientStream(requests(early))).message).toBe("one")
      expect(yield* early.ended).toBe("interrupted")
      expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(requests(failed))))).toMatchObject({
        _tag: "InvalidArgument",
        message: "not that one"
      })
      expect(yield* failed.ended).toBe("interrupted")
    })

    test("interrupting a call interrupts the calls that its handler made", function* () {
      const handler = yield* follow
      const last = yield* serveEcho(Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) }))
      const relay = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: (request) => last.client.echo(request) })
      )
      const fiber = yield* Effect.fork(relay.client.echo({}))
      yield* handler.started
      yield* Fiber.interrupt(fiber)
      expect(yield* handler.ended).toBe("interrupted")
    })
  })
}
