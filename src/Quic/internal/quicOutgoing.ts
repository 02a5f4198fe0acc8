/** The calls that this end opens on one connection: `ClientCalls` over gRPC's messages in the requests of HTTP/3. */
import * as Either from "effect/Either"
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ClientCall } from "../../Calls/CallStream.js"
import * as ClientCalls from "../../Calls/ClientCalls.js"
import * as GrpcClientHead from "../../Calls/GrpcClientHead.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import { codes, type Http3Code, nameOf } from "../../protocol/http3/Http3Error.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Http3Sections from "../../protocol/http3/Http3Sections.js"
import * as Qpack from "../../protocol/http3/Qpack.js"
import * as IdTable from "../../protocol/IdTable.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { Compression, Connection } from "../../Transport/Connection.js"
import { Internal, type StatusError } from "../../Transport/TransportError.js"
import type { RequestEvents } from "./http3RequestStream.js"
import { type Link, maxFieldSectionSize, maxSentMetadata } from "./quicLink.js"

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
  readonly messages: GrpcReceiving.Inbound
  readonly answer: GrpcClientHead.Answer
  readonly compression: Compression
  id: number
}

/** The fields with which a call begins, as they are sent. */
interface Prepared {
  readonly compression: Compression
  readonly timeout: string | undefined
  readonly lines: Buffer
}

/** What the peer means by resetting a stream. */
const resetMeanings: { readonly [Code in Http3Code]?: GrpcClientHead.ResetMeaning } = {
  H3_REQUEST_REJECTED: "Refused",
  H3_REQUEST_CANCELLED: "Cancelled",
  H3_EXCESSIVE_LOAD: "Excessive"
}

const ofReset = (code: number, { call, where }: ClientStream): StatusError => {
  const name = nameOf(code)
  return GrpcClientHead.resetError(resetMeanings[name] ?? "Broken", name, call.headersReceived, where)
}

/** The id of a stream that is not open yet. */
const unopened = -1

export const make = (link: Link): Outgoing => {
  const { boundary, deadlines, name, onThrown, progress, quota, sending, session, settings, writer } = link
  const streams = IdTable.make<ClientStream>()
  /** The fields with which the last call of each method began, as they are sent, and its timeout. */
  const prepared = new Map<string, Prepared>()
  const preparedFor = (path: string, compression: Compression, millis: number): Buffer => {
    const timeout = GrpcClientHead.timeoutField(millis)
    const last = prepared.get(path)
    if (last?.compression === compression && last.timeout === timeout?.[1]) {
      return last.lines
    }
    const fields = GrpcClientHead.requestFields({
      scheme: "https",
      authority: link.authority,
      path,
      compression
    })
    const lines = Qpack.encodeLines(timeout === undefined ? fields : [...fields, timeout])
    prepared.set(path, { compression, timeout: timeout?.[1], lines })
    return lines
  }

  const fail = ({ call }: ClientStream, error: StatusError) => calls.fail(call, error)

  const receiving = GrpcReceiving.make<ClientStream>(
    { ...link, pause: ({ id }) => session.pause(id), resume: ({ id }) => session.resume(id), flush: constVoid },
    {
      isReadable: ({ call }) => !call.isUnary,
      onMessage: ({ call }, message, cost) => calls.onMessage(call, message, cost, cost),
      onEnd: (stream) => {
        const { answer, call, id } = stream
        if (call.isOver) {
          return
        }
        const metadata = GrpcClientHead.trailersOf(answer)
        const error = GrpcClientHead.errorOf(stream, calls.withinLimit(metadata))
        // The peer is done, whether or not it has read all.
        if (error !== undefined || answer.trailers === undefined) {
          session.cancel(id, "H3_NO_ERROR")
        }
        calls.onTrailers(call, metadata, error)
      },
      fail,
      compressedText: GrpcEncoding.compressedAnswer
    }
  )

  const responses = Http3Message.responses<ClientStream>(
    {
      onInformational: session.useless,
      onUseless: session.useless,
      onHead: (head, stream) => {
        progress.answered()
        Either.match(GrpcClientHead.receiveHead(stream, head), {
          onLeft: (error) => fail(stream, error),
          onRight: (headers) => calls.onHeaders(stream.call, headers)
        })
      },
      onData: (chunk, stream) => {
        if (!stream.call.isOver) {
          progress.answered()
          stream.answer.hasContent = true
          receiving.receive(stream, chunk)
        }
      },
      onTrailers: (fields, { answer }) => {
        answer.trailers = fields
      },
      onEnd: receiving.end
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
      messages: GrpcReceiving.makeInbound(settings.maxReceiveMessageSize),
      answer: GrpcClientHead.makeAnswer(),
      compression: options.compression ?? settings.compression,
      id: unopened
    }
    stream.id = session.open(events, Http3Message.make(responses, stream))
    try {
      Frames.writeHeaders(
        writer,
        GrpcFields.fromEntries(options.metadata.entries),
        preparedFor(where.method, stream.compression, timeout)
      )
    } catch (cause) {
      session.cancel(stream.id, "H3_INTERNAL_ERROR")
      throw cause
    }
    streams.add(stream.id, stream)
    if (request === undefined) {
      session.write(stream.id, Varint.take(writer), false)
    } else {
      sending.send(stream.id, request, stream.compression, true, constVoid)
    }
    return stream
  }

  const calls = ClientCalls.make<ClientStream>({
    wire: {
      system: "grpc",
      isClosed: session.isClosed,
      maxMetadataSize: () => maxSentMetadata(link),
      maxMessageSize: () => settings.maxSendMessageSize,
      maxPathLength: Number.POSITIVE_INFINITY,
      open,
      message: ({ compression, id }, message, sent) => sending.send(id, message, compression, false, sent),
      flush: constVoid,
      halfClose: ({ id }) => session.write(id, Frames.lastData, true),
      release: receiving.release,
      onWaiting: receiving.onWaiting,
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
