/** Handlers: what they know of a call, what they may use, and when they release it. */
import { describe, expect } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { Transport, TransportMetrics } from "effect-transport"
import { EchoService, echo, messages, numbered, serveEcho } from "./fixtures/echo.js"
import { closable, eventually, soon } from "./fixtures/expect.js"
import { captureSpans, follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

export const handlers = ({ test }: Suite): void => {
  describe("handlers", () => {
    test("know the call, and code below them too", function* () {
      const below = Effect.map(Transport.CurrentCall, (call) => ({ message: call.method }))
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: (_, call) => Effect.map(Transport.CurrentCall, (current) => ({ message: String(current === call) })),
          echoServerStream: () => Stream.fromEffect(below),
          echoClientStream: () => below,
          echoBidi: (requests) => Stream.mapEffect(requests, () => below)
        })
      )
      expect((yield* client.echo({})).message).toBe("true")
      expect(yield* messages(client.echoServerStream({}))).toEqual(["/echo.v1.EchoService/EchoServerStream"])
      expect((yield* client.echoClientStream(Stream.empty)).message).toBe("/echo.v1.EchoService/EchoClientStream")
      expect(yield* messages(client.echoBidi(numbered(1)))).toEqual(["/echo.v1.EchoService/EchoBidi"])
    })

    test("know who calls", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) => Effect.succeed({ message: call.peer.address })
        })
      )
      expect((yield* client.echo({})).message).not.toBe("")
    })

    test("have what they require, for as long as the listener does", function* () {
      class Store extends Context.Tag("test/Store")<Store, { readonly isOpen: () => boolean }>() {}
      const StoreLive = Layer.scoped(
        Store,
        Effect.gen(function* () {
          let open = true
          yield* Effect.addFinalizer(() =>
            Effect.sync(() => {
              open = false
            })
          )
          return { isOpen: () => open }
        })
      )
      const seen: Array<boolean> = []
      const handler = yield* follow
      const ask = Effect.map(Store, (store) => seen.push(store.isOpen()))
      const handlers: Transport.Handlers<Store> = Transport.handlers(EchoService, {
        ...echo,
        echo: () => Effect.as(ask, {}),
        echoServerStream: () => Stream.fromEffect(handler.run(Effect.never)).pipe(Stream.ensuring(ask))
      })
      const [context, close] = yield* closable(
        Layer.build(Transport.serve([handlers], { gracePeriod: 0 }).pipe(Layer.provide(StoreLive)))
      )
      const client = yield* Transport.client(EchoService, Context.get(context, Transport.Listener).target)
      yield* client.echo({})
      const call = yield* Effect.fork(Effect.flip(Stream.runDrain(client.echoServerStream({}))))
      yield* handler.started
      yield* soon(close)
      expect(yield* handler.ended).toBe("interrupted")
      expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable" })
      expect(seen).toEqual([true, true])
    })

    test("have a scope of their own for each call", function* () {
      const held = yield* Ref.make(0)
      const hold = Effect.acquireRelease(
        Ref.updateAndGet(held, (n) => n + 1),
        () => Ref.update(held, (n) => n - 1)
      )
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => Effect.map(hold, (index) => ({ index })),
          echoServerStream: () => Stream.map(Stream.fromEffect(hold), (index) => ({ index }))
        })
      )
      for (let i = 0; i < 3; i++) {
        expect((yield* client.echo({})).index).toBe(1)
        yield* eventually(Effect.map(Ref.get(held), (n) => expect(n).toBe(0)))
        expect(Chunk.toReadonlyArray(yield* Stream.runCollect(client.echoServerStream({})))).toMatchObject([
          { index: 1 }
        ])
        yield* eventually(Effect.map(Ref.get(held), (n) => expect(n).toBe(0)))
      }
    })

    test("release what a call holds when it is given up", function* () {
      const handler = yield* follow
      const released = yield* Deferred.make<Exit.Exit<unknown, unknown>>()
      const hold = Effect.addFinalizer((exit) => Deferred.succeed(released, exit))
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => Effect.zipRight(hold, handler.run(Effect.never)) })
      )
      const fiber = yield* Effect.fork(client.echo({}))
      yield* handler.started
      yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(yield* soon(Deferred.await(released)))).toBe(true)
    })

    test("that have ended are waited for until they have released what they hold", function* () {
      const handler = yield* follow
      const draining = yield* Deferred.make<void>()
      const latch = yield* Deferred.make<void>()
      const [listener, close] = yield* closable(
        Transport.listen(
          [
            Transport.handlers(EchoService, {
              ...echo,
              echo: ({ message }, call) => {
                const release = Effect.zipRight(call.draining, Deferred.succeed(draining, undefined)).pipe(
                  Effect.zipRight(Deferred.await(latch))
                )
                return Effect.as(
                  Effect.addFinalizer(() => handler.run(release)),
                  { message }
                )
              }
            })
          ],
          { gracePeriod: "10 seconds" }
        )
      )
      const client = yield* Transport.client(EchoService, listener.target)
      const call = yield* Effect.fork(client.echo({ message: "held" }))
      yield* handler.started
      const closing = yield* Effect.fork(close)
      yield* soon(Deferred.await(draining))
      yield* Deferred.succeed(latch, undefined)
      expect((yield* soon(Fiber.join(call))).message).toBe("held")
      expect(yield* handler.ended).toBe("succeeded")
      yield* soon(Fiber.join(closing))
    })

    test("that can't release what they hold are at fault", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () =>
            Effect.as(
              Effect.addFinalizer(() => Effect.dieMessage("stuck")),
              {}
            ),
          echoServerStream: () =>
            Stream.as(Stream.fromEffect(Effect.addFinalizer(() => Effect.dieMessage("stuck"))), {})
        })
      )
      for (const call of [client.echo({}), Stream.runDrain(client.echoServerStream({}))]) {
        const error = yield* Effect.flip(call)
        expect(error._tag).toBe("Internal")
        expect(String(error)).not.toContain("stuck")
      }
    })

    test("run in the listener's world, not in the caller's", function* () {
      const ref = yield* FiberRef.make("listener")
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => Effect.map(FiberRef.get(ref), (message) => ({ message })),
          echoServerStream: () => Stream.map(Stream.fromEffect(FiberRef.get(ref)), (message) => ({ message }))
        })
      )
      const call = Effect.all([client.echo({}), Stream.runHead(client.echoServerStream({}))])
      const [unary, streaming] = yield* Effect.locally(call, ref, "caller")
      expect([unary.message, Option.getOrThrow(streaming).message]).toEqual(["listener", "listener"])
    })

    test("are counted while they run", function* () {
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
      )
      const { value: before } = yield* Metric.value(TransportMetrics.callsInFlight)
      const fiber = yield* Effect.fork(client.echo({}))
      yield* handler.started
      expect((yield* Metric.value(TransportMetrics.callsInFlight)).value).toBe(before + 1)
      yield* Fiber.interrupt(fiber)
    })

    test("continue the trace of their caller", function* () {
      const trace = yield* captureSpans
      yield* Effect.gen(function* () {
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
        yield* Effect.withSpan(client.echo({}), "outer")
        yield* Effect.withSpan(Stream.runDrain(client.echoBidi(numbered(2))), "outer")
      }).pipe(Effect.provide(trace.layer))
      for (const name of ["echo.v1.EchoService/Echo", "echo.v1.EchoService/EchoBidi"]) {
        const [client, server, ...others] = trace.spans.filter((span) => span.name === name)
        expect(others).toEqual([])
        expect([client?.kind, server?.kind]).toEqual(["client", "server"])
        expect(Option.getOrThrow(server?.parent ?? Option.none()).spanId).toBe(client?.spanId)
        expect(server?.traceId).toBe(client?.traceId)
        const parent = Option.getOrThrow(client?.parent ?? Option.none())
        expect(parent._tag === "Span" && parent.name).toBe("outer")
        yield* eventually(Effect.sync(() => expect(server?.status._tag).toBe("Ended")))
        yield* eventually(Effect.sync(() => expect(client?.status._tag).toBe("Ended")))
      }
    })
  })
}
