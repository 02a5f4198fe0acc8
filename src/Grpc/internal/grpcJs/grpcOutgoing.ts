/** The calls that this end opens on one channel: `ClientCalls` over the calls of grpc-js. */
import type { Http2Session } from "node:http2"
import * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import { constTrue, constVoid } from "effect/Function"
import * as CallErrors from "../../../Calls/CallErrors.js"
import type { ClientCall } from "../../../Calls/CallStream.js"
import * as ClientCalls from "../../../Calls/ClientCalls.js"
import type { Deadlines } from "../../../Calls/Deadlines.js"
import * as StreamQuota from "../../../Calls/StreamQuota.js"
import type { Progress } from "../../../Connections/Progress.js"
import type { Connection } from "../../../Transport/Connection.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import * as Timers from "../../../Transport/internal/timers.js"
import { Internal, type StatusError, Unavailable } from "../../../Transport/TransportError.js"
import type { Settings } from "../../GrpcJsOptions.js"
import * as Cancellation from "./cancellation.js"
import * as GrpcMetadata from "./GrpcMetadata.js"
import * as GrpcStatus from "./GrpcStatus.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import * as SubchannelCall from "./subchannelCall.js"

/** What the calls of a channel run on. */
export interface Link {
  readonly settings: Settings
  readonly grpc: Grpc.ChannelInterface
  readonly isReady: () => boolean
  readonly isClosed: () => boolean
  /** The target, for errors. */
  readonly peer: string
  readonly boundary: Boundary
  readonly deadlines: Deadlines
  readonly progress: Progress
  /** The peer has ended the connection for its pings. */
  readonly onTooManyPings: () => void
  /** No call is open any more. */
  readonly onIdle: () => void
}

/** The calls that this end opened on one channel. */
export interface Outgoing {
  readonly connection: Connection
  readonly size: () => number
  /** The HTTP/2 session that its calls run on, where one has reached it. */
  readonly session: () => Http2Session | undefined
  /** Cancels all calls. */
  readonly cancelAll: () => void
}

/** The stream of a call. */
interface ClientStream {
  readonly call: ClientCall<ClientStream>
  readonly handle: ReturnType<Grpc.ChannelInterface["createCall"]>
  /** What messages cost that nobody has read. */
  unread: number
  /** grpc-js was asked for a message. */
  isReading: boolean
}

/** Messages are asked for while no more than this is unread, so that reading and handling overlap. HTTP/2 holds the rest up. */
const maxUnreadBytes = 256 * 1024

/** What a message costs beside its bytes: no more than 64 small ones wait. */
const messageOverhead = 4096

