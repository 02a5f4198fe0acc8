import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as CallDuration from "../../Calls/CallDuration.js"
import * as Codec from "../../Calls/Codec.js"
import type { Deadline } from "../../Calls/Deadlines.js"
import type * as InFlight from "../../Calls/HandlerFibers.js"
import type * as Inbox from "../../Calls/Inbox.js"
import * as MetadataLimit from "../../Calls/MetadataLimit.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as GrpcTimeout from "../../protocol/grpc/GrpcTimeout.js"
import { type RequestHead, sectionSize } from "../../protocol/http3/Http3Fields.js"
import * as Frames from "../../protocol/http3/Http3Frames.js"
import * as Qpack from "../../protocol/http3/Qpack.js"
import * as Varint from "../../protocol/quic/Varint.js"
import * as IncomingCall from "../../Transport/IncomingCall.js"
import * as Turns from "../../Transport/internal/eventLoop.js"
import * as StatusFields from "../../Transport/internal/statusFields.js"
import * as Time from "../../Transport/internal/time.js"
import * as Metadata from "../../Transport/Metadata.js"
import type * as Route from "../../Transport/Route.js"
import {
  Cancelled,
  DeadlineExceeded,
  Internal,
  ResourceExhausted,
  type StatusError,
  Unavailable,
  Unimplemented
} from "../../Transport/TransportError.js"
import { type Link, maxSentMetadata } from "./quicLink.js"
import * as QuicMessages from "./quicMessages.js"
import * as QuicReceiving from "./quicReceiving.js"

/** What answers the calls of the other end. */
export interface Server {
  readonly routes: ReadonlyMap<string, Route.Route>
  readonly inFlight: InFlight.InFlight
  readonly clock: Clock.Clock
}

/** What hears of a request whose head has come. */
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
interface Gist {
  readonly isGrpc: boolean
  readonly encoding: string
  /** Milliseconds; undefined where it is malformed. */
  readonly timeout: number | undefined
  readonly hasMetadata: boolean
}

/** Calls that begin alike have one head (`Http3Sections`), which is read once. Metadata mostly makes them differ. */
const gists = new WeakMap<RequestHead, Gist>()

const gistOf = (head: RequestHead): Gist => {
  const before = gists.get(head)
  if (before !== undefined) {
    return before
  }
  const { fields, method } = head
  const timeout = GrpcFields.get(fields, "grpc-timeout")
  const gist = {
    isGrpc: method === "POST" && (GrpcFields.get(fields, "content-type") ?? "").startsWith(GrpcFields.contentType),
    encoding: GrpcFields.get(fields, "grpc-encoding") ?? GrpcEncoding.identity,
    timeout: timeout === undefined ? Number.POSITIVE_INFINITY : GrpcTimeout.parse(timeout),
    hasMetadata: GrpcFields.ofRequest(fields).length > 0
  }
  if (!gist.hasMetadata) {
    gists.set(head, gist)
  }
  return gist
}

export const isGrpc = (head: RequestHead): boolean => gistOf(head).isGrpc

interface Single {
  readonly _tag: "Unary"
  readonly route: Route.UnaryRoute
  request: Uint8Array | undefined
}

interface Several {
  readonly _tag: "Stream"
  readonly route: Route.StreamRoute
  readonly inbox: Inbox.Inbox<Uint8Array, Uint8Array, never>
}

/** A call that is being answered. */
interface Call {
  /** Of its stream. */
  readonly id: number
  readonly incoming: IncomingCall.IncomingCall
  readonly messages: QuicReceiving.Inbound
  /** What answers it, and what has come for that. */
  readonly requests: Single | Several
  handler: Fiber.RuntimeFiber<unknown, unknown> | undefined
  deadline: Deadline | undefined
  isOver: boolean
}

const nothing: Body = { onData: constVoid, onEnd: constVoid, onGone: constVoid }

