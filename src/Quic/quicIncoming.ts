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
import * as GrpcFields from "../Grpc/GrpcFields.js"
import * as GrpcMessage from "../Grpc/GrpcMessage.js"
import * as GrpcTimeout from "../Grpc/GrpcTimeout.js"
import * as Codec from "../Transport/internal/codec.js"
import type { Deadline } from "../Transport/internal/deadlines.js"
import * as IncomingCall from "../Transport/internal/incomingCall.js"
import type * as InFlight from "../Transport/internal/inFlight.js"
import type * as Route from "../Transport/internal/route.js"
import * as Turns from "../Transport/internal/turns.js"
import * as Metadata from "../Transport/Metadata.js"
import {
  Cancelled,
  DeadlineExceeded,
  Internal,
  ResourceExhausted,
  type StatusError,
  Unavailable,
  Unimplemented
} from "../Transport/TransportError.js"
import type { RequestHead } from "./Http3Fields.js"
import * as Frames from "./Http3Frames.js"
import type { Http3Stream } from "./http3Session.js"
import * as Qpack from "./Qpack.js"
import type { Link } from "./quicLink.js"
import * as QuicMessages from "./quicMessages.js"
import * as Varint from "./Varint.js"

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

/** What does not fit beside the status is left out: the status itself must arrive. */
const maxDetails = 16 * 1024

/** What gRPC reads in the head of a request. */
interface Gist {
  readonly isGrpc: boolean
  readonly encoding: string
  /** Milliseconds; none where it is malformed. */
  readonly timeout: Option.Option<number>
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
    encoding: GrpcFields.get(fields, "grpc-encoding") ?? "identity",
    timeout: timeout === undefined ? Option.some(Number.POSITIVE_INFINITY) : GrpcTimeout.parse(timeout),
    hasMetadata: GrpcFields.toMetadata(fields).entries.length > 0
  }
  if (!gist.hasMetadata) {
    gists.set(head, gist)
  }
  return gist
}

export const isGrpc = (head: RequestHead): boolean => gistOf(head).isGrpc

