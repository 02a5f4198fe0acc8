/** The call of a client as grpc-js hands it to a listener: `ServerCalls` over its callbacks, with a flow control of its own. */
import * as Http2 from "node:http2"
import * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import { constVoid } from "effect/Function"
import * as CallErrors from "../../../Calls/CallErrors.js"
import type { Deadline } from "../../../Calls/Deadlines.js"
import type * as ServerCalls from "../../../Calls/ServerCalls.js"
import * as GrpcEncoding from "../../../protocol/grpc/GrpcEncoding.js"
import * as GrpcMessage from "../../../protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../../protocol/grpc/GrpcTimeout.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import * as StatusFields from "../../../Transport/internal/statusFields.js"
import * as Metadata from "../../../Transport/Metadata.js"
import type * as Method from "../../../Transport/Method.js"
import type * as Route from "../../../Transport/Route.js"
import { Internal, type StatusError } from "../../../Transport/TransportError.js"
import type { Settings } from "../../GrpcJsOptions.js"
import * as GrpcMetadata from "./GrpcMetadata.js"
import * as GrpcStatus from "./GrpcStatus.js"
import type { GrpcConnection, ServerStream } from "./grpcConnection.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import type * as ReceiveWindow from "./receiveWindow.js"

/** How long the status of a call that is aborted may take to leave, behind messages that its caller has not read. */
const flushMillis = 1000

/** Reading stops at this many messages or bytes that the handler has not taken. */
const maxUnreadMessages = 64
const maxUnreadBytes = 256 * 1024

const ok = { code: Grpc.status.OK, details: "" }

const plainHead = new Grpc.Metadata()
plainHead.set(GrpcEncoding.acceptName, GrpcEncoding.identity)

/** Response headers. grpc-js would say of itself that it inflates. */
const headOf = (metadata: Metadata.Metadata): Grpc.Metadata => {
  if (metadata.entries.length === 0) {
    return plainHead
  }
  const head = GrpcMetadata.toGrpc(metadata)
  head.set(GrpcEncoding.acceptName, GrpcEncoding.identity)
  return head
}

const streamsRequests = (shape: Method.Shape) => shape === "clientStreaming" || shape === "bidiStreaming"

