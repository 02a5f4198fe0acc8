/**
 * The seam between the call engine and a wire: what a wire does for calls, and what it tells of them. A wire opens streams,
 * moves messages and tells of their end; what a call is stands in `ClientCalls` and `ServerCalls`.
 */
import type * as Metadata from "../Transport/Metadata.js"
import type { StatusError } from "../Transport/TransportError.js"

// Both sides

/** A message as it came, and what it counts of the windows of its stream and of the connection until it is read. */
export interface Received {
  readonly bytes: Uint8Array
  readonly cost: number
  readonly costOnConnection: number
}

// The serving side

/**
 * What `ServerCalls` asks of a wire; one record for each connection. `S` is how the wire knows a stream: a number, or a record
 * of its own. Nothing here is called for a stream after `ended`.
 */
export interface ServerWire<S> {
  /** The largest message that both ends take, in bytes. */
  readonly maxMessageSize: () => number
  /** The largest metadata that both ends take, in bytes; with an error, that which goes beside its status. */
  readonly maxMetadataSize: (error?: StatusError) => number
  /** Whether so much is unsent that further messages wait. The wire calls `onRoom` when that is over. */
  readonly isFull: () => boolean
  /** Sends response headers: once, before the first message, and before the status of a call that succeeds. */
  readonly headers: (stream: S, metadata: Metadata.Metadata) => void
  /** Sends a message; `sent` is called when it is on its way, at once where it can be. One at a time on each stream. */
  readonly message: (stream: S, bytes: Uint8Array, sent: () => void) => void
  /** Sends headers, message and OK in one piece, or returns false where they don't fit one. */
  readonly reply: (stream: S, bytes: Uint8Array, headers: Metadata.Metadata, trailers: Metadata.Metadata) => boolean
  /** Sends the status, OK without an error, behind all that was sent before. */
  readonly finish: (stream: S, error: StatusError | undefined, trailers: Metadata.Metadata) => void
  /** Sends the status of a call that ends before its handler has. What has not left may be dropped, and the stream be reset. */
  readonly abort: (stream: S, error: StatusError) => void
  /** Called when nothing more is sent at once: what was written may leave. */
  readonly flush: () => void
  /** Messages have been read, which cost so much together. */
  readonly release: (stream: S, cost: number, costOnConnection: number) => void
  /** Called when the handler waits for a message. */
  readonly onWaiting?: (stream: S) => void
  /** When a message wakes the handler that waits for it. Default: at once. */
  readonly schedule?: (wake: () => void) => void
  /** The call is over. */
  readonly ended: (stream: S) => void
  /** A call cost work and brought nothing. */
  readonly useless: () => void
  /** Ends the connection for what was thrown on it. */
  readonly onThrown: (cause: unknown) => void
}