export const make = (link: Link): Outgoing => {
  const { boundary, deadlines, grpc, isClosed, onIdle, onTooManyPings, peer, progress, settings } = link
  /** Those that grpc-js has not ended, whether or not their calls are over. */
  const streams = new Set<ClientStream>()
  let isProbed = false

  /**
   * Asks whether the peer lives, once until it answers a call: servers count PINGs, and what they send starts that count
   * anew (gRFC A8).
   */
  const probe = ({ handle }: ClientStream) => {
    const session = isProbed ? undefined : SubchannelCall.session(handle)
    if (session !== undefined) {
      isProbed = true
      GrpcHttp2.probe(session, Duration.toMillis(settings.keepaliveTimeout))
    }
  }

  const answered = () => {
    isProbed = false
    progress.answered()
  }

  const remove = (stream: ClientStream) => {
    if (streams.delete(stream) && streams.size === 0) {
      onIdle()
    }
  }

  /** Runs a callback of grpc-js: what it throws would end the process. */
  const guarded = (stream: ClientStream, f: () => void) => {
    try {
      f()
    } catch (cause) {
      const { call } = stream
      boundary.caught("engine", peer, cause)
      calls.fail(call, new Internal({ message: "the answer can't be read", cause, ...call.where }))
      remove(stream)
    }
  }

  const read = (stream: ClientStream) => {
    const { call, handle } = stream
    if (!stream.isReading && !call.isOver && (call.isUnary || stream.unread < maxUnreadBytes)) {
      stream.isReading = true
      handle.startRead()
    }
  }

  const onHeaders = ({ call, handle }: ClientStream, headers: Grpc.Metadata) => {
    answered()
    // With another HTTP status the trailers may have the status of gRPC, and grpc-js that of HTTP if they have none.
    const unfit = GrpcStatus.isGrpc(headers)
      ? undefined
      : GrpcStatus.checkHead(SubchannelCall.httpStatus(handle), headers, undefined, call.where)
    if (unfit === undefined) {
      calls.onHeaders(call, GrpcMetadata.ofResponse(headers))
    } else {
      calls.fail(call, unfit)
    }
  }

  const onMessage = (stream: ClientStream, message: Buffer) => {
    const cost = message.length + messageOverhead
    stream.isReading = false
    if (!stream.call.isOver) {
      stream.unread += cost
      calls.onMessage(stream.call, GrpcMetadata.asBytes(message), cost, cost)
      read(stream)
    }
  }

  /** The error of a status that came from the peer. */
  const errorOf = ({ call, handle }: ClientStream, status: Grpc.StatusObject): StatusError | undefined => {
    const { headersReceived, where } = call
    if (status.code !== Grpc.status.OK) {
      const metadata = calls.withinLimit(GrpcMetadata.ofResponse(status.metadata))
      return GrpcStatus.fromStatus(status, where, headersReceived, metadata, SubchannelCall.isConnectionLost(handle))
    }
    return (
      (headersReceived ? undefined : GrpcStatus.checkHead(200, status.metadata, status.code, where)) ??
      (SubchannelCall.isMidMessage(handle) ? CallErrors.replyCutOff(where) : undefined)
    )
  }

  const onStatus = (stream: ClientStream, status: Grpc.StatusObject) => {
    const { call } = stream
    const { headersReceived, where } = call
    if (GrpcStatus.isTooManyPings(status, headersReceived, !link.isReady())) {
      onTooManyPings()
      const message = `the connection to ${peer} was lost: too_many_pings`
      calls.onReset(call, new Unavailable({ message, ...where }))
    } else if (!GrpcStatus.isLocal(status, headersReceived)) {
      calls.onTrailers(call, GrpcMetadata.ofResponse(status.metadata), errorOf(stream, status))
    } else if (status.code !== Grpc.status.DEADLINE_EXCEEDED) {
      calls.onReset(
        call,
        errorOf(stream, status) ?? new Internal({ message: "the answer ended without a status", ...where })
      )
    } else {
      // The deadline of grpc-js may pass a little before that of the call.
      calls.timeOut(call)
    }
    remove(stream)
  }

  const open = (call: ClientCall<ClientStream>, timeout: number, request: Uint8Array | undefined): ClientStream => {
    const { options, where } = call
    const deadline = timeout > Timers.maxTimerMillis ? Number.POSITIVE_INFINITY : Date.now() + timeout
    const handle = grpc.createCall(where.method, deadline, null, null, null)
    const stream: ClientStream = { call, handle, unread: 0, isReading: false }
    handle.start(GrpcMetadata.toGrpc(options.metadata, options.waitForReady), {
      onReceiveMetadata: (headers) => guarded(stream, () => onHeaders(stream, headers)),
      onReceiveMessage: (message: unknown) =>
        guarded(stream, () => (Buffer.isBuffer(message) ? onMessage(stream, message) : undefined)),
      onReceiveStatus: (status) => guarded(stream, () => onStatus(stream, status))
    })
    streams.add(stream)
    read(stream)
    if (request === undefined) {
      Cancellation.resetOnly(handle)
    } else {
      handle.sendMessageWithContext({}, GrpcMetadata.asBuffer(request))
      handle.halfClose()
    }
    return stream
  }

  const calls = ClientCalls.make<ClientStream>({
    wire: {
      system: "grpc",
      isClosed,
      maxMetadataSize: () => settings.maxMetadataSize,
      maxMessageSize: () => settings.maxSendMessageSize,
      maxPathLength: Number.POSITIVE_INFINITY,
      open,
      message: ({ handle }, message, sent) =>
        handle.sendMessageWithContext({ callback: sent }, GrpcMetadata.asBuffer(message)),
      flush: constVoid,
      halfClose: ({ handle }) => handle.halfClose(),
      release: (stream, cost) => {
        stream.unread -= cost
        read(stream)
      },
      cancel: ({ handle }) => Cancellation.cancel(handle, "the call was cancelled"),
      ended: constVoid,
      onTimeout: probe,
      onThrown: (cause) => boundary.caught("engine", peer, cause)
    },
    peer,
    settings,
    // grpc-js has its calls wait by itself.
    quota: StreamQuota.make(constTrue, isClosed, deadlines, (cause) => boundary.caught("engine", peer, cause)),
    deadlines,
    progress: { answered, timedOut: progress.timedOut },
    boundary
  })

  return {
    connection: calls.connection,
    size: () => streams.size,
    session: () =>
      [...streams].map(({ handle }) => SubchannelCall.session(handle)).find((session) => session !== undefined),
    cancelAll: () => {
      for (const { call } of [...streams]) {
        calls.close(call)
      }
    }
  }
}