/** Answers one call. `onSent` is called when something is sent. */
export const serve = (
  grpcCall: Grpc.ServerInterceptingCallInterface,
  route: Route.Route,
  settings: Settings,
  boundary: Boundary,
  connection: GrpcConnection,
  onSent: () => void
): void => {
  const { calls, deadlines, peer, window } = connection
  const http2 = GrpcHttp2.streamOf(grpcCall)
  const decoder = GrpcMessage.makeDecoder(settings.maxReceiveMessageSize)
  let call: ServerCalls.ServerStream<ServerStream> | undefined
  /** The stream has ended, or nothing more that comes on it is looked at. */
  let isOver = false
  let isAnswered = false
  /** Bytes of messages that are on their way. */
  let pending = 0
  let unreadMessages = 0
  let isAwaited = false
  let isWanted = false
  let isHalfClosed = false
  let isReading = false
  let isReceiving = false
  let overdue: Deadline | undefined

  const sendStatus = (status: Parameters<typeof grpcCall.sendStatus>[0]) => {
    isAnswered = true
    grpcCall.sendStatus(status)
  }

  /** Ends the call for what was thrown in one of grpc-js's callbacks. */
  const onThrown = (cause: unknown) => {
    const error = new Internal({ message: "internal error" })
    boundary.caught("engine", peer.address, cause)
    boundary.guard(
      "engine",
      peer.address,
      () => (call === undefined ? stream.finish(error, Metadata.empty) : calls.fail(call, error)),
      constVoid
    )
    isOver = true
  }

  const guarded = (f: () => void) => {
    try {
      f()
    } catch (cause) {
      onThrown(cause)
    }
  }

  const fail = (error: StatusError) => {
    if (call !== undefined) {
      calls.fail(call, error)
    }
  }

  const release = (size: number) => {
    pending -= size
    connection.unsent(-size)
  }

  /** From when a message has begun until it ends; with a unary call, until the request does. */
  const arm = () => {
    overdue ??= deadlines.add(Duration.toMillis(settings.messageTimeout), () =>
      fail(CallErrors.messageOverdue(settings.messageTimeout))
    )
  }

  const disarm = () => {
    deadlines.remove(overdue)
    overdue = undefined
  }

  const reader: ReceiveWindow.Reader = {
    unfinished: 0,
    unread: 0,
    isHeld: false,
    isAwaited: () => isAwaited,
    onHeld: () => {
      if (reader.isHeld) {
        disarm()
      } else if (reader.unfinished > 0) {
        arm()
      }
      flow()
    }
  }

  const flow = () => {
    const isOn = isWanted && !reader.isHeld
    if (http2 !== undefined && !isReceiving && isOn !== isReading && !isOver) {
      isReading = isOn
      if (isOn) {
        http2.resume()
      } else {
        http2.pause()
      }
    }
  }

  /** Reads the next message while few wait, so that reading and handling overlap; the rest is left to HTTP/2's flow control. */
  const read = () => {
    const isRoom = unreadMessages < maxUnreadMessages && reader.unread < maxUnreadBytes
    if (!isWanted && !isHalfClosed && (isRoom || route._tag === "Unary")) {
      isWanted = true
      if (takesData) {
        flow()
      } else {
        grpcCall.startRead()
      }
    }
  }

  const stream: ServerStream = {
    headers: (metadata) =>
      guarded(() => {
        onSent()
        grpcCall.sendMetadata(headOf(metadata))
      }),
    message: (bytes, sent) =>
      guarded(() => {
        if (isAnswered) {
          return
        }
        onSent()
        pending += bytes.length
        connection.unsent(bytes.length)
        grpcCall.sendMessage(GrpcMetadata.asBuffer(bytes), () =>
          guarded(() => {
            sent()
            release(Math.min(pending, bytes.length))
          })
        )
      }),
    finish: (error, trailers) => {
      if (isAnswered) {
        return
      }
      if (error !== undefined) {
        return sendStatus(GrpcStatus.toStatus(error, trailers))
      }
      sendStatus(trailers.entries.length === 0 ? ok : { ...ok, metadata: GrpcMetadata.toGrpc(trailers) })
    },
    abort: (error, trailers) => {
      stream.finish(error, trailers)
      deadlines.add(flushMillis, () => http2?.close(Http2.constants.NGHTTP2_CANCEL))
    },
    release: (cost) => {
      if (route._tag === "Unary" || cost === reader.unread) {
        unreadMessages = 0
      }
      window.release(reader, cost)
      read()
    },
    onWaiting: () => {
      isAwaited = true
      read()
    },
    ended: disarm
  }

  const onMessage = (message: Uint8Array) => {
    isWanted = false
    isAwaited = false
    if (call === undefined || call.isOver) {
      return
    }
    unreadMessages += 1
    window.hold(reader, message.length)
    calls.onMessage(call, message, message.length, message.length)
    if (route._tag === "Unary" && !call.isOver) {
      arm()
    }
    read()
  }

  const messages: GrpcMessage.Events<undefined> = {
    onMessage,
    onBroken: (why) =>
      fail(
        why === "TooLarge"
          ? CallErrors.messageTooLarge(settings.maxReceiveMessageSize)
          : new Internal({ message: GrpcEncoding.compressedRequest })
      )
  }

  const onData = (data: Buffer) =>
    guarded(() => {
      if (isOver || call === undefined) {
        return
      }
      isReceiving = true
      GrpcMessage.receive(decoder, messages, undefined, data)
      isReceiving = false
      const size = decoder.isBroken ? 0 : GrpcMessage.pendingSize(decoder)
      if (size > 0) {
        arm()
        window.begin(reader, size)
      } else if (reader.unfinished > 0) {
        window.begin(reader, 0)
        if (route._tag === "Stream") {
          disarm()
        }
      }
      flow()
    })

  const takesData = http2 !== undefined && GrpcHttp2.takeData(grpcCall, onData)

  /** Milliseconds, or `NaN` where they are malformed. */
  const timeoutOf = (received: Grpc.Metadata): number => {
    const [text] = received.get(GrpcHttp2.timeoutName)
    return typeof text === "string"
      ? (GrpcTimeout.parse(text) ?? Number.NaN)
      : Number(grpcCall.getDeadline()) - Date.now()
  }

  const onHead = (received: Grpc.Metadata) => {
    const [encoding] = received.get(GrpcHttp2.encodingName)
    if (typeof encoding === "string" && encoding !== GrpcEncoding.identity) {
      return calls.reject(stream, StatusFields.unsupportedEncoding(encoding, GrpcEncoding.identity))
    }
    call = calls.accept(stream, route.method.path, GrpcMetadata.ofRequest(received), timeoutOf(received))
    if (call === undefined) {
      return
    }
    calls.begin(call, undefined, false)
    if (route._tag === "Unary") {
      read()
    }
    if (takesData) {
      // It tells of the end of the content only where it was asked to read.
      grpcCall.startRead()
      isReading = true
      flow()
    }
  }

  /**
   * A reset ends the stream too. Whether it was one is what grpc-js looks at when it is asked to read on; it tells so in
   * the next tick, and a call that was cut off must not look complete.
   */
  const onEnd = () => {
    if (call === undefined || isOver) {
      return
    }
    if (GrpcMessage.isMidMessage(decoder)) {
      return calls.fail(call, CallErrors.requestCutOff())
    }
    isHalfClosed = true
    if (route._tag === "Unary") {
      disarm()
    }
    calls.onHalfClose(call)
  }

  const halfClose = () => {
    guarded(() => grpcCall.startRead())
    process.nextTick(() => guarded(onEnd))
  }

  const observer: Parameters<typeof grpcCall.start>[0] = {
    onReceiveMetadata: (metadata) => guarded(() => onHead(metadata)),
    onReceiveMessage: (message: Buffer) => guarded(() => onMessage(GrpcMetadata.asBytes(message))),
    // Clients on Node end a stream just before they reset it: the reset is among what was received together with the end.
    onReceiveHalfClose: () => (streamsRequests(route.method.shape) ? setImmediate(halfClose) : halfClose()),
    // Also called after every status, when the handler has ended.
    onCancel: () => {
      isOver = true
      disarm()
      window.end(reader)
      if (!isAnswered) {
        connection.useless()
      }
      if (pending > 0) {
        // It keeps them until it is closed.
        const releaseAll = () => release(pending)
        if (http2 === undefined || http2.closed) {
          releaseAll()
        } else {
          http2.once("close", releaseAll)
        }
      }
      if (call !== undefined) {
        calls.onReset(call)
      }
    }
  }
  guarded(() => grpcCall.start(observer))
}
