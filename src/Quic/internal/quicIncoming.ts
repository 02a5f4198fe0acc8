/** The calls that the other end of a connection makes: `ServerCalls` over gRPC's messages in the requests of HTTP/3. */
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ServerWire } from "../../Calls/CallStream.js"
import * as ServerCalls from "../../Calls/ServerCalls.js"
import { sectionSize } from "../../protocol/Fields.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../protocol/grpc/GrpcTimeout.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Qpack from "../../protocol/http3/Qpack.js"
import * as Varint from "../../protocol/quic/Varint.js"
import * as StatusFields from "../../Transport/internal/statusFields.js"
import * as Metadata from "../../Transport/Metadata.js"
import { Internal } from "../../Transport/TransportError.js"
import { type Link, maxSentMetadata } from "./quicLink.js"
import * as QuicMessages from "./quicMessages.js"
import * as QuicReceiving from "./quicReceiving.js"

/** Callbacks for a request whose head has come. */
export interface Body {
  readonly onData: (chunk: Buffer) => void
  readonly onEnd: () => void
  readonly onDatagram?: ((payload: Buffer) => void) | undefined
  /** The peer has given the request up, or is gone. */
  readonly onGone: () => void
}

const responseHead = Qpack.encodeLines([
  [":status", "200"],
  ["content-type", GrpcFields.contentType]
])

const okTrailer = Qpack.encodeLines([GrpcFields.ok])

/** What gRPC reads in the head of a request. */
interface GrpcHead {
  readonly isGrpc: boolean
  readonly encoding: string
  /** Milliseconds; `NaN` where it is malformed. */
  readonly timeout: number
  readonly hasMetadata: boolean
}

/** Calls that begin alike have one head (`Http3Sections`), which is read once. Metadata mostly makes them differ. */
const headCache = new WeakMap<RequestHead, GrpcHead>()

const grpcHeadOf = (head: RequestHead): GrpcHead => {
  const before = headCache.get(head)
  if (before !== undefined) {
    return before
  }
  const { fields, method } = head
  const timeout = GrpcFields.get(fields, "grpc-timeout")
  const grpcHead = {
    isGrpc: method === "POST" && (GrpcFields.get(fields, "content-type") ?? "").startsWith(GrpcFields.contentType),
    encoding: GrpcFields.get(fields, "grpc-encoding") ?? GrpcEncoding.identity,
    timeout: timeout === undefined ? Number.POSITIVE_INFINITY : (GrpcTimeout.parse(timeout) ?? Number.NaN),
    hasMetadata: GrpcFields.ofRequest(fields).length > 0
  }
  if (!grpcHead.hasMetadata) {
    headCache.set(head, grpcHead)
  }
  return grpcHead
}

export const isGrpc = (head: RequestHead): boolean => grpcHeadOf(head).isGrpc

/** The stream of a call. */
interface ServerStream {
  readonly id: number
  readonly messages: QuicReceiving.Inbound
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
  const { kept, sending, session, settings, writer } = link

  /** Sends what was written as the last of a stream, and wants no more of the request. */
  const sendLast = (id: number) => {
    session.write(id, Varint.take(writer), true)
    session.stop(id, "H3_NO_ERROR")
  }

  const writeHead = (stream: ServerStream, metadata: Metadata.Metadata) => {
    stream.hasHead = true
    Frames.writeHeaders(writer, GrpcFields.fromEntries(metadata.entries), responseHead)
  }

  const writeOk = (trailers: Metadata.Metadata) =>
    Frames.writeHeaders(writer, GrpcFields.fromEntries(trailers.entries), okTrailer)

  const serverWire: ServerWire<ServerStream> = {
    maxMessageSize: () => settings.maxSendMessageSize,
    maxMetadataSize: () => maxSentMetadata(link),
    isFull: sending.isFull,
    headers: writeHead,
    message: ({ id }, bytes, sent) => sending.send(id, bytes, false, sent),
    reply: (stream, bytes, headers, trailers) => {
      const isSmall = QuicMessages.isSmall(bytes)
      if (isSmall) {
        writeHead(stream, headers)
        QuicMessages.write(writer, bytes)
        writeOk(trailers)
        sendLast(stream.id)
      }
      return isSmall
    },
    finish: ({ hasHead, id }, error, trailers) => {
      if (error === undefined) {
        writeOk(trailers)
      } else {
        const fields = StatusFields.fromError(error, trailers)
        const isTaken = sectionSize(fields) <= (session.peerSettings()?.maxFieldSectionSize ?? Number.POSITIVE_INFINITY)
        // The status itself must arrive.
        Frames.writeHeaders(writer, isTaken ? fields : fields.slice(0, 1), hasHead ? undefined : responseHead)
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
    release: ({ call, id, messages }, cost) => {
      QuicReceiving.giveBack(kept, messages, Math.min(cost, messages.unread))
      if (call?.inbox !== undefined) {
        link.account()
        QuicMessages.resumeIfRoom(link, messages, id)
      }
    },
    ended: (stream) => {
      receiving.forget(stream)
      QuicReceiving.giveBack(kept, stream.messages, stream.messages.unread)
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

  const onMessage = (message: Uint8Array, stream: ServerStream) => {
    const { call, id, messages } = stream
    if (call === undefined || call.isOver) {
      return
    }
    QuicReceiving.hold(kept, messages, message.length)
    if (call.inbox !== undefined) {
      QuicMessages.pauseIfFull(link, messages, id)
    } else if (QuicReceiving.isTooMuch(kept, messages, settings.connectionWindow)) {
      return calls.fail(call, CallErrors.unreadTooMuch(settings.connectionWindow))
    }
    const cost = QuicReceiving.costOf(message)
    calls.onMessage(call, message, cost, cost)
  }

  const fail = ({ call }: ServerStream, error: Parameters<typeof calls.fail>[1]) => {
    if (call !== undefined) {
      calls.fail(call, error)
    }
  }

  const receiving = QuicReceiving.make<ServerStream>(
    link,
    {
      onMessage,
      onBroken: (why, stream) =>
        fail(
          stream,
          why === "TooLarge"
            ? CallErrors.messageTooLarge(settings.maxReceiveMessageSize)
            : new Internal({ message: GrpcEncoding.compressedRequest })
        )
    },
    fail
  )

  const onRequest: Incoming["onRequest"] = (head, id) => {
    const { encoding, hasMetadata, timeout } = grpcHeadOf(head)
    const stream: ServerStream = {
      id,
      messages: QuicReceiving.makeInbound(settings.maxReceiveMessageSize),
      call: undefined,
      hasHead: false
    }
    if (encoding !== GrpcEncoding.identity) {
      calls.reject(stream, StatusFields.unsupportedEncoding(encoding))
      return ignored
    }
    const metadata = hasMetadata ? Metadata.unsafeFromEntries(GrpcFields.ofRequest(head.fields)) : Metadata.empty
    const call = calls.accept(stream, head.path ?? "", metadata, timeout)
    if (call === undefined) {
      return ignored
    }
    stream.call = call
    calls.begin(call, undefined, false)
    if (call.inbox !== undefined) {
      watch(stream, call)
    }
    return {
      onData: (chunk) => {
        if (!call.isOver) {
          receiving.receive(stream, chunk)
        }
      },
      onEnd: () => {
        if (!call.isOver) {
          if (GrpcMessage.isMidMessage(stream.messages.decoder)) {
            return calls.fail(call, CallErrors.requestCutOff())
          }
          calls.onHalfClose(call)
          watch(stream, call)
        }
      },
      onGone: () => calls.onReset(call)
    }
  }
  return { onRequest, onRoom: calls.onRoom }
}
