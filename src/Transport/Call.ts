/**
 * A call as its handler sees it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Deadline } from "./Deadline.js"
import type * as Metadata from "./Metadata.js"
import type { Peer } from "./Peer.js"

/**
 * The second argument of every handler.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  /** The full path, as `/dag.v1.DagService/SubmitTransaction`. */
  readonly method: string
  readonly peer: Peer
  /** The connection that the call came on, for `Transport.reverse`. */
  readonly connection: CallConnection
  /** What the caller sent along. */
  readonly metadata: Metadata.Metadata
  /** When the caller stops waiting; the handler is interrupted then. */
  readonly deadline: Deadline
  /** Completes when the listener begins to shut down: a long stream that ends then does not hold it up. */
  readonly draining: Effect.Effect<void>
  /** Adds to the response headers. They travel with the first message; what is added later is dropped with a warning. */
  readonly setHeaders: (headers: Metadata.Input) => Effect.Effect<void>
  /** Adds to the response trailers, which travel with the status. */
  readonly setTrailers: (trailers: Metadata.Input) => Effect.Effect<void>
}

/**
 * The connection that a call came on. The calls of one connection have the same object, on transports with `Reverse`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CallConnection {
  readonly peer: Peer
}

/**
 * The call that is being handled, for code below the handler.
 *
 * @since 0.1.0
 * @category tags
 */
export class CurrentCall extends Context.Tag("effect-transport/Transport/CurrentCall")<CurrentCall, Call>() {}
