/** The call of a client as grpc-js hands it to a listener: `ServerCalls` over its callbacks, with a flow control of its own. */
import type * as Grpc from "@grpc/grpc-js"
import { constVoid } from "effect/Function"
import * as CallErrors from "../../../Calls/CallErrors.js"
import type * as ServerCalls from "../../../Calls/ServerCalls.js"
import * as GrpcEncoding from "../../../protocol/grpc/GrpcEncoding.js"
import * as GrpcTimeout from "../../../protocol/grpc/GrpcTimeout.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import * as StatusFields from "../../../Transport/internal/statusFields.js"
import * as Metadata from "../../../Transport/Metadata.js"
import type * as Method from "../../../Transport/Method.js"
import type * as Route from "../../../Transport/Route.js"
import { Internal, type StatusError } from "../../../Transport/TransportError.js"
import type { Settings } from "../../GrpcJsOptions.js"
import * as GrpcMetadata from "./GrpcMetadata.js"
import type { GrpcConnection, ServerStream } from "./grpcConnection.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import * as Reading from "./grpcServerReading.js"
import * as Sending from "./grpcServerSending.js"

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
  const { calls, peer } = connection
  const http2 = GrpcHttp2.streamOf(grpcCall)
  let call: ServerCalls.ServerStream<ServerStream> | undefined
  /** The stream has ended, or nothing more that comes on it is looked at. */
  let isOver = false

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

  const sending = Sending.make(grpcCall, http2, connection, guarded, onSent)
  const reading = Reading.make(grpcCall, http2, settings, route._tag === "Unary", connection, {
    guarded,
    isOver: () => isOver,
    isTaken: () => call !== undefined && !call.isOver,
    onMessage: (message) => {
      if (call !== undefined) {
        calls.onMessage(call, message, message.length, message.length)
      }
    },
    onBroken: (why) =>
      fail(
        why === "TooLarge"
          ? CallErrors.messageTooLarge(settings.maxReceiveMessageSize)
          : new Internal({ message: GrpcEncoding.compressedRequest })
      ),
    onOverdue: () => fail(CallErrors.messageOverdue(settings.messageTimeout))
  })

  const { abort, finish, headers, message } = sending
  const { disarm: ended, onWaiting, release } = reading
  const stream: ServerStream = { headers, message, finish, abort, release, onWaiting, ended }

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
    if (call !== undefined) {
      calls.begin(call, undefined, false)
      reading.begin()
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
    if (reading.halfClose()) {
      return calls.fail(call, CallErrors.requestCutOff())
    }
    calls.onHalfClose(call)
  }

  const halfClose = () => {
    guarded(() => grpcCall.startRead())
    process.nextTick(() => guarded(onEnd))
  }

  const observer: Parameters<typeof grpcCall.start>[0] = {
    onReceiveMetadata: (metadata) => guarded(() => onHead(metadata)),
    onReceiveMessage: (message: Buffer) => guarded(() => reading.onMessage(GrpcMetadata.asBytes(message))),
    // Clients on Node end a stream just before they reset it: the reset is among what was received together with the end.
    onReceiveHalfClose: () => (streamsRequests(route.method.shape) ? setImmediate(halfClose) : halfClose()),
    // Also called after every status, when the handler has ended.
    onCancel: () => {
      isOver = true
      reading.end()
      if (!sending.isAnswered()) {
        connection.useless()
      }
      sending.end()
      if (call !== undefined) {
        calls.onReset(call)
      }
    }
  }
  guarded(() => grpcCall.start(observer))
}
