/**
 * The seam between the call engine and a wire: what a wire does for calls, and what it tells of them. A wire opens streams,
 * moves messages and tells of their end; what a call is stands in `ClientCalls` and `ServerCalls`.
 */
import type * as Fiber from "../effect/Fiber.js"
import type { OutgoingCall } from "../Transport/Connection.js"
import type { IncomingCall } from "../Transport/IncomingCall.js"
import type { Pass } from "../Transport/internal/admissionGate.js"
import type * as CallMetrics from "../Transport/internal/callMetrics.js"
import type { Where } from "../Transport/internal/where.js"
import type * as Metadata from "../Transport/Metadata.js"
import type * as Route from "../Transport/Route.js"
import type { StatusError } from "../Transport/TransportError.js"
import type { Deadline } from "./Deadlines.js"
import type { InFlight } from "./HandlerFibers.js"
import type { Inbox } from "./Inbox.js"

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
  /** What the wire speaks, as OpenTelemetry names it (`rpc.system.name`). Default `effect_transport`. */
  readonly system?: string | undefined
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
  readonly abort: (stream: S, error: StatusError, trailers: Metadata.Metadata) => void
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

/** A call that was accepted. The wire keeps it with its stream, and changes nothing in it. */
export interface ServerStream<S> {
  readonly stream: S
  readonly route: Route.Route
  readonly inFlight: InFlight
  readonly incoming: IncomingCall
  readonly where: Where
  readonly metrics: CallMetrics.Method | undefined
  /** Milliseconds that the caller allows, and that it has. */
  readonly wanted: number
  readonly timeout: number
  /** Where the requests of a call that streams go. */
  inbox: Inbox<Received, unknown, StatusError> | undefined
  /** The request of one that does not, and what it costs. */
  request: Uint8Array | undefined
  cost: number
  costOnConnection: number
  handler: Fiber.RuntimeFiber<unknown, unknown> | undefined
  deadline: Deadline | undefined
  /** What answers it when there is room. */
  answer: (() => void) | undefined
  isOver: boolean
  /** What it was let in with, until it is over and its handler has ended; and the bytes that were kept for it. */
  pass?: Pass | undefined
  held?: number | undefined
  /** Until when it may wait for its turn. Undefined where it does not wait. */
  wait?: Deadline | undefined
  /** All of its request has come while it waited. */
  isComplete?: boolean | undefined
}

// The calling side. No closures are made for a call: once enough of them have survived, V8 allocates such functions in the
// old heap, and keeps all that they close over until a full collection.

/**
 * What `ClientCalls` asks of a wire; one record for each connection. `S` is how the wire knows a stream: a number, or a record
 * of its own.
 */
export interface ClientWire<S> {
  /** What the wire speaks, as OpenTelemetry names it (`rpc.system.name`). Default `effect_transport`. */
  readonly system?: string | undefined
  readonly isClosed: () => boolean
  /** The largest metadata to send: the smaller of this end's and the peer's limit. */
  readonly maxMetadataSize: () => number
  /** The largest message to send: the smaller of this end's and the peer's limit. */
  readonly maxMessageSize: () => number
  /** The longest method path, in bytes. */
  readonly maxPathLength: number
  /**
   * Opens a stream, with all of its request and the end of it where there is a `request`. The wire reports what comes on it
   * to `ClientCalls` with `call`, never before this returns. What throws has opened nothing.
   */
  readonly open: (call: ClientCall<S>, timeout: number, request: Uint8Array | undefined) => S
  /** Sends a message; calls `sent` when there is room for the next, at once if there is, and never once the stream is over. */
  readonly message: (stream: S, message: Uint8Array, sent: () => void) => void
  /** Called when nothing more is sent at once: what was written may leave. */
  readonly flush: () => void
  /** Ends the request. */
  readonly halfClose: (stream: S) => void
  /**
   * Messages were read, or will never be: what they cost of the window of the stream, and of the window of the connection.
   * All costs are released, those of unary calls and of messages that nobody reads when the call is over.
   */
  readonly release: (stream: S, cost: number, costOnConnection: number) => void
  /** Resets a stream that the peer has not ended. `ended` follows. */
  readonly cancel: (stream: S) => void
  /** Called when the caller waits for a message. */
  readonly onWaiting?: (stream: S) => void
  /** The call is over, so that nothing is charged or reported for its stream any more. Only `release` may follow. */
  readonly ended: (stream: S) => void
  /** When a message wakes the reader that waits for it. Default: at once. */
  readonly schedule?: (wake: () => void) => void
  /** A call has timed out: the wire may ask the peer whether it still lives. Called before `cancel`. */
  readonly onTimeout: (stream: S, timeout: number) => void
  /** Ends the connection for what a fault of this end has thrown. */
  readonly onThrown: (cause: unknown) => void
}

/** A call that this end opens, made by `ClientCalls`. A wire reads its first fields; the others are its caller's state. */
export interface ClientCall<S> {
  readonly where: Where
  readonly metrics: CallMetrics.Method | undefined
  /** When it began, by the clock of the deadlines. */
  readonly began: number
  /** What it ended with where its reader has not been told: a call that streams is over when its reader is. */
  status: number | undefined
  options: OutgoingCall
  /** Its answer is one message, which nobody reads before the call has ended: its stream can't be paused. */
  readonly isUnary: boolean
  isOver: boolean
  headersReceived: boolean
  /** Undefined while the call waits for the stream quota. */
  stream: S | undefined
  /** The status of an error arrives even after headers that are too large; messages do not. */
  headersFit: boolean
  deadline: Deadline | undefined
  /** Gives up the place in the queue for the stream quota. */
  leave: () => void
  /** All of a unary call's request, until it is handed to the wire. */
  request: Uint8Array | undefined
  /** The answer of a unary call. */
  reply: Uint8Array | undefined
  /** What messages cost that are released when the call has ended. */
  cost: number
  costOnConnection: number
  /** Takes the messages of a call that streams. */
  readonly push: ((message: Received) => void) | undefined
  /** The call is over; no error means OK. */
  onEnd: (error: StatusError | undefined, reply: Uint8Array | undefined) => void
}
