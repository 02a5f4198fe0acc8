import * as Headers from "@effect/platform/Headers"
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Peer, RpcTransport, Transport } from "effect-transport"
import { EchoService, echo } from "../fixtures/echo.js"
import { eventually, leavesNothing, soon } from "../fixtures/expect.js"

class TooLong extends Schema.TaggedError<TooLong>()("TooLong", { most: Schema.Number }) {}

/** What happens to the handlers of one test. */
class Events extends Context.Tag("test/Events")<
  Events,
  { readonly log: Array<string>; readonly started: Mailbox.Mailbox<string> }
>() {}

class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", {}) {}

/** Lets through who asks for it in the headers. */
class Polite extends RpcMiddleware.Tag<Polite>()("test/Polite", { failure: Forbidden }) {}

const Group = RpcGroup.make(
  Rpc.make("Shout", { payload: { text: Schema.String }, success: Schema.String, error: TooLong }),
  Rpc.make("Tomorrow", { payload: { date: Schema.Date }, success: Schema.Date }),
  Rpc.make("Broken"),
  Rpc.make("Never"),
  Rpc.make("Blob", { payload: { size: Schema.Number }, success: Schema.String }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, error: TooLong, stream: true }),
  Rpc.make("WhoAmI", { success: Schema.String }).middleware(RpcTransport.PeerMiddleware),
  Rpc.make("Please", { success: Schema.String }).middleware(Polite)
)

const Other = RpcGroup.make(Rpc.make("Ping", { success: Schema.String }), Rpc.make("Wait"))

const handlers = Group.toLayer(
  Effect.gen(function* () {
    const { log, started } = yield* Events
    const follow = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) =>
      Effect.zipRight(
        started.offer(name),
        Effect.onExit(effect, (exit) =>
          Effect.sync(() => log.push(`${name} ${Exit.isInterrupted(exit) ? "interrupted" : exit._tag}`))
        )
      )
    return {
      Shout: ({ text }) => (text.length > 100 ? new TooLong({ most: 100 }) : Effect.succeed(text.toUpperCase())),
      Tomorrow: ({ date }) => Effect.succeed(new Date(date.getTime() + 86_400_000)),
      Broken: () => Effect.dieMessage("broken"),
      Never: () => follow("Never", Effect.never),
      Blob: ({ size }) => Effect.succeed("x".repeat(size)),
      Count: ({ to }) =>
        to < 0
          ? Stream.concat(Stream.make(1, 2), Stream.fail(new TooLong({ most: 0 })))
          : Stream.range(1, to).pipe(
              Stream.rechunk(1),
              Stream.tap((n) => Effect.sync(() => log.push(`sent ${n}`))),
              Stream.ensuring(Effect.sync(() => log.push("Count ended")))
            ),
      WhoAmI: () =>
        Effect.map(Peer.CurrentPeer, ({ address, identity }) =>
          Option.match(identity, { onNone: () => address, onSome: ({ subject }) => subject })
        ),
      Please: () => Effect.succeed("here you are")
    }
  })
)

const polite = Layer.succeed(
  Polite,
  Polite.of(({ headers }) => (Option.isSome(Headers.get(headers, "please")) ? Effect.void : new Forbidden()))
)

