/** Clients: how they connect, wait, share a connection and close. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Cancelled, Transport, TransportMetrics, Unavailable } from "effect-transport"
import { EchoService, echo, echoPath, messages, numbered, serveEcho, upTo } from "./fixtures/echo.js"
import { closable, eventually, soon, within } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import { Shout } from "./fixtures/text.js"
import type { Suite } from "./harness.js"

export const clients = ({ test, withOptions }: Suite): void => {
  describe("clients", () => {
    test("close, and their listeners too, where what made them could not be interrupted", function* () {
      const [call, close] = yield* closable(
        Effect.uninterruptible(
          Effect.gen(function* () {
            const { target } = yield* Transport.listen([Transport.handlers(EchoService, echo)])
            const { echo: call } = yield* Transport.client(EchoService, target)
            return call
          })
        )
      )
      expect((yield* call({ message: "hello" })).message).toBe("hello")
      yield* within(Effect.interruptible(close), "5 seconds")
    })

    /** A target that nobody listens on. */
    const nobody = Effect.map(Effect.scoped(Transport.listen([])), ({ target }) => target)

    const onPortOf = (target: string) => ({ port: Number(target.slice(target.lastIndexOf(":") + 1)) })

    const opened = Effect.map(Metric.value(TransportMetrics.connectionsOpened), ({ value }) => value)

    test("of nobody fail with Unavailable, and the next try is a new one", function* () {
      const target = yield* nobody
      const connect = Transport.client(EchoService, target)
      const error = yield* Effect.flip(connect)
      expect(error).toBeInstanceOf(Unavailable)
      expect(error).toMatchObject({ code: 14, processed: "no", peer: target })
      yield* Transport.listen([Transport.handlers(EchoService, echo)], onPortOf(target))
      const client = yield* connect
      expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
    })

    test("of a target that can't be read fail with InvalidArgument", function* () {
      for (const target of ["", "nonsense", "127.0.0.1:0", "127.0.0.1:99999", "::1:80", "http://127.0.0.1:80"]) {
        expect(yield* Effect.flip(Transport.client(EchoService, target))).toMatchObject({
          _tag: "InvalidArgument",
          code: 3,
          peer: target
        })
      }
    })

    test("fail their calls while the listener is gone, and go on when it is back", function* () {
      const handlers = [Transport.handlers(EchoService, echo)] as const
      const [listener, close] = yield* closable(Transport.listen(handlers))
      const again = closable(Transport.listen(handlers, onPortOf(listener.target)))
      const client = yield* Transport.client(EchoService, listener.target)
      const call = client.echo({ message: "hello" })
      yield* call
      yield* close
      expect(yield* Effect.flip(call)).toMatchObject({ _tag: "Unavailable", peer: listener.target })
      yield* eventually(
        Effect.map(Effect.orDie(Effect.flip(call)), (error) => expect(error).toMatchObject({ processed: "no" }))
      )
      const [, closeAgain] = yield* again
      const patient = client.echo({ message: "hello" }, { waitForReady: true, timeout: "10 seconds" })
      expect((yield* patient).message).toBe("hello")
      expect((yield* call).message).toBe("hello")
      yield* closeAgain
      expect(yield* Effect.flip(call)).toMatchObject({ _tag: "Unavailable" })
      yield* again
      const retried = Effect.retry(call, {
        while: (error) => error._tag === "Unavailable",
        schedule: Schedule.upTo(Schedule.spaced("20 millis"), "10 seconds")
      })
      expect((yield* retried).message).toBe("hello")
    })

    test("wait for the listener where asked to, up to the deadline", function* () {
      const handlers = [Transport.handlers(EchoService, echo)] as const
      const [listener, close] = yield* closable(Transport.listen(handlers))
      const client = yield* Transport.client(EchoService, listener.target, { waitForReady: true })
      yield* client.echo({})
      yield* close
      const error = yield* Effect.flip(client.echo({}, { timeout: "100 millis" }))
      expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer: listener.target, method: echoPath })
      expect(yield* Effect.flip(client.echo({}, { waitForReady: false }))).toMatchObject({ _tag: "Unavailable" })
      const interrupted = yield* Effect.fork(client.echo({}))
      const waiting = yield* Effect.fork(client.echo({ message: "at last" }, { timeout: "10 seconds" }))
      yield* Effect.yieldNow()
      yield* soon(Fiber.interrupt(interrupted))
      yield* Transport.listen(handlers, onPortOf(listener.target))
      expect((yield* Fiber.join(waiting)).message).toBe("at last")
    })

    test("of a listener that is not up yet are there where asked to wait, and so are their calls", function* () {
      const target = yield* nobody
      const client = yield* Transport.client(EchoService, target, { waitForReady: true })
      expect(yield* Effect.flip(client.echo({}, { timeout: "100 millis" }))).toMatchObject({
        _tag: "DeadlineExceeded",
        peer: target
      })
      expect(yield* Effect.flip(client.echo({}, { waitForReady: false }))).toMatchObject({
        _tag: "Unavailable",
        processed: "no",
        peer: target
      })
      expect(yield* Effect.flip(Transport.client(EchoService, target))).toMatchObject({ _tag: "Unavailable" })
      const unary = yield* Effect.fork(client.echo({ message: "at last" }))
      const streamed = yield* Effect.fork(messages(client.echoBidi(numbered(2))))
      yield* Effect.yieldNow()
      yield* Transport.listen([Transport.handlers(EchoService, echo)], onPortOf(target))
      expect((yield* within(Fiber.join(unary), "5 seconds")).message).toBe("at last")
      expect(yield* Fiber.join(streamed)).toEqual(upTo(2))
      const eager = yield* Transport.client(EchoService, target)
      expect((yield* eager.echo({ message: "too" })).message).toBe("too")
    })

    test("that close end their calls", function* () {
      const unary = yield* follow
      const streaming = yield* follow
      const listener = yield* Transport.listen([
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => unary.run(Effect.never),
          echoServerStream: () => Stream.fromEffect(streaming.run(Effect.never))
        })
      ])
      const [client, close] = yield* closable(Transport.client(EchoService, listener.target))
      const calls = yield* Effect.fork(
        Effect.all([Effect.flip(client.echo({})), Effect.flip(Stream.runDrain(client.echoServerStream({})))], {
          concurrency: 2
        })
      )
      yield* unary.started
      yield* streaming.started
      yield* soon(close)
      for (const error of yield* soon(Fiber.join(calls))) {
        expect(error).toBeInstanceOf(Cancelled)
        expect(error).toMatchObject({ code: 1, peer: listener.target })
      }
      expect([yield* unary.ended, yield* streaming.ended]).toEqual(["interrupted", "interrupted"])
      expect(yield* Effect.flip(client.echoClientStream(Stream.empty))).toMatchObject({
        _tag: "Cancelled",
        processed: "no",
        peer: listener.target
      })
    })

    test("say of calls that still waited when their connection ended that they did not run", function* () {
      const handler = yield* follow
      const [listener, close] = yield* closable(
        withOptions({ maxConcurrentStreams: 1 })(
          Transport.listen([Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })], {
            gracePeriod: 0
          })
        )
      )
      const client = yield* Transport.client(EchoService, listener.target)
      const running = yield* Effect.fork(Effect.flip(client.echo({})))
      yield* handler.started
      const waiting = yield* Effect.forEach(
        [client.echo({}), client.echoClientStream(numbered(1)), Stream.runDrain(client.echoBidi(numbered(1)))],
        (call) => Effect.fork(Effect.flip(call))
      )
      // Each has asked for its place.
      yield* Effect.repeatN(Effect.yieldNow(), 10)
      yield* close
      expect(yield* soon(Fiber.join(running))).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
      for (const call of waiting) {
        expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed: "no" })
      }
    })

    test("of one peer share one connection", function* () {
      const listener = yield* Transport.listen([
        Transport.handlers(EchoService, echo),
        Transport.handlers(Shout, { shout: (text) => Effect.succeed(text.toUpperCase()) })
      ])
      const before = yield* opened
      const [first, closeFirst] = yield* closable(Transport.client(EchoService, listener.target))
      const [[second, third], closeOthers] = yield* closable(
        Effect.all([Transport.client(EchoService, listener.target), Transport.client(Shout, listener.target)], {
          concurrency: 2
        })
      )
      expect((yield* first.echo({ message: "first" })).message).toBe("first")
      expect((yield* second.echo({ message: "second" })).message).toBe("second")
      expect(yield* third.shout("third")).toBe("THIRD")
      expect(yield* opened).toBe(before + 1)
      yield* closeFirst
      expect((yield* second.echo({ message: "still" })).message).toBe("still")
      expect(yield* opened).toBe(before + 1)
      yield* closeOthers
      yield* eventually(Effect.map(opened, (now) => expect(now).toBe(before)))
    })

    test("of several peers reach each its own", function* () {
      const before = yield* opened
      const nodes = yield* Effect.forEach(["a", "b", "c"], (message) =>
        serveEcho(Transport.handlers(EchoService, { ...echo, echo: () => Effect.succeed({ message }) }))
      )
      const answers = yield* Effect.forEach(nodes, ({ client }) => client.echo({}), { concurrency: 3 })
      expect(answers.map(({ message }) => message)).toEqual(["a", "b", "c"])
      expect(yield* opened).toBe(before + 3)
    })
  })
}
