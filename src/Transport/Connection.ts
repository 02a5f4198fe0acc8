/** What a transport gives its clients: a connection that runs unary and streaming calls. */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as Metadata from "./Metadata.js"
import type * as Method from "./Method.js"
import type { CallError } from "./TransportError.js"

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
}
