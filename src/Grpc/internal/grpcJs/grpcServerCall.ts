/** One call at the listener of GrpcLive. */
import * as Http2 from "node:http2"
import * as Grpc from "@grpc/grpc-js"
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import { constFalse, constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CallDuration from "../../../Calls/CallDuration.js"
import * as Codec from "../../../Calls/Codec.js"
import type { Deadline } from "../../../Calls/Deadlines.js"
import type * as InFlight from "../../../Calls/HandlerFibers.js"
import * as MetadataLimit from "../../../Calls/MetadataLimit.js"
import * as Waiting from "../../../Calls/Waiting.js"
import * as GrpcEncoding from "../../../protocol/grpc/GrpcEncoding.js"
import * as GrpcMessage from "../../../protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../../protocol/grpc/GrpcTimeout.js"
import * as IncomingCall from "../../../Transport/IncomingCall.js"
import type { Boundary } from "../../../Transport/internal/boundary.js"
import * as StatusFields from "../../../Transport/internal/statusFields.js"
import * as Time from "../../../Transport/internal/time.js"
import * as Metadata from "../../../Transport/Metadata.js"
import type * as Method from "../../../Transport/Method.js"
import type * as Route from "../../../Transport/Route.js"
import {
  Cancelled,
  DeadlineExceeded,
  Internal,
  ResourceExhausted,
  type StatusError,
  Unavailable,
  Unimplemented
} from "../../../Transport/TransportError.js"
import type { Settings } from "../../GrpcOptions.js"
import * as GrpcMetadata from "./GrpcMetadata.js"
import * as GrpcStatus from "./GrpcStatus.js"
import type { GrpcConnection } from "./grpcConnection.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import * as Inbox from "./inbox.js"
import type * as ReceiveWindow from "./receiveWindow.js"

/** What the calls of one listener have in common. */
export interface Listener {
  readonly settings: Settings
  readonly inFlight: InFlight.InFlight
  readonly clock: Clock.Clock
  readonly boundary: Boundary
}

/** How long the status of a call whose time is over may take to leave, behind messages that its caller has not read. */
const flushMillis = 1000

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

/** Answers one call: from grpc-js's callbacks to the route's handler and back. */
export const serve = (
  call: Grpc.ServerInterceptingCallInterface,
  route: Route.Route,
  listener: Listener,
  connection: GrpcConnection,
  onSent: () => void
): void => {
  const { boundary, inFlight, settings } = listener
  const { deadlines, peer, waiting, window } = connection
  const { path } = route.method
  const where = { method: path, peer: peer.address }
  let handler: Fiber.RuntimeFiber<unknown, unknown> | undefined
  let deadline: Deadline | undefined
  let ended = false
  let isAnswered = false
  /** Bytes of messages that are on their way. */
  let pending = 0
  /** What answers the call when there is room. */
  let answer: (() => void) | undefined

  const start = <A>(
    effect: Effect.Effect<A, StatusError>,
    incoming: IncomingCall.IncomingCall,
    onExit: (exit: Exit.Exit<A, StatusError>) => void
  ) => {
    const fiber = inFlight.fork(effect, route.context, incoming, (exit) => {
      handler = undefined
      onExit(exit)
    })
    // Most handlers have ended by now. To interrupt what has ended would wake it up for nothing.
    if (fiber.unsafePoll() === null) {
      handler = fiber
    }
  }

  /** Ends the call for what was thrown in one of grpc-js's callbacks. */
  const onThrown = (cause: unknown) => {
    boundary.caught("engine", peer.address, cause)
    ended = true
    handler?.unsafeInterruptAsFork(FiberId.none)
    boundary.guard("engine", peer.address, () => refuse(new Internal({ message: "internal error" })), constVoid)
  }

  const guarded = (f: () => void) => {
    try {
      f()
    } catch (cause) {
      onThrown(cause)
    }
  }

  const sendStatus = (status: Parameters<typeof call.sendStatus>[0]) => {
    isAnswered = true
    call.sendStatus(status)
  }

  const refuse = (error: StatusError) => sendStatus(GrpcStatus.toStatus(error, Metadata.empty))

  /** Refuses what was never begun. */
  const reject = (error: StatusError) => {
    connection.useless()
    refuse(error)
    return undefined
  }

  const release = (size: number) => {
    pending -= size
    connection.unsent(-size)
  }

  const sendError = (cause: Cause.Cause<StatusError>, incoming: IncomingCall.IncomingCall) => {
    const error = Option.getOrElse(Cause.failureOption(cause), () =>
      inFlight.isDraining()
        ? new Unavailable({ message: "the peer shut down" })
        : new Cancelled({ message: "the handler was interrupted" })
    )
    if (incoming.response.headers.entries.length > 0) {
      sendHeaders(incoming.response)
    }
    sendStatus(GrpcStatus.toStatus(error, incoming.response.trailers, settings.maxMetadataSize))
  }

  const sendOk = ({ response }: IncomingCall.IncomingCall) => {
    sendHeaders(response)
    const trailers = fitting(response.trailers)
    sendStatus(trailers.entries.length === 0 ? ok : { ...ok, metadata: GrpcMetadata.toGrpc(trailers) })
  }

  const fitting = (metadata: Metadata.Metadata) =>
    MetadataLimit.fits(metadata, settings.maxMetadataSize) ? metadata : Metadata.empty

  const checkResponse = (response: IncomingCall.Response) =>
    MetadataLimit.checkResponse(response, settings.maxMetadataSize)

  const sendHeaders = (response: IncomingCall.Response) => {
    if (!response.headersSent) {
      response.headersSent = true
      onSent()
      call.sendMetadata(headOf(fitting(response.headers)))
    }
  }

  const sendMessage = (
    message: unknown,
    { response }: IncomingCall.IncomingCall,
    sent: () => void
  ): Either.Either<void, StatusError> => {
    const checked = response.headersSent ? Either.void : checkResponse(response)
    if (Either.isLeft(checked)) {
      return checked
    }
    return Either.map(
      Codec.encode(route.method.output, message, settings.maxSendMessageSize, where, boundary),
      (bytes) => {
        sendHeaders(response)
        onSent()
        pending += bytes.length
        connection.unsent(bytes.length)
        call.sendMessage(GrpcMetadata.asBuffer(bytes), () =>
          guarded(() => {
            sent()
            release(Math.min(pending, bytes.length))
          })
        )
      }
    )
  }

  const http2 = GrpcHttp2.streamOf(call)
  const decoder = GrpcMessage.makeDecoder(settings.maxReceiveMessageSize)
  let isAwaited = constFalse
  let isWanted = false
  let isReading = false
  let isReceiving = false
  let overdue: Deadline | undefined

  /** From when a message has begun until it ends; with a unary call, until the request does. */
  const arm = () => {
    overdue ??= deadlines.add(Duration.toMillis(settings.messageTimeout), () =>
      guarded(() =>
        pass(
          new DeadlineExceeded({
            message: `the message was not finished within ${Duration.format(settings.messageTimeout)}`
          })
        )
      )
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
    isAwaited: () => isAwaited(),
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
    if (http2 !== undefined && !isReceiving && isOn !== isReading && !ended) {
      isReading = isOn
      if (isOn) {
        http2.resume()
      } else {
        http2.pause()
      }
    }
  }

  const push = (message: Uint8Array) => {
    isWanted = false
    window.hold(reader, message.length)
    requests?.push(message)
  }

  const messages: GrpcMessage.Events<undefined> = {
    onMessage: push,
    onBroken: (why) =>
      refuse(
        why === "TooLarge"
          ? new ResourceExhausted({
              message: `the received message has more than the ${settings.maxReceiveMessageSize} bytes allowed`
            })
          : new Internal({ message: GrpcEncoding.compressedRequest })
      )
  }

  const onData = (data: Buffer) =>
    guarded(() => {
      if (ended || requests === undefined) {
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

  const takesData = http2 !== undefined && GrpcHttp2.takeData(call, onData)

  const startRead = () => {
    isWanted = true
    if (takesData) {
      flow()
    } else {
      call.startRead()
    }
  }

  const decode = (bytes: Uint8Array) => Codec.decode(route.method.input, bytes, settings, where, boundary)

  const unary = (route: Route.UnaryRoute, incoming: IncomingCall.IncomingCall) => {
    let request: Uint8Array | undefined
    const sendReply = (reply: unknown) => {
      const sent = sendMessage(reply, incoming, () => sendOk(incoming))
      if (Either.isLeft(sent)) {
        sendError(Cause.fail(sent.left), incoming)
      }
    }
    startRead()
    return {
      push: (message: Uint8Array) => {
        if (request !== undefined) {
          return refuse(new Unimplemented({ message: `${path} takes one request message, more came` }))
        }
        request = message
        arm()
        startRead()
      },
      halfClose: () => {
        disarm()
        window.release(reader, reader.unread)
        if (request === undefined) {
          return refuse(new Unimplemented({ message: `${path} takes one request message, none came` }))
        }
        const decoded = decode(request)
        if (Either.isLeft(decoded)) {
          return refuse(decoded.left)
        }
        start(route.handle(decoded.right, incoming), incoming, (exit) => {
          if (Exit.isFailure(exit)) {
            return sendError(exit.cause, incoming)
          }
          if (connection.isFull()) {
            answer = () => guarded(() => sendReply(exit.value))
            waiting.add(answer)
          } else {
            sendReply(exit.value)
          }
        })
      }
    }
  }

  const stream = (route: Route.StreamRoute, incoming: IncomingCall.IncomingCall) => {
    const inbox = Inbox.make<never>(startRead, (bytes) => window.release(reader, bytes))
    isAwaited = inbox.isAwaited
    const send = (message: unknown) =>
      Effect.async<void, StatusError>((resume) => {
        const sent = sendMessage(message, incoming, () => resume(Effect.void))
        if (Either.isLeft(sent)) {
          resume(sent)
        }
      })
    start(
      Stream.runForEach(route.handle(Stream.mapEffect(inbox.stream, decode), incoming), (message) =>
        connection.isFull() ? Effect.zipRight(Waiting.room(waiting), send(message)) : send(message)
      ),
      incoming,
      (exit) => {
        if (Exit.isFailure(exit)) {
          return sendError(exit.cause, incoming)
        }
        const checked = checkResponse(incoming.response)
        return Either.isLeft(checked) ? sendError(Cause.fail(checked.left), incoming) : sendOk(incoming)
      }
    )
    return { push: inbox.push, halfClose: () => inbox.end(Exit.void) }
  }

  /** Milliseconds, or `NaN` where they are malformed. */
  const timeoutOf = (received: Grpc.Metadata): number => {
    const [text] = received.get(GrpcHttp2.timeoutName)
    return typeof text === "string" ? (GrpcTimeout.parse(text) ?? Number.NaN) : Number(call.getDeadline()) - Date.now()
  }

  const pass = (error: DeadlineExceeded) => {
    handler?.unsafeInterruptAsFork(FiberId.none)
    refuse(error)
    deadlines.add(flushMillis, () => guarded(() => http2?.close(Http2.constants.NGHTTP2_CANCEL)))
  }

  const accept = (received: Grpc.Metadata) => {
    const [encoding] = received.get(GrpcHttp2.encodingName)
    if (typeof encoding === "string" && encoding !== GrpcEncoding.identity) {
      return reject(StatusFields.unsupportedEncoding(encoding))
    }
    const metadata = GrpcMetadata.ofRequest(received)
    if (!MetadataLimit.fits(metadata, settings.maxMetadataSize)) {
      return reject(MetadataLimit.tooLarge(settings.maxMetadataSize))
    }
    const wanted = timeoutOf(received)
    if (Number.isNaN(wanted)) {
      return reject(new Internal({ message: "the header grpc-timeout is malformed" }))
    }
    if (wanted <= 0) {
      return reject(new DeadlineExceeded({ message: "the deadline had passed before the call" }))
    }
    const limit = CallDuration.limitOf(settings.maxCallDuration, route)
    const timeout = Math.min(wanted, limit)
    const incoming = IncomingCall.make({
      method: path,
      peer,
      metadata,
      deadline: timeout + Time.now(listener.clock),
      draining: inFlight.draining,
      boundary,
      endConnection: onThrown,
      onDenied: connection.useless
    })
    deadline = deadlines.add(timeout, () =>
      guarded(() => {
        if (timeout <= CallDuration.uselessMillis) {
          connection.useless()
        }
        pass(CallDuration.exceeded(wanted, limit))
      })
    )
    return route._tag === "Unary" ? unary(route, incoming) : stream(route, incoming)
  }

  let requests: ReturnType<typeof accept>
  /**
   * A reset ends the stream too. Whether it was one is what grpc-js looks at when it is asked to read on; it tells so in
   * the next tick, and a call that was cut off must not look complete.
   */
  const end = () =>
    GrpcMessage.isMidMessage(decoder)
      ? refuse(new Internal({ message: "the request ended within a message" }))
      : requests?.halfClose()

  const halfClose = () => {
    guarded(() => call.startRead())
    process.nextTick(() => ended || guarded(end))
  }
  const observer: Parameters<typeof call.start>[0] = {
    onReceiveMetadata: (metadata) =>
      guarded(() => {
        requests = accept(metadata)
        if (takesData && requests !== undefined) {
          // It tells of the end of the content only where it was asked to read.
          call.startRead()
          isReading = true
          flow()
        }
      }),
    onReceiveMessage: (message: Buffer) => guarded(() => push(GrpcMetadata.asBytes(message))),
    // Clients on Node end a stream just before they reset it: the reset is among what was received together with the end.
    onReceiveHalfClose: () => (streamsRequests(route.method.shape) ? setImmediate(halfClose) : halfClose()),
    // Also called after every status, when the handler has ended.
    onCancel: () => {
      ended = true
      deadlines.remove(deadline)
      disarm()
      waiting.remove(answer)
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
      handler?.unsafeInterruptAsFork(FiberId.none)
    }
  }
  guarded(() => call.start(observer))
}
