/**
 * Middleware of the calling side: what is done around the calls of a client.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type { Compression } from "../Connection.js"
import type { Deadline } from "../Deadline.js"
import * as CallDeadline from "../internal/callDeadline.js"
import * as CallMetadata from "../internal/callMetadata.js"
import type * as Metadata from "../Metadata.js"
import type * as Method from "../Method.js"
import type { CallError } from "../TransportError.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const ClientTypeId: unique symbol = Symbol.for("effect-transport/Middleware/ClientMiddleware")

/**
 * @since 0.1.0
 * @category type ids
 */
export type ClientTypeId = typeof ClientTypeId

/**
 * A call that a client is about to make. A middleware passes it on to `next` as it is, or a copy with changes.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientCall {
  /** The full path, as `/dag.v1.DagService/SubmitTransaction`. */
  readonly method: string
  readonly shape: Method.Shape
  /** Whether its contract allows to call it again. */
  readonly idempotency: Method.Idempotency
  /** The target that the client was made for. */
  readonly peer: string
  /** What is sent along; checked again before it is. */
  readonly metadata: Metadata.Metadata
  /** When the whole call ends, however often `next` is called. */
  readonly deadline: Deadline
  readonly waitForReady: boolean
  readonly compression?: Compression | undefined
  /** What an endpoint is picked by, where the client has several. */
  readonly key?: string | undefined
  readonly onHeaders?: ((headers: Metadata.Metadata) => void) | undefined
  readonly onTrailers?: ((trailers: Metadata.Metadata) => void) | undefined
}

/**
 * @since 0.1.0
 * @category models
 */
export interface UnaryCall extends ClientCall {
  readonly request: unknown
}

/**
 * A call of any other shape than unary. `E` is what its requests may fail with.
 *
 * @since 0.1.0
 * @category models
 */
export interface StreamCall<out E> extends ClientCall {
  /** One where only the answers stream. */
  readonly requests: Stream.Stream<unknown, E>
}

/**
 * A middleware of the calling side, which requires `R`.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientMiddleware<out R = never> extends ClientAround<R> {
  readonly [ClientTypeId]: ClientTypeId
  /**
   * What the client does for it: it provides what the middleware requires (`context`), and also ends it at the call's deadline
   * (`deadline`).
   */
  readonly needs: "nothing" | "context" | "deadline"
}

/**
 * Does something before each call; what it succeeds with is added to the call's metadata, and may be empty.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientBefore<out R> {
  readonly run: (call: ClientCall) => Effect.Effect<Metadata.Input, CallError, R>
  readonly unary?: undefined
  readonly stream?: undefined
}

/**
 * Wraps each call: one function for unary methods, and one for all others. Each may call `next` once, several times, or
 * not at all, and answer by itself. What it answers has to be what the method's contract says: it is not checked.
 *
 * @since 0.1.0
 * @category models
 */
export interface ClientAround<out R> {
  readonly run?: undefined
  readonly unary: (
    call: UnaryCall,
    next: (call: UnaryCall) => Effect.Effect<unknown, CallError>
  ) => Effect.Effect<unknown, CallError, R>
  /** For methods of which one answer is due, a stream of one. What the requests fail with, the answers fail with too. */
  readonly stream: <E>(
    call: StreamCall<E>,
    next: (call: StreamCall<E>) => Stream.Stream<unknown, CallError | E>
  ) => Stream.Stream<unknown, CallError | E, R>
}

/**
 * A middleware for `Transport.client`, which is one of two things: `run` is done before each call and adds metadata, and
 * `unary` and `stream` wrap the calls. What it requires, the making of the client requires. All of it ends at the call's
 * deadline, with `DeadlineExceeded`.
 *
 * @example
 * ```ts
 * import { Effect, Random, Stream } from "effect"
 * import { Middleware, RetryPolicy } from "effect-transport"
 *
 * const RequestId = Middleware.client({
 *   run: () => Effect.map(Random.nextIntBetween(0, 1e9), (id) => ({ "x-request-id": String(id) }))
 * })
 *
 * // Streams are passed on: one that failed after some answers would begin again.
 * const Retrying = Middleware.client({
 *   unary: (call, next) => Effect.retry(next(call), RetryPolicy.exponential({ initial: "100 millis" })),
 *   stream: (call, next) => next(call)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const client = <R = never>(options: ClientBefore<R> | ClientAround<R>): ClientMiddleware<R> => ({
  [ClientTypeId]: ClientTypeId,
  needs: options.run === undefined ? "deadline" : "context",
  ...(options.run === undefined ? options : around(options.run))
})

const around = <R>(run: ClientBefore<R>["run"]): ClientAround<R> => {
  const added = <C extends ClientCall>(call: C) =>
    Effect.flatMap(CallDeadline.until(run(call), call), (added) =>
      Effect.map(CallMetadata.add(call.metadata, added, call), (metadata): C => ({ ...call, metadata }))
    )
  return {
    unary: (call, next) => Effect.flatMap(added(call), next),
    stream: (call, next) => Stream.unwrap(Effect.map(added(call), next))
  }
}

/**
 * A middleware of this library's own, which requires nothing and ends at the deadline by itself.
 *
 * @internal
 */
export const selfContained = (around: ClientAround<never>): ClientMiddleware => ({
  [ClientTypeId]: ClientTypeId,
  needs: "nothing",
  ...around
})

/**
 * Any list of middleware.
 *
 * @since 0.1.0
 * @category models
 */
export type ClientList = ReadonlyArray<ClientMiddleware<unknown>>

/**
 * What a list of middleware requires together.
 *
 * @since 0.1.0
 * @category models
 */
export type ClientRequirements<M extends ClientList> = M[number] extends infer Each
  ? Each extends ClientMiddleware<infer R>
    ? R
    : never
  : never
