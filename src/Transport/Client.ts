/**
 * Clients: a function for each method of a contract.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as Fiber from "../effect/Fiber.js"
import type { BalanceOptions } from "./Balancing.js"
import { CurrentCall } from "./Call.js"
import type { Compression, Connection, OutgoingCall } from "./Connection.js"
import * as Ambient from "./internal/ambient.js"
import type { Boundary } from "./internal/boundary.js"
import * as Callbacks from "./internal/callbacks.js"
import * as CallMetadata from "./internal/callMetadata.js"
import { exactlyOne } from "./internal/cardinality.js"
import * as ClientLayers from "./internal/clientLayers.js"
import * as Idempotency from "./internal/idempotency.js"
import * as Time from "./internal/time.js"
import * as Tracing from "./internal/tracing.js"
import type { Where } from "./internal/where.js"
import type * as Metadata from "./Metadata.js"
import type * as Method from "./Method.js"
import type { ClientList, ClientMiddleware } from "./Middleware/ClientMiddleware.js"
import type * as Service from "./Service.js"
import { type CallError, DeadlineExceeded, InvalidArgument, type ResourceExhausted } from "./TransportError.js"

/**
 * What may be said of all calls of a client, or of one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface CommonOptions {
  /**
   * How long to wait for a whole call, 30 seconds unless the transport says otherwise. An infinite duration waits for
   * ever.
   */
  readonly timeout?: Duration.DurationInput | undefined
  /** What to send along. A call's own metadata is added to it. */
  readonly metadata?: Metadata.Input | undefined
  /**
   * Wait for a connection that is lost, or not there yet, up to the deadline, instead of failing with `Unavailable`.
   * Default false. Source: "wait-for-ready.md" of gRPC.
   */
  readonly waitForReady?: boolean | undefined
  /**
   * How to compress messages of 1 KiB and more, instead of what the transport's `compression` option says. `GrpcLive` and
   * `QuicLive` do so; other wires don't compress. Messages that mix secrets with what somebody else chose should not be
   * compressed: their size tells of the secret.
   */
  readonly compression?: Compression | undefined
}

/**
 * What holds for all calls of a client, where a call does not say otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientOptions<M extends ClientList = ReadonlyArray<ClientMiddleware>>
  extends CommonOptions,
    BalanceOptions {
  /** What is done around all calls, the first outermost. Default: nothing, which costs nothing. */
  readonly middleware?: M | undefined
}

/**
 * What the caller may say of one call.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallOptions extends CommonOptions {
  /**
   * Where the client has several endpoints: calls of one key go to one of them, as long as it is ready, whatever the client's
   * `balance` says. Default: no key.
   */
  readonly key?: string | undefined
  /** In a handler, calls end no later than the call being handled, unless this is false. */
  readonly inheritDeadline?: boolean | undefined
  /**
   * Called once, when the response headers arrive. Where it throws, the call is cancelled and fails with `Internal`. A
   * middleware that calls again has it called again.
   */
  readonly onHeaders?: ((headers: Metadata.Metadata) => void) | undefined
  /**
   * Called once, with the response trailers, when the peer ends the call, also when it ends it with an error. Where it
   * throws, the call fails with `Internal`.
   */
  readonly onTrailers?: ((trailers: Metadata.Metadata) => void) | undefined
}

/**
 * How one method is called.
 *
 * @since 0.1.0
 * @category models
 */
export type ClientMethod<M> =
  M extends Method.Method<unknown, infer O, infer S, infer II, never>
    ? S extends "unary"
      ? (request: II, options?: CallOptions) => Effect.Effect<O, CallError>
      : S extends "serverStreaming"
        ? (request: II, options?: CallOptions) => Stream.Stream<O, CallError>
        : S extends "clientStreaming"
          ? <E = never, R = never>(
              requests: Stream.Stream<II, E, R>,
              options?: CallOptions
            ) => Effect.Effect<O, CallError | E, R>
          : <E = never, R = never>(
              requests: Stream.Stream<II, E, R>,
              options?: CallOptions
            ) => Stream.Stream<O, CallError | E, R>
    : never

/**
 * A function for each method of a contract.
 *
 * @since 0.1.0
 * @category models
 */
export type Client<S extends Service.Source> = {
  readonly [K in keyof Service.Methods<S>]: ClientMethod<Service.Methods<S>[K]>
}

/** @internal */
export interface Defaults extends CommonOptions {
  readonly peer: string
  /** What the wire speaks, for spans. */
  readonly system?: string | undefined
  readonly boundary: Boundary
  readonly timeout: Duration.DurationInput
  readonly middleware?: ClientList | undefined
  /** What the middleware require. */
  readonly context: Context.Context<never>
}

/** The same, with the metadata checked once for all calls. */
interface Settled extends Omit<Defaults, "metadata"> {
  readonly metadata: CallMetadata.Checked
}

type UnknownMethod = Method.Method<unknown, unknown, Method.Shape, unknown, unknown>

