/** The calls that the other end of a connection makes: `ServerCalls` over gRPC's messages in the streams of HTTP/2. */
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ServerStream as ServerCall, ServerWire } from "../../Calls/CallStream.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as GrpcServerHead from "../../Calls/GrpcServerHead.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as ServerCalls from "../../Calls/ServerCalls.js"
import type { Field } from "../../protocol/Fields.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import type { Stream } from "../../protocol/http2/Http2Connection.js"
import type { Compression } from "../../Transport/Connection.js"
import type { StatusError } from "../../Transport/TransportError.js"
import * as GrpcInbound from "./grpcInbound.js"
import { type Link, maxSentMetadata } from "./grpcLink.js"
import * as GrpcSending from "./grpcSending.js"

/** The stream of a call. */
export interface ServerStream<O> {
  readonly _tag: "Call"
  readonly stream: Stream<O>
  readonly id: number
  readonly messages: GrpcReceiving.Inbound
  readonly backlog: GrpcInbound.Backlog
  /** How its answer is compressed. */
  readonly compression: Compression
  call: ServerCall<ServerStream<O>> | undefined
  /** The head of the response has been written. */
  hasHead: boolean
}

export interface Incoming<O> {
  readonly onRequest: (stream: Stream<O>, head: RequestHead) => void
  readonly onTooLarge: (stream: Stream<O>) => void
  readonly onData: (owner: ServerStream<O>, bytes: Buffer) => void
  readonly onEnd: (owner: ServerStream<O>) => void
  readonly onGone: (owner: ServerStream<O>) => void
  readonly onRoom: () => void
}

/** How the caller's next messages may be compressed: in HPACK one byte. */
const accepted: Field = [GrpcEncoding.acceptName, GrpcEncoding.accepted]

/** Larger messages wait until they are sent: their callers need not read them. */
const maxReplyBytes = 4096

/**
 * Answers the calls of one connection: from the bytes of their streams to the routes' handlers and back. `own` gives a stream
 * to its call.
 */
