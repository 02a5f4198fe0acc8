/** The calls that this end opens on one connection: what a call is on its calling side, whatever wire carries it. */
import type { Connection } from "../Transport/Connection.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Metadata from "../Transport/Metadata.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { ClientCall } from "./CallStream.js"
import * as ClientLifecycle from "./ClientLifecycle.js"
import * as ClientRequests from "./ClientRequests.js"
import * as MetadataLimit from "./MetadataLimit.js"

/** What a wire reports, each with the call that it opened the stream for. Nothing has an effect on a call that is over. */
export interface ClientCalls<S> {
  readonly connection: Connection
  /** The response headers have come. */
  readonly onHeaders: (call: ClientCall<S>, headers: Metadata.Metadata) => void
  /** A message has come; `release` is due for what it costs of the two windows. */
  readonly onMessage: (call: ClientCall<S>, message: Uint8Array, cost: number, costOnConnection: number) => void
  /** The peer has ended the call; `error` is the status, where that is not OK. */
  readonly onTrailers: (call: ClientCall<S>, trailers: Metadata.Metadata, error: StatusError | undefined) => void
  /** The stream has ended without a status. */
  readonly onReset: (call: ClientCall<S>, error: StatusError) => void
  /** The peer goes away and says that it has not taken the call. */
  readonly onUnprocessed: (call: ClientCall<S>, reason?: string) => void
  /** Ends a call that the peer has not ended, such as for a message that is too large. */
  readonly fail: (call: ClientCall<S>, error: StatusError) => void
  /** Ends a call whose deadline the wire has seen pass. */
  readonly timeOut: (call: ClientCall<S>) => void
  /** Ends a call because the client is closed. */
  readonly close: (call: ClientCall<S>) => void
  /** The metadata, if it is within the limit, and none otherwise: for the error of a status. */
  readonly withinLimit: (metadata: Metadata.Metadata) => Metadata.Metadata
}

export interface Options<S> extends ClientLifecycle.Options<S> {
  readonly settings: {
    /** The largest metadata to take. */
    readonly maxMetadataSize: number
    readonly maxReceiveMessageSize: number
    readonly maxMessageElements: number
    /** Whether calls are measured. Default true. */
    readonly metrics?: boolean | undefined
  }
  /** Whether the peer made the connection, so that its address says nothing of where it listens. Default false. */
  readonly isReverse?: boolean | undefined
}

export const make = <S>(options: Options<S>): ClientCalls<S> => {
  const { progress, wire } = options
  const { maxMetadataSize, metrics = true } = options.settings
  const methods = CallMetrics.client(metrics, wire.system, options.isReverse === true ? undefined : options.peer)
  const lifecycle = ClientLifecycle.make(options)
  const { cancel, end, timeOut } = lifecycle

  const headers = (call: ClientCall<S>, headers: Metadata.Metadata) => {
    if (!call.headersReceived) {
      call.headersReceived = true
      call.headersFit = MetadataLimit.fits(headers, maxMetadataSize)
      call.options.onHeaders?.(call.headersFit ? headers : Metadata.empty)
    }
  }

  const tooLarge = ({ where }: ClientCall<S>) => MetadataLimit.tooLarge(maxMetadataSize, where)

  return {
    connection: ClientRequests.make({ ...options, lifecycle, methods, now: options.deadlines.now }),
    onHeaders: (call, metadata) => {
      if (!call.isOver) {
        progress.answered()
        headers(call, metadata)
      }
    },
    onMessage: (call, bytes, cost, costOnConnection) => {
      const { push, stream } = call
      if (call.isOver || stream === undefined) {
        return
      }
      progress.answered()
      CallMetrics.received(call.metrics, bytes.length)
      headers(call, Metadata.empty)
      if (call.isOver) {
        wire.release(stream, cost, costOnConnection)
        return wire.flush()
      }
      if (push !== undefined && call.headersFit) {
        return push({ bytes, cost, costOnConnection })
      }
      call.cost += cost
      call.costOnConnection += costOnConnection
      if (!call.headersFit) {
        cancel(call, tooLarge(call))
      } else if (call.reply !== undefined) {
        cancel(call, CallErrors.moreReplies(call.where))
      } else {
        call.reply = bytes
      }
    },
    onTrailers: (call, trailers, error) => {
      if (!call.isOver) {
        progress.answered()
        headers(call, Metadata.empty)
        const fits = MetadataLimit.fits(trailers, maxMetadataSize)
        call.options.onTrailers?.(fits ? trailers : Metadata.empty)
        if (!call.isOver) {
          end(call, error ?? (fits && call.headersFit ? undefined : tooLarge(call)))
        }
      }
    },
    onReset: (call, error) => {
      if (!call.isOver) {
        end(call, error)
      }
    },
    onUnprocessed: (call, reason) => {
      if (!call.isOver) {
        // A peer that has answered a call has seen it, whatever it says.
        end(call, CallErrors.goingAway(call.headersReceived ? "unknown" : "no", call.where, reason))
      }
    },
    fail: cancel,
    timeOut: (call) => timeOut(call, call.options.timeout),
    close: (call) => cancel(call, CallErrors.clientClosed(call.where)),
    withinLimit: (metadata) => (MetadataLimit.fits(metadata, maxMetadataSize) ? metadata : Metadata.empty)
  }
}
