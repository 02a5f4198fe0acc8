import * as Headers from "@effect/platform/Headers"
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcMiddleware from "@effect/rpc/RpcMiddleware"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import { it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Mailbox from "effect/Mailbox"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Peer, RpcTransport, Transport } from "effect-transport"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

export class TooLong extends Schema.TaggedError<TooLong>()("TooLong", { most: Schema.Number }) {}

export class Forbidden extends Schema.TaggedError<Forbidden>()("Forbidden", {}) {}

/** Lets through who asks for it in the headers. */
class Polite extends RpcMiddleware.Tag<Polite>()("test/Polite", { failure: Forbidden }) {}

const Group = RpcGroup.make(
  Rpc.make("Shout", { payload: { text: Schema.String }, success: Schema.String, error: TooLong }),
  Rpc.make("Broken"),
  Rpc.make("Lies", { success: Schema.Number }),
  Rpc.make("Never"),
  Rpc.make("Slow", { success: Schema.String }),
  Rpc.make("GiveUp"),
  Rpc.make("Blob", { payload: { size: Schema.Number }, success: Schema.String }),
  Rpc.make("Numbers", { payload: { size: Schema.Number }, success: Schema.Array(Schema.Number) }),
  Rpc.make("Count", { payload: { to: Schema.Number }, success: Schema.Number, error: TooLong, stream: true }),
  Rpc.make("Burst", { payload: { size: Schema.Number }, success: Schema.Number, stream: true }),
  Rpc.make("Flood", { success: Schema.String, stream: true }),
  Rpc.make("Span", { success: Schema.Struct({ traceId: Schema.String, parentId: Schema.String }) }),
  Rpc.make("WhoAmI", { success: Schema.Boolean }).middleware(RpcTransport.PeerMiddleware),
  Rpc.make("Please", { success: Schema.String }).middleware(Polite)
)

/** One more group on the same protocol. */
export const Other = RpcGroup.make(Rpc.make("Ping", { success: Schema.String }), Rpc.make("Wait"))

export const otherHandlers = Other.toLayer({ Ping: () => Effect.succeed("pong"), Wait: () => Effect.never })

/** What the client knows of: the last the server does not. */
const Known = Group.merge(Other).add(Rpc.make("Ghost", { success: Schema.String }))

/** What happens to the handlers of one test. */
export interface Events {
  readonly log: Array<string>
  readonly started: Mailbox.Mailbox<string>
  /** Lets those end that are slow. */
  readonly finish: Deferred.Deferred<void>
}

const handlers = ({ finish, log, started }: Events) => {
  const follow = <A, E, R>(name: string, effect: Effect.Effect<A, E, R>) =>
    Effect.zipRight(
      started.offer(name),
      Effect.onExit(effect, (exit) =>
        Effect.sync(() => log.push(`${name} ${Exit.isInterrupted(exit) ? "interrupted" : exit._tag}`))
      )
    )
  return Group.toLayer({
    Shout: ({ text }) => (text.length > 100 ? new TooLong({ most: 100 }) : Effect.succeed(text.toUpperCase())),
    Broken: () => Effect.dieMessage("broken"),
    Lies: () => Effect.succeed("no number" as unknown as number),
    Never: () => follow("Never", Effect.never),
    Slow: () => follow("Slow", Effect.as(Deferred.await(finish), "late")),
    GiveUp: () => Effect.interrupt,
    Numbers: ({ size }) => Effect.succeed(Array.from({ length: size }, () => 1)),
    Blob: ({ size }) => Effect.succeed("x".repeat(size)),
    Count: ({ to }) =>
      to < 0
        ? Stream.concat(Stream.make(1, 2), Stream.fail(new TooLong({ most: 0 })))
        : Stream.range(1, to).pipe(
            Stream.rechunk(1),
            Stream.tap((n) => Effect.sync(() => log.push(`made ${n}`))),
            Stream.ensuring(Effect.sync(() => log.push("Count ended")))
          ),
    Burst: ({ size }) => Stream.rechunk(Stream.range(1, size), size),
    Flood: () =>
      Stream.repeatEffect(
        Effect.sync(() => {
          log.push("flood")
          return "x".repeat(10_000)
        })
      ).pipe(Stream.rechunk(1), Stream.ensuring(Effect.sync(() => log.push("Flood ended")))),
    Span: () =>
      Effect.map(Effect.orDie(Effect.currentSpan), ({ parent, traceId }) => ({
        traceId,
        parentId: Option.match(parent, { onNone: () => "", onSome: ({ spanId }) => spanId })
      })),
    WhoAmI: () => Effect.map(Peer.CurrentPeer, ({ identity }) => Option.isSome(identity)),
    Please: () => Effect.succeed("here you are")
  })
}

const polite = Layer.succeed(
  Polite,
  Polite.of(({ headers }) => (Option.isSome(Headers.get(headers, "please")) ? Effect.void : new Forbidden()))
)

export const formats = {
  MessagePack: RpcSerialization.layerMsgPack,
  NDJSON: RpcSerialization.layerNdjson,
  JSON: RpcSerialization.layerJson,
  "JSON-RPC": RpcSerialization.layerJsonRpc(),
  "JSON-RPC in lines": RpcSerialization.layerNdJsonRpc()
}

export type Format = Layer.Layer<RpcSerialization.RpcSerialization>

/** A test on a transport, which leaves nothing behind. */
export const testOn =
  <E>(transport: Layer.Layer<Transport.Transport, E>) =>
  (title: string, body: Effect.Effect<void, unknown, Transport.Transport | Scope.Scope>): void =>
    it.live(title, () =>
      leavesNothing(Effect.flatMap(Layer.build(transport), (context) => Effect.provide(body, context)))
    )

interface ServeOptions {
  readonly format?: Format
  readonly disableFatalDefects?: boolean
  readonly maxConcurrentRequests?: number
  readonly maxInterruptRate?: number
  readonly maxFrameElements?: number
}

/** A listener of both groups and a protobuf service, and what its handlers tell. */
export const serve = ({ format = formats.MessagePack, ...options }: ServeOptions = {}) =>
  Effect.gen(function* () {
    const events: Events = { log: [], started: yield* Mailbox.make<string>(), finish: yield* Deferred.make<void>() }
    const context = yield* Layer.build(
      RpcServer.layer(Group.merge(Other), options).pipe(
        Layer.provide([handlers(events), otherHandlers, RpcTransport.layerPeerMiddleware, polite]),
        Layer.provideMerge(
          RpcTransport.layerProtocolServer({
            handlers: [Transport.handlers(EchoService, echo)],
            gracePeriod: "1 second",
            ...options
          })
        ),
        Layer.provide(format)
      )
    )
    return { ...events, target: Context.get(context, Transport.Listener).target }
  })

export const connect = (target: string, format: Format = formats.MessagePack, options?: RpcTransport.ProtocolOptions) =>
  Effect.gen(function* () {
    const context = yield* Layer.build(Layer.provide(RpcTransport.layerProtocolClient(target, options), format))
    return yield* Effect.provide(RpcClient.make(Known), context)
  })

export const both = (options: ServeOptions = {}) =>
  Effect.gen(function* () {
    const server = yield* serve(options)
    return { ...server, client: yield* connect(server.target, options.format) }
  })

/** What an effect acquires, and how to let go of it before the test ends. */
export const closable = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Effect.flatMap(Effect.scope, (parent) => Scope.fork(parent, ExecutionStrategy.sequential))
    return [yield* Scope.extend(effect, scope), Scope.close(scope, Exit.void)] as const
  })
