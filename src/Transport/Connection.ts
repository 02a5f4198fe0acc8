/** What a transport gives its clients: a connection that runs unary and streaming calls. */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as Metadata from "./Metadata.js"
import type * as Method from "./Method.js"
import type { CallError, ConnectError } from "./TransportError.js"

/** A connection that calls run on. It connects again by itself when it is lost. */
export interface Connection {
  readonly unary: <I, O, II, OO>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    request: II,
    call: OutgoingCall
  ) => Effect.Effect<O, CallError>
  /** When `requests` fails the call is cancelled, and the answers end with that failure. */
  readonly stream: <I, O, II, OO, E>(
    method: Method.Method<I, O, Method.Shape, II, OO>,
    requests: Stream.Stream<II, E>,
    call: OutgoingCall
  ) => Stream.Stream<O, CallError | E>
  /** Whether calls can run on it now. Undefined where the wire does not tell: then it counts as ready. */
  readonly status?: ConnectionStatus | undefined
}

/** Whether calls can run on a connection that is made again by itself. */
export type ConnectionState =
  /** The first attempt is under way, or the one that follows a loss at once. */
  | { readonly _tag: "Connecting" }
  | { readonly _tag: "Ready" }
  /** The latest attempt has failed, or connections were lost at once; another follows after a pause. */
  | { readonly _tag: "BackingOff"; readonly error: ConnectError }
  | { readonly _tag: "Closed" }

/** What a connection tells of itself. Nothing of it waits, and nothing throws. */
export interface ConnectionStatus {
  readonly current: () => ConnectionState
  /** Calls back after each change, until the function that it returns is called. */
  readonly onChange: (listener: () => void) => () => void
  /** Says that a call waits, so that the next attempt comes sooner. */
  readonly hurry: () => void
}

/** How messages are compressed: "gzip", or not at all. */
export type Compression = "gzip" | "identity"

/** What the calling side of a transport needs to know of one call. */
export interface OutgoingCall {
  readonly metadata: Metadata.Metadata
  /** Milliseconds from now, above zero; `Infinity` for none. */
  readonly timeout: number
  readonly waitForReady: boolean
  /** How to compress what this side sends, where the wire does that; undefined for what the transport's options say. */
  readonly compression?: Compression | undefined
  readonly onHeaders: ((headers: Metadata.Metadata) => void) | undefined
  readonly onTrailers: ((trailers: Metadata.Metadata) => void) | undefined
  /** What a client with several endpoints picks one by. */
  readonly key?: string | undefined
  /**
   * Asked when the call has failed, before that is measured: whether it goes to another endpoint instead, so that this is
   * not its end.
   */
  readonly goesElsewhere?: ((error: CallError) => boolean) | undefined
}
