/** The calls that this end opens on one connection: `ClientCalls` over gRPC's messages in the streams of HTTP/2. */
import * as Either from "effect/Either"
import { constVoid } from "effect/Function"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { ClientCall } from "../../Calls/CallStream.js"
import * as ClientCalls from "../../Calls/ClientCalls.js"
import * as GrpcClientHead from "../../Calls/GrpcClientHead.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import type { StreamQuota } from "../../Calls/StreamQuota.js"
import type { Fields } from "../../protocol/Fields.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import type { ResponseHead } from "../../protocol/http/HttpFields.js"
import type { Head } from "../../protocol/http2/HpackEncoder.js"
import { noPrefix } from "../../protocol/http2/Http2Connection.js"
import { type Http2Code, nameOf } from "../../protocol/http2/Http2Error.js"
import type { Stream } from "../../protocol/http2/Http2Stream.js"
import type { Compression, Connection } from "../../Transport/Connection.js"
import type * as Metadata from "../../Transport/Metadata.js"
import { Internal, type StatusError } from "../../Transport/TransportError.js"
import * as GrpcInbound from "./grpcInbound.js"
import { type Link, maxSentMetadata } from "./grpcLink.js"
import * as GrpcSending from "./grpcSending.js"

/** The calls that this end opened on one connection. */
export interface Outgoing<O> {
  readonly connection: Connection
  readonly onResponse: (owner: ClientStream<O>, head: ResponseHead) => void
  readonly onTooLarge: (owner: ClientStream<O>) => void
  readonly onData: (owner: ClientStream<O>, stream: Stream<O>, bytes: Buffer) => void
  readonly onTrailers: (owner: ClientStream<O>, fields: Fields) => void
  readonly onEnd: (owner: ClientStream<O>) => void
  readonly onReset: (
    owner: ClientStream<O>,
    isRemoteDone: boolean,
    code: number,
    by: "remote" | "local",
    text: string
  ) => void
  /** The peer goes away without having processed the call. */
  readonly onUnprocessed: (owner: ClientStream<O>, code: Http2Code, text: string) => void
  readonly onLost: (owner: ClientStream<O>, why: string) => void
  readonly cancel: (owner: ClientStream<O>) => void
}

/** The stream of a call. */
export interface ClientStream<O> {
  readonly _tag: "Call"
  readonly call: ClientCall<ClientStream<O>>
  readonly where: CallErrors.Where
  readonly messages: GrpcReceiving.Inbound
  readonly backlog: GrpcInbound.Backlog
  readonly answer: GrpcClientHead.Answer
  readonly compression: Compression
  id: number
  stream: Stream<O> | undefined
}

/** What the peer means by resetting a stream. Source: "PROTOCOL-HTTP2.md" of gRPC, "Errors". */
const meanings: Partial<Record<Http2Code, GrpcClientHead.ResetMeaning>> = {
  REFUSED_STREAM: "Refused",
  CANCEL: "Cancelled",
  ENHANCE_YOUR_CALM: "Excessive",
  INADEQUATE_SECURITY: "Insecure"
}

const ofReset = (code: number, { call, where }: ClientStream<unknown>): StatusError => {
  const name = nameOf(code)
  return GrpcClientHead.resetError(
    (name === undefined ? undefined : meanings[name]) ?? "Broken",
    name ?? `code ${code}`,
    call.headersReceived,
    where
  )
}

/** Heads of as many methods are kept as an ordinary client has. */
const maxHeads = 256

const noBytes = new Uint8Array(0)

const noFields: Fields = []

const fieldsOf = ({ entries }: Metadata.Metadata, timeout: number): Fields => {
  const fields = entries.length === 0 ? noFields : GrpcFields.fromEntries(entries)
  const timeoutField = GrpcClientHead.timeoutField(timeout)
  return timeoutField === undefined ? fields : [timeoutField, ...fields]
}

