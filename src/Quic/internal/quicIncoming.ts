/** The calls that the other end of a connection makes: `ServerCalls` over gRPC's messages in the requests of HTTP/3. */
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ServerWire } from "../../Calls/CallStream.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as GrpcServerHead from "../../Calls/GrpcServerHead.js"
import * as ServerCalls from "../../Calls/ServerCalls.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Qpack from "../../protocol/http3/Qpack.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { Compression } from "../../Transport/Connection.js"
import type * as Metadata from "../../Transport/Metadata.js"
import { type Link, maxSentMetadata } from "./quicLink.js"
import * as QuicMessages from "./quicMessages.js"

/** Callbacks for a request whose head has come. */
export interface Body {
  readonly onData: (chunk: Buffer) => void
  readonly onEnd: () => void
  readonly onDatagram?: ((payload: Buffer) => void) | undefined
  /** The peer has given the request up, or is gone. */
  readonly onGone: () => void
}

const responseHeads = {
  identity: Qpack.encodeLines(GrpcServerHead.responseHead),
  gzip: Qpack.encodeLines(GrpcServerHead.compressedHead)
}

const okTrailer = Qpack.encodeLines(GrpcServerHead.okTrailer)

/** The stream of a call. */
interface ServerStream {
  readonly id: number
  readonly messages: GrpcReceiving.Inbound
  /** How its answer is compressed. */
  readonly compression: Compression
  call: ServerCalls.ServerStream<ServerStream> | undefined
  /** The head of the response has been written. */
  hasHead: boolean
}

const ignored: Body = { onData: constVoid, onEnd: constVoid, onGone: constVoid }

export interface Incoming {
  /** A call whose head has come. */
  readonly onRequest: (head: RequestHead, id: number) => Body
  /** There may be room for answers that wait. */
  readonly onRoom: () => void
}

/** Answers the calls of one connection: from the bytes of their streams to the routes' handlers and back. */
export const make = (link: Link, server: ServerCalls.Server): Incoming => {
  const { compression, sending, session, settings, writer } = link

  /** Sends what was written as the last of a stream, and wants no more of the request. */
  const sendLast = (id: number) => {
    session.write(id, Varint.take(writer), true)
    session.stop(id, "H3_NO_ERROR")
  }

  const writeHead = (stream: ServerStream, metadata: Metadata.Metadata) => {
    stream.hasHead = true
    Frames.writeHeaders(writer, GrpcFields.fromEntries(metadata.entries), responseHeads[stream.compression])
  }

  const writeOk = (trailers: Metadata.Metadata) =>
    Frames.writeHeaders(writer, GrpcFields.fromEntries(trailers.entries), okTrailer)

  const serverWire: ServerWire<ServerStream> = {
    system: "grpc",
    maxMessageSize: () => settings.maxSendMessageSize,
    maxMetadataSize: () => maxSentMetadata(link),
    isFull: sending.isFull,
    headers: writeHead,
    message: ({ compression, id }, bytes, sent) => sending.send(id, bytes, compression, false, sent),
    reply: (stream, bytes, headers, trailers) => {
      if (!QuicMessages.isSmall(bytes)) {
        return false
      }
      const now = stream.compression === "gzip" ? compression.compressNow(bytes) : undefined
      if (now === undefined && stream.compression === "gzip") {
        return false
      }
      writeHead(stream, headers)
      QuicMessages.write(writer, now?.bytes ?? bytes, now?.isCompressed ?? false)
      writeOk(trailers)
      sendLast(stream.id)
      return true
    },
    finish: ({ hasHead, id }, error, trailers) => {
      if (error === undefined) {
        writeOk(trailers)
      } else {
        const maxSize = session.peerSettings()?.maxFieldSectionSize ?? Number.POSITIVE_INFINITY
        const fields = GrpcServerHead.errorTrailer(error, trailers, maxSize)
        Frames.writeHeaders(writer, fields, hasHead ? undefined : responseHeads.identity)
      }
      sendLast(id)
    },
    abort: (stream, error, trailers) => {
      if (sending.isMidMessage(stream.id)) {
        // The status would have to wait until the peer has read the message, and the message with it.
        session.cancel(stream.id, "H3_REQUEST_CANCELLED")
      } else {
        serverWire.finish(stream, error, trailers)
      }
    },
    flush: constVoid,
    release: (stream, cost) => receiving.release(stream, cost),
    onWaiting: (stream) => receiving.onWaiting(stream),
    ended: (stream) => {
      receiving.forget(stream)
      receiving.releaseAll(stream)
      sending.forget(stream.id)
      session.quic.watch(stream.id, false)
    },
    useless: session.useless,
    onThrown: link.onThrown
  }
  const calls = ServerCalls.make(serverWire, server, link)

  /** Looks for the peer's STOP_SENDING while a handler runs and sends nothing that would tell of it. */
  const watch = ({ id }: ServerStream, { isOver }: ServerCalls.ServerStream<ServerStream>) => {
    if (!isOver) {
      session.quic.watch(id, true)
    }
  }

  const receiving = GrpcReceiving.make<ServerStream>(
    { ...link, pause: ({ id }) => session.pause(id), resume: ({ id }) => session.resume(id), flush: constVoid },
    {
      isReadable: ({ call }) => call?.inbox !== undefined,
      onMessage: ({ call }, message, cost) => {
        if (call !== undefined) {
          calls.onMessage(call, message, cost, cost)
        }
      },
      onEnd: (stream) => {
        const { call, messages } = stream
        if (call === undefined || call.isOver) {
          return
        }
        if (GrpcReceiving.isCutOff(messages)) {
          return calls.fail(call, CallErrors.requestCutOff())
        }
        calls.onHalfClose(call)
        watch(stream, call)
      },
      fail: ({ call }, error) => {
        if (call !== undefined) {
          calls.fail(call, error)
        }
      },
      compressedText: GrpcEncoding.compressedRequest
    }
  )

  const onRequest: Incoming["onRequest"] = (head, id) => {
    const serverHead = GrpcServerHead.read(head)
    const stream: ServerStream = {
      id,
      messages: GrpcReceiving.makeInbound(settings.maxReceiveMessageSize),
      compression: serverHead.acceptsGzip ? settings.compression : "identity",
      call: undefined,
      hasHead: false
    }
    const unreadable = GrpcServerHead.checkEncoding(serverHead)
    if (unreadable !== undefined) {
      calls.reject(stream, unreadable)
      return ignored
    }
    if (serverHead.encoding === GrpcEncoding.gzip) {
      GrpcReceiving.takeCompressed(stream.messages)
    }
    const call = calls.accept(stream, head.path ?? "", serverHead.metadata, serverHead.timeout)
    if (call === undefined) {
      return ignored
    }
    stream.call = call
    calls.begin(call, undefined, false)
    if (call.inbox !== undefined) {
      watch(stream, call)
    }
    return {
      onData: (chunk) => receiving.receive(stream, chunk),
      onEnd: () => receiving.end(stream),
      onGone: () => calls.onReset(call)
    }
  }
  return { onRequest, onRoom: calls.onRoom }
}
