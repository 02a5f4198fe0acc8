/** The calls that this end opens on one connection: `ClientCalls` over gRPC's messages in the requests of HTTP/3. */
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ClientCall } from "../../Calls/CallStream.js"
import * as ClientCalls from "../../Calls/ClientCalls.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as Addresses from "../../Connections/Addresses.js"
import type { Field, Fields } from "../../protocol/Fields.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../protocol/grpc/GrpcTimeout.js"
import { codes, nameOf } from "../../protocol/http3/Http3Error.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Http3Sections from "../../protocol/http3/Http3Sections.js"
import * as Qpack from "../../protocol/http3/Qpack.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { Connection } from "../../Transport/Connection.js"
import * as StatusFields from "../../Transport/internal/statusFields.js"
import * as Metadata from "../../Transport/Metadata.js"
import {
  Cancelled,
  Internal,
  ResourceExhausted,
  type StatusError,
  Unavailable
} from "../../Transport/TransportError.js"
import type { RequestEvents } from "./http3Requests.js"
import { type Link, maxFieldSectionSize, maxSentMetadata } from "./quicLink.js"
import * as QuicMessages from "./quicMessages.js"
import * as QuicReceiving from "./quicReceiving.js"

/** The calls that this end opened on one connection. */
export interface Outgoing {
  readonly connection: Connection
  /** The peer did not process the calls on streams from `id` on. */
  readonly onGoaway: (id: number) => void
  /** Cancels all calls. */
  readonly cancelAll: () => void
}

/** The stream of a call. */
interface ClientStream {
  readonly call: ClientCall<ClientStream>
  readonly where: CallErrors.Where
  readonly messages: QuicReceiving.Inbound
  id: number
  hasContent: boolean
  trailers: Fields | undefined
}

/** What the peer means by resetting a stream. Source: gRFC G2, "HTTP/3 to gRPC status". */
const ofReset = (code: number, { call, where }: ClientStream): StatusError => {
  const name = nameOf(code)
  const message = `the peer broke the call off: ${name}`
  switch (name) {
    case "H3_REQUEST_REJECTED":
      return new Unavailable({ message, processed: call.headersReceived ? "unknown" : "no", ...where })
    case "H3_REQUEST_CANCELLED":
      return new Cancelled({ message, ...where })
    case "H3_EXCESSIVE_LOAD":
      return new ResourceExhausted({ message, ...where })
    default:
      return new Internal({ message, ...where })
  }
}

/** The error that a whole answer comes to. */
const errorOf = (
  { hasContent, messages, trailers, where }: ClientStream,
  metadata: Metadata.Metadata
): StatusError | undefined => {
  if (trailers === undefined && hasContent) {
    return new Internal({ message: "the answer ended without a status", ...where })
  }
  return (
    StatusFields.toError(trailers ?? [], metadata, where) ??
    (GrpcMessage.isMidMessage(messages.decoder) ? CallErrors.replyCutOff(where) : undefined)
  )
}

/** The id of a stream that is not open yet. */
const unopened = -1