/** Makes the calls of one connection. `own` makes a call the owner of its stream. */
export const make = <O>(
  link: Link<O>,
  scheme: "https" | "http",
  authority: string,
  quota: StreamQuota,
  own: (owner: ClientStream<O>) => O
): Outgoing<O> => {
  const { boundary, deadlines, flush, http2, name, onThrown, progress, settings } = link
  /** The fields with which all calls of a method begin. */
  const heads = new Map<string, { readonly compression: Compression; readonly head: Head }>()
  const headOf = (path: string, compression: Compression): Head => {
    const known = heads.get(path)
    if (known?.compression === compression) {
      return known.head
    }
    if (heads.size === maxHeads) {
      heads.clear()
    }
    const head = http2.makeHead(GrpcClientHead.requestFields({ scheme, authority, path, compression }))
    heads.set(path, { compression, head })
    return head
  }

  let isProbed = false
  const answered = () => {
    isProbed = false
    progress.answered()
  }

  const fail = ({ call }: ClientStream<O>, error: StatusError) => calls.fail(call, error)

  const inbound = GrpcInbound.make<O, ClientStream<O>>(link, {
    isReadable: ({ call }) => !call.isUnary,
    onMessage: ({ call }, message, cost) => calls.onMessage(call, message, cost, cost),
    onEnd: (owner) => {
      const metadata = GrpcClientHead.trailersOf(owner.answer)
      calls.onTrailers(owner.call, metadata, GrpcClientHead.errorOf(owner, calls.withinLimit(metadata)))
    },
    fail,
    compressedText: GrpcEncoding.compressedAnswer
  })

  const calls = ClientCalls.make<ClientStream<O>>({
    wire: {
      system: "grpc",
      isClosed: link.isLost,
      maxMetadataSize: () => maxSentMetadata(link),
      maxMessageSize: () => settings.maxSendMessageSize,
      maxPathLength: Number.POSITIVE_INFINITY,
      open: (call, timeout, request) => {
        const { options, where } = call
        const owner: ClientStream<O> = {
          _tag: "Call",
          call,
          where,
          messages: GrpcReceiving.makeInbound(settings.maxReceiveMessageSize),
          backlog: GrpcInbound.makeBacklog(),
          answer: GrpcClientHead.makeAnswer(),
          compression: options.compression ?? settings.compression,
          id: 0,
          stream: undefined
        }
        const stream = http2.open(
          headOf(where.method, owner.compression),
          fieldsOf(options.metadata, timeout),
          false,
          own(owner)
        )
        owner.id = stream.id
        owner.stream = stream
        if (request !== undefined) {
          GrpcSending.send(link, stream, request, owner.compression, true, constVoid)
        }
        return owner
      },
      message: ({ compression, stream }, message, sent) => {
        if (stream !== undefined) {
          GrpcSending.send(link, stream, message, compression, false, sent)
        }
      },
      flush,
      halfClose: ({ stream }) => {
        if (stream !== undefined) {
          http2.sendData(stream, noBytes, noPrefix, true, constVoid)
        }
      },
      release: inbound.release,
      onWaiting: inbound.onWaiting,
      cancel: ({ stream }) => {
        if (stream !== undefined) {
          http2.reset(stream, "CANCEL")
        }
      },
      ended: (owner) => {
        const { stream } = owner
        inbound.forget(owner)
        link.compression.forget(owner.id)
        // The peer is done, whether or not it has read all.
        if (stream !== undefined && !stream.isLocalDone) {
          http2.reset(stream, "NO_ERROR")
        }
      },
      schedule: setImmediate,
      // Once until a call is answered: servers count PINGs, and what they send starts that count anew (gRFC A8).
      onTimeout: () => {
        if (!isProbed) {
          isProbed = true
          link.probe()
        }
      },
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
    onResponse: (owner, head) => {
      if (owner.call.isOver) {
        return
      }
      answered()
      const metadata = GrpcClientHead.receiveHead(owner, head)
      if (Either.isRight(metadata)) {
        calls.onHeaders(owner.call, metadata.right)
      } else {
        fail(owner, metadata.left)
      }
    },
    onTooLarge: (owner) => fail(owner, MetadataLimit.tooLarge(settings.maxMetadataSize, owner.where)),
    onData: (owner, stream, bytes) => {
      if (owner.call.isOver) {
        return http2.consume(stream, bytes.length)
      }
      answered()
      owner.answer.hasContent = true
      inbound.receive(owner, bytes)
    },
    onTrailers: ({ answer }, fields) => {
      answer.trailers = fields
    },
    onEnd: (owner) => {
      if (!owner.call.isOver) {
        inbound.end(owner)
      }
    },
    onReset: (owner, isRemoteDone, code, by, text) => {
      // An answer that has come whole counts, whatever follows it (RFC 9113 section 8.1), and its reader may still be at it.
      if (!(owner.call.isOver || (isRemoteDone && by === "remote"))) {
        progress.answered()
        calls.onReset(
          owner.call,
          by === "remote"
            ? ofReset(code, owner)
            : new Internal({ message: `the answer breaks the rules of HTTP/2: ${text}`, ...owner.where })
        )
      }
    },
    onUnprocessed: ({ call }, code, text) =>
      calls.onUnprocessed(call, code === "NO_ERROR" ? undefined : text === "" ? code : text),
    onLost: ({ call, where }, why) => calls.onReset(call, CallErrors.connectionLost(why, where)),
    cancel: ({ call }) => calls.close(call)
  }
}