/** The cases of `@effect/rpc`'s own end-to-end tests, and what a connection adds to them. */
export const rpcSuite = <E>(name: string, transport: Layer.Layer<Transport.Transport, E>): void => {
  const test = (title: string, body: Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>) =>
    it.live(
      title,
      () => leavesNothing(Effect.flatMap(Layer.build(transport), (context) => Effect.provide(body, context))),
      20_000
    )

  const serialization = RpcSerialization.layerMsgPack

  /** A listener of both groups and a protobuf service, and what its handlers tell. */
  const serve = (
    format: Layer.Layer<RpcSerialization.RpcSerialization> = serialization
  ): Effect.Effect<
    {
      readonly target: string
      readonly log: Array<string>
      readonly started: Mailbox.Mailbox<string>
    },
    unknown,
    Transport.Transport | Scope.Scope
  > =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const started = yield* Mailbox.make<string>()
      const context = yield* Layer.build(
        RpcServer.layer(Group.merge(Other)).pipe(
          Layer.provide([
            handlers,
            Other.toLayer({ Ping: () => Effect.succeed("pong"), Wait: () => Effect.never }),
            RpcTransport.layerPeerMiddleware,
            polite
          ]),
          Layer.provideMerge(
            RpcTransport.layerProtocolServer({
              handlers: [Transport.handlers(EchoService, echo)],
              gracePeriod: "1 second"
            })
          ),
          Layer.provide([format, Layer.succeed(Events, { log, started })])
        )
      )
      const { target } = Context.get(context, Transport.Listener)
      return { log, started, target }
    })

  const connect = (target: string, format: Layer.Layer<RpcSerialization.RpcSerialization> = serialization) =>
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.provide(RpcTransport.layerProtocolClient(target), format))
      return yield* Effect.provide(RpcClient.make(Group.merge(Other)), context)
    })

  const both = (format?: Layer.Layer<RpcSerialization.RpcSerialization>) =>
    Effect.gen(function* () {
      const server = yield* serve(format)
      return { ...server, client: yield* connect(server.target, format) }
    })

  const closable = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.gen(function* () {
      const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent, ExecutionStrategy.sequential))
      return [yield* Scope.extend(effect, scope), Scope.close(scope, Exit.void)] as const
    })

  describe(`${name}, @effect/rpc`, () => {
    for (const [title, format] of Object.entries({
      MessagePack: RpcSerialization.layerMsgPack,
      NDJSON: RpcSerialization.layerNdjson,
      JSON: RpcSerialization.layerJson
    })) {
      test(
        `values, typed errors and streams in ${title}`,
        Effect.gen(function* () {
          const { client } = yield* both(format)
          expect(yield* client.Shout({ text: "hello" })).toBe("HELLO")
          const date = new Date("2026-11-23")
          expect(yield* client.Tomorrow({ date })).toEqual(new Date("2026-11-24"))
          expect(yield* Effect.flip(client.Shout({ text: "x".repeat(101) }))).toEqual(new TooLong({ most: 100 }))
          expect(Chunk.toReadonlyArray(yield* Stream.runCollect(client.Count({ to: 30 })))).toEqual(
            Array.from({ length: 30 }, (_, i) => i + 1)
          )
          const seen: Array<number> = []
          const failing = Stream.runForEach(client.Count({ to: -1 }), (n) => Effect.sync(() => seen.push(n)))
          expect(yield* Effect.flip(failing)).toEqual(new TooLong({ most: 0 }))
          expect(seen).toEqual([1, 2])
        })
      )
    }

    test(
      "many at a time, and next to services of other contracts",
      Effect.gen(function* () {
        const { client, target } = yield* both()
        const texts = Array.from({ length: 500 }, (_, i) => `a${i}`)
        const all = Effect.forEach(texts, (text) => client.Shout({ text }), { concurrency: "unbounded" })
        expect(yield* all).toEqual(texts.map((text) => text.toUpperCase()))
        expect(yield* client.Ping()).toBe("pong")
        const other = yield* Transport.client(EchoService, target)
        expect((yield* other.echo({ message: "protobuf" })).message).toBe("protobuf")
      })
    )

    test(
      "defects are the caller's too, and harm no other request",
      Effect.gen(function* () {
        const { client } = yield* both()
        const exit = yield* Effect.exit(client.Broken())
        expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
        expect(yield* client.Ping()).toBe("pong")
      })
    )

    test(
      "responses larger than a message",
      Effect.gen(function* () {
        const { client } = yield* both()
        expect((yield* client.Blob({ size: 6_000_000 })).length).toBe(6_000_000)
      })
    )

    test(
      "a caller that is interrupted interrupts the handler",
      Effect.gen(function* () {
        const { client, log, started } = yield* both()
        const fiber = yield* Effect.fork(client.Never())
        yield* started.take
        yield* Fiber.interrupt(fiber)
        yield* eventually(Effect.sync(() => expect(log).toEqual(["Never interrupted"])))
      })
    )

    test(
      "a client that disconnects ends all that it asked for",
      Effect.gen(function* () {
        const { log, started, target } = yield* serve()
        const [client, close] = yield* closable(connect(target))
        yield* Effect.fork(Effect.exit(client.Never()))
        yield* started.take
        yield* soon(close)
        yield* eventually(Effect.sync(() => expect(log).toEqual(["Never interrupted"])))
      })
    )

    test(
      "a slow consumer holds up the stream, and one that has enough ends it",
      Effect.gen(function* () {
        const { client, log } = yield* both()
        const first = Stream.runForEachWhile(client.Count({ to: 100_000 }, { streamBufferSize: 4 }), (n) =>
          Effect.as(Effect.sleep("5 millis"), n < 10)
        )
        yield* first
        yield* eventually(Effect.sync(() => expect(log.at(-1)).toBe("Count ended")))
        expect(log.length).toBeLessThan(500)
      })
    )

    test(
      "headers reach a middleware, whose refusal is typed",
      Effect.gen(function* () {
        const { client } = yield* both()
        expect(yield* Effect.flip(client.Please())).toEqual(new Forbidden())
        expect(yield* client.Please(undefined, { headers: { please: "yes" } })).toBe("here you are")
      })
    )

    test(
      "handlers know who asks",
      Effect.gen(function* () {
        const { client } = yield* both()
        expect(yield* client.WhoAmI()).not.toBe("")
      })
    )

    test(
      "calls in flight when the server goes fail with its error as the cause, and later ones work when it is back",
      Effect.gen(function* () {
        // The listener goes alone: an `RpcServer` that closes tells its clients that their requests are interrupted.
        const server = yield* Effect.provide(RpcTransport.makeProtocolServer(), serialization)
        yield* Layer.build(
          RpcServer.layer(Other).pipe(
            Layer.provide(Other.toLayer({ Ping: () => Effect.succeed("pong"), Wait: () => Effect.never })),
            Layer.provide(Layer.succeed(RpcServer.Protocol, server.protocol))
          )
        )
        const listen = (port: number) => Transport.listen([server.handlers], { port, gracePeriod: 0 })
        const [{ address, target }, close] = yield* closable(listen(0))
        const client = yield* connect(target)
        expect(yield* client.Ping()).toBe("pong")
        const fiber = yield* Effect.fork(Effect.flip(client.Wait()))
        yield* Effect.yieldNow()
        yield* client.Ping()
        yield* close
        const error = yield* soon(Fiber.join(fiber))
        expect(error).toBeInstanceOf(RpcClientError)
        expect(error.cause).toMatchObject({ _tag: "Unavailable" })
        expect(yield* Effect.flip(client.Ping())).toBeInstanceOf(RpcClientError)
        yield* listen(address.port)
        yield* eventually(Effect.orDie(Effect.map(client.Ping(), (pong) => expect(pong).toBe("pong"))), "10 seconds")
      })
    )

    test(
      "a server that closes answers what it was asked",
      Effect.gen(function* () {
        const [{ target }, close] = yield* closable(serve())
        const client = yield* connect(target)
        expect(yield* client.Ping()).toBe("pong")
        yield* soon(close)
      })
    )
  })
}