export const make = (link: Link): Outgoing => {
  const { boundary, deadlines, kept, name, onThrown, progress, quota, sending, session, settings, writer } = link
  const streams = IdTable.make<ClientStream>()
  /** The fields with which the last call of each method began, as they are sent, and its timeout. */
  const prepared = new Map<string, { readonly timeout: string; readonly lines: Buffer }>()
  const preparedFor = (path: string, millis: number): Buffer => {
    const timeout = Number.isFinite(millis) ? GrpcTimeout.format(millis) : ""
    const last = prepared.get(path)
    if (last?.timeout === timeout) {
      return last.lines
    }
    const fields: Array<Field> = [
      [":method", "POST"],
      [":scheme", "https"],
      [":authority", Addresses.authorityOf(link.name)],
      [":path", path],
      ["content-type", GrpcFields.contentType],
      ["te", "trailers"]
    ]
    if (timeout !== "") {
      fields.push(["grpc-timeout", timeout])
    }
    const lines = Qpack.encodeLines(fields)
    prepared.set(path, { timeout, lines })
    return lines
  }

  const fail = ({ call }: ClientStream, error: StatusError) => calls.fail(call, error)

  const receiving = QuicReceiving.make<ClientStream>(
    link,
    {
      onMessage: (message, stream) => {
        const { call, id, messages } = stream
        if (call.isOver) {
          return
        }
        const cost = QuicReceiving.costOf(message)
        QuicReceiving.hold(kept, messages, message.length)
        if (!call.isUnary) {
          QuicMessages.pauseIfFull(link, messages, id)
        }
        calls.onMessage(call, message, cost, cost)
        if (call.isUnary && QuicReceiving.isTooMuch(kept, messages, settings.connectionWindow)) {
          fail(stream, CallErrors.unreadTooMuch(settings.connectionWindow, stream.where))
        }
      },
      onBroken: (why, stream) =>
        fail(
          stream,
          why === "TooLarge"
            ? CallErrors.messageTooLarge(settings.maxReceiveMessageSize, stream.where)
            : new Internal({ message: GrpcEncoding.compressedAnswer, ...stream.where })
        )
    },
    fail
  )

  const responses = Http3Message.responses<ClientStream>(
    {
      onInformational: session.useless,
      onUseless: session.useless,
      onHead: ({ fields, status }, stream) => {
        progress.answered()
        const unfit = StatusFields.checkHead(status, fields, stream.where)
        if (unfit !== undefined) {
          return fail(stream, unfit)
        }
        // An answer of one section: its fields are the trailers.
        const isAlone = GrpcFields.get(fields, "grpc-status") !== undefined
        if (isAlone) {
          stream.trailers = fields
        }
        const headers = isAlone ? Metadata.empty : Metadata.unsafeFromEntries(GrpcFields.ofResponse(fields))
        calls.onHeaders(stream.call, headers)
      },
      onData: (chunk, stream) => {
        if (!stream.call.isOver) {
          progress.answered()
          stream.hasContent = true
          receiving.receive(stream, chunk)
        }
      },
      onTrailers: (fields, stream) => {
        stream.trailers = fields
      },
      onEnd: (stream) => {
        const { call, id, trailers } = stream
        if (call.isOver) {
          return
        }
        const metadata = Metadata.unsafeFromEntries(GrpcFields.ofResponse(trailers ?? []))
        const error = errorOf(stream, calls.withinLimit(metadata))
        // The peer is done, whether or not it has read all.
        if (error !== undefined || trailers === undefined) {
          session.cancel(id, "H3_NO_ERROR")
        }
        calls.onTrailers(call, metadata, error)
      }
    },
    { maxFieldSectionSize: maxFieldSectionSize(settings), method: "POST", known: Http3Sections.make() }
  )

  const events: RequestEvents<Http3Message.Message<ClientStream>> = {
    onBytes: Http3Message.receive,
    onReset: (code, { owner }) => {
      progress.answered()
      fail(owner, ofReset(code, owner))
    },
    onStopped: (code, { owner }) => {
      // The peer has answered, or will, without reading all of the request.
      if (code !== codes.H3_NO_ERROR) {
        fail(owner, ofReset(code, owner))
      }
    },
    onViolation: ({ code, text }, { owner }) =>
      fail(
        owner,
        code === "H3_EXCESSIVE_LOAD"
          ? MetadataLimit.tooLarge(settings.maxMetadataSize, owner.where)
          : new Internal({ message: `the answer breaks the rules of HTTP/3: ${text}`, ...owner.where })
      ),
    onLost: (why, { owner }) => calls.onReset(owner.call, CallErrors.connectionLost(why, owner.where))
  }

  const open = (call: ClientCall<ClientStream>, timeout: number, request: Uint8Array | undefined): ClientStream => {
    const { options, where } = call
    const stream: ClientStream = {
      call,
      where,
      messages: QuicReceiving.makeInbound(settings.maxReceiveMessageSize),
      id: unopened,
      hasContent: false,
      trailers: undefined
    }
    stream.id = session.open(events, Http3Message.make(responses, stream))
    try {
      Frames.writeHeaders(writer, GrpcFields.fromEntries(options.metadata.entries), preparedFor(where.method, timeout))
    } catch (cause) {
      session.cancel(stream.id, "H3_INTERNAL_ERROR")
      throw cause
    }
    streams.add(stream.id, stream)
    if (request === undefined) {
      session.write(stream.id, Varint.take(writer), false)
    } else {
      sending.send(stream.id, request, true, constVoid)
    }
    return stream
  }

  const calls = ClientCalls.make<ClientStream>({
    wire: {
      isClosed: session.isClosed,
      maxMetadataSize: () => maxSentMetadata(link),
      maxMessageSize: () => settings.maxSendMessageSize,
      maxPathLength: Number.POSITIVE_INFINITY,
      open,
      message: ({ id }, message, sent) => sending.send(id, message, false, sent),
      flush: constVoid,
      halfClose: ({ id }) => session.write(id, Frames.lastData, true),
      release: ({ call, id, messages }, cost) => {
        QuicReceiving.giveBack(kept, messages, cost)
        if (!call.isUnary) {
          link.account()
          QuicMessages.resumeIfRoom(link, messages, id)
        }
      },
      cancel: ({ id }) => session.cancel(id, "H3_REQUEST_CANCELLED"),
      ended: (stream) => {
        streams.remove(stream.id)
        receiving.forget(stream)
        sending.forget(stream.id)
      },
      onTimeout: (_, timeout) => session.quic.probe(timeout),
      onThrown
    },
    peer: name,
    settings,
    quota,
    deadlines,
    progress,
    boundary
  })

  return {
    connection: calls.connection,
    onGoaway: (from) => {
      for (const [id, { call }] of streams.entries()) {
        if (id >= from) {
          session.cancel(id, "H3_REQUEST_CANCELLED")
          calls.onUnprocessed(call)
        }
      }
    },
    cancelAll: () => {
      for (const [, { call }] of streams.entries()) {
        calls.close(call)
      }
    }
  }
}