/** Runs a call with its options settled: metadata checked, the deadline inherited, a span around where one is wanted. */
const prepare = <A, E>(
  method: UnknownMethod,
  defaults: Settled,
  options: CallOptions,
  run: (call: OutgoingCall, isTraced: boolean) => Effect.Effect<A, E>
): Effect.Effect<A, E | InvalidArgument | ResourceExhausted | DeadlineExceeded> =>
  Effect.withFiberRuntime((fiber) => {
    const metadata = CallMetadata.merge(defaults.metadata, options.metadata)
    const where = { method: method.path, peer: defaults.peer }
    if (Either.isLeft(metadata)) {
      return Effect.fail(CallMetadata.failure(metadata.left, where))
    }
    const ambient = Ambient.of(fiber)
    if (ambient?.attempt !== undefined) {
      if (!Idempotency.isIdempotent(method)) {
        return Effect.fail(notRepeatable(where))
      }
      ambient.attempt.onCall(method)
    }
    const timeout = Math.min(
      Duration.toMillis(options.timeout ?? defaults.timeout),
      options.inheritDeadline === false ? Number.POSITIVE_INFINITY : inherited(fiber),
      ambient === undefined ? Number.POSITIVE_INFINITY : ambient.deadline - Time.now(Fiber.clockOf(fiber))
    )
    if (timeout <= 0) {
      return Effect.fail(new DeadlineExceeded({ message: "the deadline had passed before the call", ...where }))
    }
    const call: OutgoingCall = {
      metadata: metadata.right,
      timeout,
      waitForReady: options.waitForReady ?? defaults.waitForReady ?? false,
      compression: options.compression ?? defaults.compression,
      onHeaders: options.onHeaders,
      onTrailers: options.onTrailers,
      key: options.key
    }
    return run(call, Tracing.isTraced(fiber))
  })

const notRepeatable = (where: Where): InvalidArgument =>
  new InvalidArgument({
    message: "the call is hedged, and the contract of its method does not say that it may be repeated",
    ...where
  })

/** What is left of the deadline of the call being handled by this fiber. */
const inherited = (fiber: Fiber.RuntimeFiber<unknown, unknown>): number => {
  const current = Context.getOption(Fiber.contextOf(fiber), CurrentCall)
  return Option.isNone(current) || current.value.deadline === Number.POSITIVE_INFINITY
    ? Number.POSITIVE_INFINITY
    : current.value.deadline - Time.now(Fiber.clockOf(fiber))
}

const noOptions: CallOptions = {}

/** The same connection, for the calls of a method that may be repeated. */
const repeatable = (method: UnknownMethod, connection: Connection): Connection => {
  const { effect, stream } = Idempotency.mark(method)
  return {
    unary: (method, request, call) => effect(connection.unary(method, request, call)),
    stream: (method, requests, call) => stream(connection.stream(method, requests, call))
  }
}

/** How a method is called on a connection, with the callbacks of the caller guarded. */
const caller = (method: UnknownMethod, connection: Connection, where: Settled): ClientLayers.Caller => ({
  unary: (request, call) =>
    Callbacks.isObserved(call)
      ? Callbacks.effect(call, method.path, where, (call) => connection.unary(method, request, call))
      : connection.unary(method, request, call),
  stream: (requests, call) =>
    Callbacks.isObserved(call)
      ? Callbacks.stream(call, method.path, where, (call) => connection.stream(method, requests, call))
      : connection.stream(method, requests, call)
})

const makeMethod = (method: UnknownMethod, shared: Connection, defaults: Settled): unknown => {
  const connection = Idempotency.isIdempotent(method) ? repeatable(method, shared) : shared
  const plain = caller(method, connection, defaults)
  const { middleware = [] } = defaults
  const call = middleware.length === 0 ? plain : ClientLayers.around(plain, method, middleware, defaults)
  const stream = <E, R>(requests: Stream.Stream<unknown, E, R>, options: CallOptions = noOptions) =>
    Stream.unwrap(
      Effect.contextWithEffect((context: Context.Context<R>) =>
        prepare(method, defaults, options, (outgoing, isTraced) => {
          const provided = Stream.provideContext(requests, context)
          return Effect.succeed(
            isTraced
              ? Tracing.clientStream(method.path, defaults, (span) =>
                  call.stream(provided, Tracing.within(outgoing, span))
                )
              : call.stream(provided, outgoing)
          )
        })
      )
    )
  switch (method.shape) {
    case "unary":
      return (request: unknown, options: CallOptions = noOptions) =>
        prepare(method, defaults, options, (outgoing, isTraced) =>
          isTraced
            ? Tracing.client(method.path, defaults, (span) => call.unary(request, Tracing.within(outgoing, span)))
            : call.unary(request, outgoing)
        )
    case "serverStreaming":
      return (request: unknown, options?: CallOptions) => stream(Stream.succeed(request), options)
    case "clientStreaming":
      return <E, R>(requests: Stream.Stream<unknown, E, R>, options?: CallOptions) =>
        exactlyOne(stream(requests, options), "response", method.path)
    case "bidiStreaming":
      return stream
  }
}

/** @internal */
export const make = <S extends Service.Source>(
  service: Service.Any,
  connection: Connection,
  defaults: Defaults
): Client<S> => {
  const settled = { ...defaults, metadata: CallMetadata.check(defaults.metadata) }
  return Object.fromEntries(
    Object.entries(service.methods).map(([name, method]) => [
      name,
      makeMethod(method as UnknownMethod, connection, settled)
    ])
    // The names and shapes were read off the same contract that the type was made from.
  ) as Client<S>
}