export const make = <O>(
  link: Link<O>,
  server: ServerCalls.Server,
  own: (stream: Stream<O>, owner: ServerStream<O>) => void
): Incoming<O> => {
  const { compression, flush, http2, settings } = link
  const heads = {
    identity: http2.makeHead([...GrpcServerHead.responseHead, accepted]),
    gzip: http2.makeHead([...GrpcServerHead.compressedHead, accepted])
  }
  const okTrailer = http2.makeHead(GrpcServerHead.okTrailer)

  /** Wants no more of a request that is answered. */
  const stop = (stream: Stream<O>) => {
    if (!stream.isRemoteDone && !http2.isSending(stream)) {
      http2.reset(stream, "NO_ERROR")
    }
  }

  const wire: ServerWire<ServerStream<O>> = {
    system: "grpc",
    maxMessageSize: () => settings.maxSendMessageSize,
    maxMetadataSize: () => maxSentMetadata(link),
    isFull: () => http2.unsent() + compression.pending() > settings.maxUnsentBytes,
    headers: (owner, { entries }) => {
      owner.hasHead = true
      http2.sendHeaders(owner.stream, heads[owner.compression], GrpcFields.fromEntries(entries), false)
    },
    message: ({ compression, stream }, bytes, sent) => {
      GrpcSending.send(link, stream, bytes, compression, false, sent)
    },
    reply: (owner, bytes, headers, trailers) => {
      const isSmall = bytes.length <= maxReplyBytes && owner.compression === "identity"
      if (isSmall) {
        wire.headers(owner, headers)
        wire.message(owner, bytes, constVoid)
        wire.finish(owner, undefined, trailers)
      }
      return isSmall
    },
    finish: ({ hasHead, stream }, error, trailers) => {
      if (error === undefined) {
        http2.sendHeaders(stream, okTrailer, GrpcFields.fromEntries(trailers.entries), true)
      } else {
        const maxSize = http2.peerSettings()?.maxHeaderListSize ?? Number.POSITIVE_INFINITY
        const fields = GrpcServerHead.errorTrailer(error, trailers, maxSize)
        http2.sendHeaders(stream, hasHead ? undefined : heads.identity, fields, true)
      }
      stop(stream)
    },
    abort: (owner, error, trailers) => {
      if (http2.isSending(owner.stream)) {
        // The status would have to wait until the peer has read the message, and the message with it.
        http2.reset(owner.stream, "CANCEL")
      } else {
        wire.finish(owner, error, trailers)
      }
    },
    flush,
    release: (owner, cost) => inbound.release(owner, cost),
    onWaiting: (owner) => inbound.onWaiting(owner),
    schedule: setImmediate,
    ended: (owner) => {
      inbound.forgetAll(owner)
      compression.forget(owner.id)
    },
    useless: link.useless,
    onThrown: link.onThrown
  }
  const calls = ServerCalls.make(wire, server, link)

  const fail = ({ call }: ServerStream<O>, error: StatusError) => {
    if (call !== undefined) {
      calls.fail(call, error)
    }
  }

  const inbound = GrpcInbound.make<O, ServerStream<O>>(link, {
    isReadable: ({ call }) => call?.inbox !== undefined,
    onMessage: ({ call }, message, cost) => {
      if (call !== undefined) {
        calls.onMessage(call, message, cost, cost)
      }
    },
    onEnd: ({ call, messages }) => {
      if (call !== undefined && !call.isOver) {
        if (GrpcReceiving.isCutOff(messages)) {
          calls.fail(call, CallErrors.requestCutOff())
        } else {
          calls.onHalfClose(call)
        }
      }
    },
    fail,
    compressedText: GrpcEncoding.compressedRequest
  })

  const endLater = (owner: ServerStream<O>) => {
    try {
      inbound.end(owner)
    } catch (cause) {
      link.onThrown(cause)
    }
  }

  const makeOwner = (stream: Stream<O>, compression: Compression = "identity"): ServerStream<O> => {
    const owner: ServerStream<O> = {
      _tag: "Call",
      id: stream.id,
      stream,
      messages: GrpcReceiving.makeInbound(settings.maxReceiveMessageSize),
      backlog: GrpcInbound.makeBacklog(),
      compression,
      call: undefined,
      hasHead: false
    }
    own(stream, owner)
    return owner
  }

  return {
    onRequest: (stream, head) => {
      const serverHead = GrpcServerHead.read(head)
      const owner = makeOwner(stream, serverHead.acceptsGzip ? settings.compression : "identity")
      const unreadable = GrpcServerHead.checkEncoding(serverHead)
      if (unreadable !== undefined) {
        calls.reject(owner, unreadable)
        return
      }
      if (serverHead.encoding === GrpcEncoding.gzip) {
        GrpcReceiving.takeCompressed(owner.messages)
      }
      const call = calls.accept(owner, head.path ?? "", serverHead.metadata, serverHead.timeout)
      if (call !== undefined) {
        owner.call = call
        calls.begin(call, undefined, false)
      }
    },
    onTooLarge: (stream) => {
      calls.reject(makeOwner(stream), MetadataLimit.tooLarge(settings.maxMetadataSize))
    },
    onData: (owner, bytes) => {
      if (owner.call === undefined || owner.call.isOver) {
        http2.consume(owner.stream, bytes.length)
      } else {
        inbound.receive(owner, bytes)
      }
    },
    // Clients on Node end a stream just before they reset it: the reset is in the bytes behind these.
    onEnd: (owner) => (owner.call?.inbox === undefined ? inbound.end(owner) : setImmediate(endLater, owner)),
    onGone: ({ call }) => {
      if (call !== undefined) {
        calls.onReset(call)
      }
    },
    onRoom: calls.onRoom
  }
}