/** Answers the calls of one connection: from the bytes of their streams to the routes' handlers and back. */
export const make = (link: Link, { clock, inFlight, routes }: Server): ((head: RequestHead, id: number) => Body) => {
  const { deadlines, kept, sending, session, settings, writer } = link

  const settle = (call: Call) => {
    call.isOver = true
    deadlines.remove(call.deadline)
    receiving.forget(call)
    QuicReceiving.giveBack(kept, call.messages, call.messages.unread)
    sending.forget(call.id)
    session.quic.watch(call.id, false)
  }

  const interrupt = (call: Call) => {
    settle(call)
    call.handler?.unsafeInterruptAsFork(FiberId.none)
  }

  const fitting = (metadata: Metadata.Metadata) =>
    MetadataLimit.fits(metadata, maxSentMetadata(link)) ? metadata : Metadata.empty

  const checkResponse = (response: IncomingCall.Response) =>
    MetadataLimit.checkResponse(response, maxSentMetadata(link))

  /** Sends what was written as the last of a stream, and wants no more of the request. */
  const sendLast = (id: number) => {
    session.write(id, Varint.take(writer), true)
    session.stop(id, "H3_NO_ERROR")
  }

  const writeHead = (response: IncomingCall.Response) => {
    if (!response.headersSent) {
      response.headersSent = true
      Frames.writeHeaders(writer, GrpcFields.fromEntries(fitting(response.headers).entries), responseHead)
    }
  }

  const writeError = (error: StatusError, response: IncomingCall.Response | undefined) => {
    const isAlone = response === undefined || (!response.headersSent && response.headers.entries.length === 0)
    if (response !== undefined && !isAlone) {
      writeHead(response)
    }
    const trailers = response?.trailers ?? Metadata.empty
    const metadata = MetadataLimit.ofError(trailers, error.metadata, maxSentMetadata(link))
    const fields = StatusFields.fromError(error, metadata)
    const isTaken = sectionSize(fields) <= (session.peerSettings()?.maxFieldSectionSize ?? Number.POSITIVE_INFINITY)
    // The status itself must arrive.
    Frames.writeHeaders(writer, isTaken ? fields : fields.slice(0, 1), isAlone ? responseHead : undefined)
  }

  const sendCause = (call: Call, cause: Cause.Cause<StatusError>) => {
    const error = Option.getOrElse(Cause.failureOption(cause), () =>
      inFlight.isDraining()
        ? new Unavailable({ message: "the peer shut down" })
        : new Cancelled({ message: "the handler was interrupted" })
    )
    settle(call)
    writeError(error, call.incoming.response)
    sendLast(call.id)
  }

  /** Ends a call from this end, whatever its handler is doing. */
  const refuse = (call: Call, error: StatusError) => {
    if (!call.isOver) {
      const isMidMessage = sending.isMidMessage(call.id)
      interrupt(call)
      if (isMidMessage) {
        // The status would have to wait until the peer has read the message, and the message with it.
        return session.cancel(call.id, "H3_REQUEST_CANCELLED")
      }
      writeError(error, call.incoming.response)
      sendLast(call.id)
    }
  }

  const sendOk = (call: Call) => {
    const { response } = call.incoming
    settle(call)
    writeHead(response)
    Frames.writeHeaders(writer, GrpcFields.fromEntries(fitting(response.trailers).entries), okTrailer)
    sendLast(call.id)
  }

  const start = <A>(
    call: Call,
    effect: Effect.Effect<A, StatusError>,
    onExit: (exit: Exit.Exit<A, StatusError>) => void
  ) => {
    const fiber = inFlight.fork(effect, call.requests.route.context, call.incoming, (exit) => {
      call.handler = undefined
      if (!call.isOver) {
        onExit(exit)
      }
    })
    if (fiber.unsafePoll() === null) {
      call.handler = fiber
      session.quic.watch(call.id, true)
    }
  }

  const whereOf = ({ incoming }: Call) => ({ method: incoming.method, peer: link.peer.address })

  const decode = (call: Call, bytes: Uint8Array) =>
    Codec.decode(call.requests.route.method.input, bytes, settings, whereOf(call), link.boundary)

  const encode = (call: Call, message: unknown) =>
    Codec.encode(call.requests.route.method.output, message, settings.maxSendMessageSize, whereOf(call), link.boundary)

  const sendReply = (call: Call, exit: Exit.Exit<unknown, StatusError>) => {
    if (Exit.isFailure(exit)) {
      return sendCause(call, exit.cause)
    }
    if (sending.isFull()) {
      return sending.wait(call.id, () => sendReply(call, exit))
    }
    const { response } = call.incoming
    const bytes = Either.flatMap(checkResponse(response), () => encode(call, exit.value))
    if (Either.isLeft(bytes)) {
      return sendCause(call, Cause.fail(bytes.left))
    }
    writeHead(response)
    if (QuicMessages.isSmall(bytes.right)) {
      QuicMessages.write(writer, bytes.right)
      return sendOk(call)
    }
    // Its deadline stays until all of it has been handed on: the peer need not read it.
    sending.send(call.id, bytes.right, false, () => {
      if (!call.isOver) {
        sendOk(call)
      }
    })
  }

  const answer = (call: Call, { request, route }: Single) => {
    if (request === undefined) {
      return refuse(
        call,
        new Unimplemented({ message: `${call.incoming.method} takes one request message, none came` })
      )
    }
    const decoded = decode(call, request)
    QuicReceiving.giveBack(kept, call.messages, call.messages.unread)
    if (Either.isLeft(decoded)) {
      return refuse(call, decoded.left)
    }
    start(call, route.handle(decoded.right, call.incoming), (exit) => sendReply(call, exit))
  }

  const answerStream = (call: Call, { inbox, route }: Several) => {
    const { id, incoming } = call
    const requests = Stream.mapEffect(inbox.stream, (bytes) => decode(call, bytes))
    const encodeNext = (message: unknown): Either.Either<Uint8Array, StatusError> => {
      const checked = incoming.response.headersSent ? Either.void : checkResponse(incoming.response)
      return Either.isLeft(checked) ? Either.left(checked.left) : encode(call, message)
    }
    const room = Effect.async<void>((resume) => sending.wait(id, () => resume(Effect.void)))
    const send = (message: unknown): Effect.Effect<void, StatusError> =>
      sending.isFull()
        ? Effect.zipRight(
            room,
            Effect.suspend(() => send(message))
          )
        : Effect.flatMap(encodeNext(message), (bytes) =>
            Effect.async<void>((resume) => {
              writeHead(incoming.response)
              sending.send(id, bytes, false, () => Turns.give(() => resume(Effect.void)))
            })
          )
    start(call, Stream.runForEach(route.handle(requests, incoming), send), (exit) => {
      const checked = Exit.isSuccess(exit) ? checkResponse(incoming.response) : Either.void
      if (Exit.isFailure(exit)) {
        return sendCause(call, exit.cause)
      }
      return Either.isLeft(checked) ? sendCause(call, Cause.fail(checked.left)) : sendOk(call)
    })
  }

  const messages: GrpcMessage.Events<Call> = {
    onMessage: (message, call) => {
      const { requests } = call
      if (requests._tag === "Stream") {
        requests.inbox.push(message)
      } else if (requests.request === undefined) {
        requests.request = message
        QuicReceiving.hold(kept, call.messages, message.length)
        if (QuicReceiving.isTooMuch(kept, call.messages, settings.connectionWindow)) {
          refuse(call, QuicReceiving.tooMuch(settings.connectionWindow))
        }
      } else {
        refuse(call, new Unimplemented({ message: `${call.incoming.method} takes one request message, more came` }))
      }
    },
    onBroken: (why, call) =>
      refuse(
        call,
        why === "TooLarge"
          ? new ResourceExhausted({
              message: `the received message has more than the ${settings.maxReceiveMessageSize} bytes allowed`
            })
          : new Internal({ message: GrpcEncoding.compressedRequest })
      )
  }

  const receiving = QuicReceiving.make(link, messages, refuse)

  const onEnd = (call: Call) => {
    if (call.isOver) {
      return
    }
    if (GrpcMessage.isMidMessage(call.messages.decoder)) {
      return refuse(call, new Internal({ message: "the request ended within a message" }))
    }
    return call.requests._tag === "Stream" ? call.requests.inbox.end(Exit.void) : answer(call, call.requests)
  }

  /** Why a call is not begun. */
  const objection = ({ encoding, timeout }: Gist, metadata: Metadata.Metadata): StatusError | undefined => {
    if (encoding !== GrpcEncoding.identity) {
      return StatusFields.unsupportedEncoding(encoding)
    }
    if (!MetadataLimit.fits(metadata, settings.maxMetadataSize)) {
      return MetadataLimit.tooLarge(settings.maxMetadataSize)
    }
    if (timeout === undefined) {
      return new Internal({ message: "the header grpc-timeout is malformed" })
    }
    return timeout === 0 ? new DeadlineExceeded({ message: "the deadline passed" }) : undefined
  }

  const reject = (id: number, error: StatusError): Body => {
    session.useless()
    writeError(error, undefined)
    sendLast(id)
    return nothing
  }

  return (head, id) => {
    const path = head.path ?? ""
    const route = routes.get(path)
    if (route === undefined) {
      return reject(id, new Unimplemented({ message: `unknown method ${path}` }))
    }
    const gist = gistOf(head)
    const metadata = gist.hasMetadata ? Metadata.unsafeFromEntries(GrpcFields.ofRequest(head.fields)) : Metadata.empty
    const objected = objection(gist, metadata)
    if (objected !== undefined) {
      return reject(id, objected)
    }
    const wanted = gist.timeout ?? Number.POSITIVE_INFINITY
    const limit = CallDuration.limitOf(settings.maxCallDuration, route)
    const timeout = Math.min(wanted, limit)
    const incoming = IncomingCall.make(
      {
        method: path,
        peer: link.peer,
        metadata,
        deadline: Time.now(clock) + timeout,
        draining: inFlight.draining,
        boundary: link.boundary,
        endConnection: link.onThrown,
        onDenied: session.useless
      },
      link.connection
    )
    const messages = QuicReceiving.makeInbound(settings.maxReceiveMessageSize)
    const call: Call = {
      id,
      incoming,
      messages,
      requests:
        route._tag === "Unary"
          ? { _tag: "Unary", route, request: undefined }
          : { _tag: "Stream", route, inbox: QuicMessages.makeInbox(link, messages, () => id) },
      handler: undefined,
      deadline: undefined,
      isOver: false
    }
    call.deadline = deadlines.add(timeout, () => {
      if (timeout <= CallDuration.uselessMillis) {
        session.useless()
      }
      refuse(call, CallDuration.exceeded(wanted, limit))
    })
    if (call.requests._tag === "Stream") {
      answerStream(call, call.requests)
    }
    return {
      onData: (chunk) => {
        if (!call.isOver) {
          receiving.receive(call, chunk)
        }
      },
      onEnd: () => onEnd(call),
      onGone: () => {
        if (!call.isOver) {
          interrupt(call)
        }
      }
    }
  }
}