/** Answers one call: from the bytes of its stream to the route's handler and back. */
export const serve = (
  link: Link,
  { clock, inFlight, routes }: Server,
  head: RequestHead,
  stream: Http3Stream
): Body => {
  const { deadlines, session, settings, writer } = link
  const path = head.path ?? ""
  const where = { method: path, peer: link.peer.address }
  let handler: Fiber.RuntimeFiber<unknown, unknown> | undefined
  let deadline: Deadline | undefined
  let isOver = false

  const settle = () => {
    isOver = true
    if (deadline !== undefined) {
      deadlines.remove(deadline)
    }
    session.quic.watch(stream.id, false)
  }

  const interrupt = () => {
    settle()
    handler?.unsafeInterruptAsFork(FiberId.none)
  }

  const fits = (metadata: Metadata.Metadata) => metadata.entries.length === 0 || Metadata.byteSize(metadata) <= most()
  const most = () =>
    Math.min(settings.maxMetadataSize, (session.peerSettings()?.maxFieldSectionSize ?? Number.POSITIVE_INFINITY) - 1024)

  const checkResponse = ({ headers, trailers }: IncomingCall.Response): Either.Either<void, ResourceExhausted> =>
    fits(headers) && fits(trailers)
      ? Either.void
      : Either.left(new ResourceExhausted({ message: "the response metadata is larger than the caller takes" }))

  /** Sends what was written as the last of this stream, and wants no more of the request. */
  const finish = () => {
    settle()
    stream.write(Varint.take(writer), true)
    stream.stop("H3_NO_ERROR")
  }

  const writeHead = (response: IncomingCall.Response) => {
    if (!response.headersSent) {
      response.headersSent = true
      Frames.writeHeaders(writer, fits(response.headers) ? GrpcFields.fromMetadata(response.headers) : [], responseHead)
    }
  }

  const sendError = (error: StatusError, response: IncomingCall.Response | undefined) => {
    const isAlone = response === undefined || (!response.headersSent && response.headers.entries.length === 0)
    if (response !== undefined && !isAlone) {
      writeHead(response)
    }
    const trailers = response?.trailers ?? Metadata.empty
    const fields = GrpcFields.fromError(
      error,
      fits(trailers) ? trailers : Metadata.empty,
      fits(error.metadata) ? error.metadata : Metadata.empty,
      maxDetails
    )
    Frames.writeHeaders(writer, fields, isAlone ? responseHead : undefined)
    finish()
  }

  const sendCause = (cause: Cause.Cause<StatusError>, response: IncomingCall.Response) =>
    sendError(
      Option.getOrElse(Cause.failureOption(cause), () =>
        inFlight.isDraining()
          ? new Unavailable({ message: "the peer shut down" })
          : new Cancelled({ message: "the handler was interrupted" })
      ),
      response
    )

  /** Ends a call from this end, whatever its handler is doing. */
  const refuse = (error: StatusError) => {
    if (!isOver) {
      interrupt()
      sendError(error, incoming?.response)
    }
  }

  const sendOk = (response: IncomingCall.Response) => {
    writeHead(response)
    Frames.writeHeaders(writer, GrpcFields.fromMetadata(response.trailers), okTrailer)
    finish()
  }

  const start = <A>(
    effect: Effect.Effect<A, StatusError>,
    route: Route.Route,
    incoming: IncomingCall.IncomingCall,
    onExit: (exit: Exit.Exit<A, StatusError>) => void
  ) => {
    const fiber = inFlight.fork(effect, route.context, incoming, (exit) => {
      handler = undefined
      if (!isOver) {
        onExit(exit)
      }
    })
    if (fiber.unsafePoll() === null) {
      handler = fiber
      session.quic.watch(stream.id, true)
    }
  }

  const unary = (route: Route.UnaryRoute, incoming: IncomingCall.IncomingCall) => {
    let request: Uint8Array | undefined
    return {
      push: (message: Uint8Array) => {
        if (request !== undefined) {
          return refuse(new Unimplemented({ message: `${path} takes one request message, more came` }))
        }
        request = message
      },
      halfClose: () => {
        if (request === undefined) {
          return refuse(new Unimplemented({ message: `${path} takes one request message, none came` }))
        }
        const decoded = Codec.decode(route.method.input, request, settings.maxReceiveMessageSize, where)
        if (Either.isLeft(decoded)) {
          return refuse(decoded.left)
        }
        start(route.handle(decoded.right, incoming), route, incoming, (exit) => {
          if (Exit.isFailure(exit)) {
            return sendCause(exit.cause, incoming.response)
          }
          const bytes = Either.flatMap(checkResponse(incoming.response), () =>
            Codec.encode(route.method.output, exit.value, settings.maxSendMessageSize, where)
          )
          if (Either.isLeft(bytes)) {
            return sendCause(Cause.fail(bytes.left), incoming.response)
          }
          writeHead(incoming.response)
          const rest = QuicMessages.write(writer, bytes.right)
          if (rest !== undefined) {
            stream.write(Varint.take(writer), false)
            stream.write(rest, false)
          }
          sendOk(incoming.response)
        })
      }
    }
  }

  const streaming = (route: Route.StreamRoute, incoming: IncomingCall.IncomingCall) => {
    const inbox = QuicMessages.makeInbox<never>(() => stream)
    const requests = Stream.mapEffect(inbox.stream, (bytes) =>
      Codec.decode(route.method.input, bytes, settings.maxReceiveMessageSize, where)
    )
    const send = (message: unknown) =>
      Effect.flatMap(Codec.encode(route.method.output, message, settings.maxSendMessageSize, where), (bytes) =>
        Effect.async<void>((resume) => {
          writeHead(incoming.response)
          const sent = () => Turns.give(() => resume(Effect.void))
          const rest = QuicMessages.write(writer, bytes)
          stream.write(Varint.take(writer), false, rest === undefined ? sent : undefined)
          if (rest !== undefined) {
            stream.write(rest, false, sent)
          }
        })
      )
    start(Stream.runForEach(route.handle(requests, incoming), send), route, incoming, (exit) => {
      const checked = Exit.isSuccess(exit) ? checkResponse(incoming.response) : Either.void
      if (Exit.isFailure(exit)) {
        return sendCause(exit.cause, incoming.response)
      }
      return Either.isLeft(checked) ? sendCause(Cause.fail(checked.left), incoming.response) : sendOk(incoming.response)
    })
    return { push: inbox.push, halfClose: () => inbox.end(Exit.void) }
  }

  const accept = (): IncomingCall.IncomingCall | undefined => {
    const { encoding, hasMetadata, timeout } = gistOf(head)
    if (encoding !== "identity") {
      refuse(new Unimplemented({ message: `the messages are compressed with ${encoding}, which this peer can't read` }))
      return undefined
    }
    const metadata = hasMetadata ? GrpcFields.toMetadata(head.fields) : Metadata.empty
    const size = Metadata.byteSize(metadata)
    if (size > settings.maxMetadataSize) {
      refuse(
        new ResourceExhausted({
          message: `metadata has ${size} bytes, more than the ${settings.maxMetadataSize} allowed`
        })
      )
      return undefined
    }
    if (Option.isNone(timeout)) {
      refuse(new Internal({ message: "the header grpc-timeout is malformed" }))
      return undefined
    }
    const pass = () => refuse(new DeadlineExceeded({ message: "the deadline passed" }))
    if (timeout.value === 0) {
      pass()
      return undefined
    }
    deadline = deadlines.add(timeout.value, pass)
    return IncomingCall.make(
      {
        method: path,
        peer: link.peer,
        metadata,
        deadline: clock.unsafeCurrentTimeMillis() + timeout.value,
        draining: inFlight.draining
      },
      link.connection
    )
  }

  const route = routes.get(path)
  let incoming: IncomingCall.IncomingCall | undefined
  const nothing: Body = { onData: constVoid, onEnd: constVoid, onGone: constVoid }
  if (route === undefined) {
    refuse(new Unimplemented({ message: `unknown method ${path}` }))
    return nothing
  }
  incoming = accept()
  if (incoming === undefined) {
    return nothing
  }
  const call = route._tag === "Unary" ? unary(route, incoming) : streaming(route, incoming)
  const messages = GrpcMessage.makeDecoder(settings.maxReceiveMessageSize, {
    onMessage: call.push,
    onBroken: (why) =>
      refuse(
        why === "TooLarge"
          ? new ResourceExhausted({
              message: `the received message has more than the ${settings.maxReceiveMessageSize} bytes allowed`
            })
          : new Internal({ message: "a message is compressed, and no grpc-encoding says how" })
      )
  })
  return {
    onData: (chunk) => {
      if (!isOver) {
        GrpcMessage.receive(messages, chunk)
      }
    },
    onEnd: () => {
      if (isOver) {
        return
      }
      if (GrpcMessage.isMidMessage(messages)) {
        return refuse(new Internal({ message: "the request ended within a message" }))
      }
      call.halfClose()
    },
    onGone: () => {
      if (!isOver) {
        interrupt()
      }
    }
  }
}
