/**
 * The calls that the peer of a connection makes here, from the first of their bytes to their status: what a call is on the
 * serving side, whatever wire it comes on.
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type { CallDurations } from "../Connections/TransportOptions.js"
import * as Fiber from "../effect/Fiber.js"
import type { CallConnection } from "../Transport/Call.js"
import * as IncomingCall from "../Transport/IncomingCall.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as Time from "../Transport/internal/time.js"
import * as Metadata from "../Transport/Metadata.js"
import type * as Route from "../Transport/Route.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as CallDuration from "./CallDuration.js"
import * as CallErrors from "./CallErrors.js"
import type { Received, ServerWire } from "./CallStream.js"
import * as Codec from "./Codec.js"
import type { Deadline, Deadlines } from "./Deadlines.js"
import type { InFlight } from "./HandlerFibers.js"
import * as Inbox from "./Inbox.js"
import * as MetadataLimit from "./MetadataLimit.js"
import * as Outbox from "./Outbox.js"
import * as Waiting from "./Waiting.js"

/** A route, with the fibers of its handlers where it is drained by itself. Default: those of all routes. */
export type Served = Route.Route & { readonly inFlight?: InFlight | undefined }

/** What the calls of one listener have in common. */
export interface Server {
  readonly routes: ReadonlyMap<string, Served>
  readonly inFlight: InFlight
  readonly clock: Clock.Clock
  readonly boundary: Boundary
}

/** What the calls of one connection have in common. */
export interface ServerConnection {
  readonly connection: CallConnection
  readonly deadlines: Deadlines
  readonly settings: Settings
}

interface Settings {
  readonly maxCallDuration: CallDurations
  readonly maxMessageElements: number
  readonly maxMetadataSize: number
  readonly maxReceiveMessageSize: number
}

/** A call that was accepted. The wire keeps it with its stream, and changes nothing in it. */
export interface ServerStream<S> {
  readonly stream: S
  readonly route: Route.Route
  readonly inFlight: InFlight
  readonly incoming: IncomingCall.IncomingCall
  readonly where: CallErrors.Where
  /** Milliseconds that the caller allows, and that it has. */
  readonly wanted: number
  readonly timeout: number
  /** Where the requests of a call that streams go. */
  inbox: Inbox.Inbox<Received, unknown, StatusError> | undefined
  /** The request of one that does not, and what it costs. */
  request: Uint8Array | undefined
  cost: number
  costOnConnection: number
  handler: Fiber.RuntimeFiber<unknown, unknown> | undefined
  deadline: Deadline | undefined
  /** What answers it when there is room. */
  answer: (() => void) | undefined
  isOver: boolean
}

/**
 * What a wire tells of its streams. What it tells of a call that is over is ignored. Nothing throws but what the wire itself
 * throws, and a handler that is called here at once is guarded.
 */
export interface ServerCalls<S> {
  /**
   * A call for its head, or undefined where that was refused: its status has been sent then. The timeout is in milliseconds,
   * `Infinity` where the caller named none, and `NaN` where what it named is malformed.
   */
  readonly accept: (
    stream: S,
    path: string,
    metadata: Metadata.Metadata,
    timeout: number
  ) => ServerStream<S> | undefined
  /** Refuses a call for its head, for a reason that only the wire knows. */
  readonly reject: (stream: S, error: StatusError) => void
  /** Begins a call, once the wire knows it; with its first message, and with the end of its requests, where they came along. */
  readonly begin: (call: ServerStream<S>, message: Uint8Array | undefined, isLast: boolean) => void
  /** `release` is due with the costs when the message has been read. */
  readonly onMessage: (call: ServerStream<S>, bytes: Uint8Array, cost: number, costOnConnection: number) => void
  /** There are no more requests. */
  readonly onHalfClose: (call: ServerStream<S>) => void
  /** The caller has given the call up, or is gone. */
  readonly onReset: (call: ServerStream<S>) => void
  /** Ends a call from this side, whatever its handler does: as for a message that can't be taken. */
  readonly fail: (call: ServerStream<S>, error: StatusError) => void
  /** There may be room for what waits because too much was unsent. */
  readonly onRoom: () => void
}

export const make = <S>(
  wire: ServerWire<S>,
  { boundary, clock, inFlight: shared, routes }: Server,
  { connection, deadlines, settings }: ServerConnection
): ServerCalls<S> => {
  const { peer } = connection
  const waiting = Waiting.make(wire.isFull)
  const outbox: Outbox.Outbox = { isFull: wire.isFull, waiting, flush: wire.flush, onThrown: wire.onThrown }

  /** The last that is done for a call, when its status is sent or nobody wants it any more. */
  const settle = (call: ServerStream<S>) => {
    if (!call.isOver) {
      call.isOver = true
      deadlines.remove(call.deadline)
      waiting.remove(call.answer)
      wire.ended(call.stream)
    }
  }

  const interrupt = ({ handler }: ServerStream<S>) => Fiber.interruptUnsafe(handler)

  const trailersOf = (error: StatusError, trailers: Metadata.Metadata) =>
    MetadataLimit.ofError(trailers, error.metadata, wire.maxMetadataSize(error))

  const reject = (stream: S, error: StatusError) => {
    wire.useless()
    wire.finish(stream, error, trailersOf(error, Metadata.empty))
    wire.flush()
    return undefined
  }

  const fail = (call: ServerStream<S>, error: StatusError) => {
    if (!call.isOver) {
      wire.abort(call.stream, error, trailersOf(error, Metadata.empty))
      settle(call)
      wire.flush()
      interrupt(call)
    }
  }

  const fitting = (metadata: Metadata.Metadata) =>
    MetadataLimit.fits(metadata, wire.maxMetadataSize()) ? metadata : Metadata.empty

  const checkResponse = (response: IncomingCall.Response) =>
    MetadataLimit.checkResponse(response, wire.maxMetadataSize())

  const sendHeaders = ({ incoming: { response }, stream }: ServerStream<S>) => {
    if (!response.headersSent) {
      response.headersSent = true
      wire.headers(stream, fitting(response.headers))
    }
  }

  const finish = (call: ServerStream<S>, error: StatusError | undefined, trailers: Metadata.Metadata) => {
    wire.finish(call.stream, error, trailers)
    settle(call)
    wire.flush()
  }

  const finishError = (call: ServerStream<S>, error: StatusError) => {
    const { response } = call.incoming
    // Without headers the status goes alone.
    if (fitting(response.headers).entries.length > 0) {
      sendHeaders(call)
    }
    finish(call, error, trailersOf(error, response.trailers))
  }

  const finishCause = (call: ServerStream<S>, cause: Cause.Cause<StatusError>) =>
    finishError(
      call,
      Option.getOrElse(Cause.failureOption(cause), () =>
        call.inFlight.isDraining() ? CallErrors.shutDown() : CallErrors.interrupted()
      )
    )

  const finishOk = (call: ServerStream<S>) => {
    sendHeaders(call)
    // A fiber that the handler left behind may have set more since it was checked.
    finish(call, undefined, fitting(call.incoming.response.trailers))
  }

  const encode = ({ route, where }: ServerStream<S>, message: unknown) =>
    Codec.encode(route.method.output, message, wire.maxMessageSize(), where, boundary)

  const decode = ({ route, where }: ServerStream<S>, bytes: Uint8Array) =>
    Codec.decode(route.method.input, bytes, settings, where, boundary)

  const sendReply = (call: ServerStream<S>, message: unknown) => {
    const { response } = call.incoming
    const bytes = Either.flatMap(checkResponse(response), () => encode(call, message))
    if (Either.isLeft(bytes)) {
      return finishError(call, bytes.left)
    }
    if (wire.reply(call.stream, bytes.right, response.headers, response.trailers)) {
      response.headersSent = true
      settle(call)
    } else {
      sendHeaders(call)
      // Its deadline stays until all of it is sent: the caller need not read it.
      wire.message(call.stream, bytes.right, () => {
        if (!call.isOver) {
          finishOk(call)
        }
      })
    }
    wire.flush()
  }

  const onUnaryExit = (call: ServerStream<S>, exit: Exit.Exit<unknown, StatusError>) => {
    if (Exit.isFailure(exit)) {
      return finishCause(call, exit.cause)
    }
    if (wire.isFull()) {
      call.answer = () => sendReply(call, exit.value)
      waiting.add(call.answer)
    } else {
      sendReply(call, exit.value)
    }
  }

  const startUnary = (call: ServerStream<S>, route: Route.UnaryRoute, request: unknown) => {
    const fiber = call.inFlight.fork(route.handle(request, call.incoming), route.context, call.incoming, (exit) => {
      call.handler = undefined
      if (!call.isOver) {
        onUnaryExit(call, exit)
      }
    })
    // Most handlers have ended by now. To interrupt one that has would wake it up for nothing.
    if (Fiber.pollUnsafe(fiber) === undefined) {
      call.handler = fiber
    }
  }

  const makeInbox = (call: ServerStream<S>) =>
    Inbox.make<Received, unknown, StatusError>({
      decode: ({ bytes }) => decode(call, bytes),
      schedule: wire.schedule,
      onWaiting: () => wire.onWaiting?.(call.stream),
      onTaken: (taken) => {
        let cost = 0
        let costOnConnection = 0
        for (const received of taken) {
          cost += received.cost
          costOnConnection += received.costOnConnection
        }
        if (!call.isOver) {
          wire.release(call.stream, cost, costOnConnection)
          wire.flush()
        }
      }
    })

  const encodeNext = (call: ServerStream<S>, message: unknown): Either.Either<Uint8Array, StatusError> => {
    const { response } = call.incoming
    const checked = response.headersSent ? Either.void : checkResponse(response)
    return Either.isLeft(checked) ? Either.left(checked.left) : encode(call, message)
  }

  const sendNext = (call: ServerStream<S>, bytes: Uint8Array, sent: () => void) => {
    if (!call.isOver) {
      sendHeaders(call)
      wire.message(call.stream, bytes, sent)
    }
  }

  const onStreamExit = (call: ServerStream<S>, exit: Exit.Exit<void, StatusError>) => {
    if (Exit.isFailure(exit)) {
      return finishCause(call, exit.cause)
    }
    const checked = checkResponse(call.incoming.response)
    return Either.isLeft(checked) ? finishError(call, checked.left) : finishOk(call)
  }

  const startStream = (call: ServerStream<S>, route: Route.StreamRoute) => {
    const inbox = makeInbox(call)
    call.inbox = inbox
    const answers = Outbox.sendAll(
      outbox,
      route.handle(inbox.stream, call.incoming),
      (message) => encodeNext(call, message),
      (bytes, sent) => sendNext(call, bytes, sent)
    )
    const fiber = call.inFlight.fork(answers, route.context, call.incoming, (exit) => {
      call.handler = undefined
      if (!call.isOver) {
        onStreamExit(call, exit)
      }
    })
    if (Fiber.pollUnsafe(fiber) === undefined) {
      call.handler = fiber
    }
  }

  const onMessage = (call: ServerStream<S>, bytes: Uint8Array, cost: number, costOnConnection: number) => {
    if (call.isOver) {
      return
    }
    if (call.inbox !== undefined) {
      call.inbox.push({ bytes, cost, costOnConnection })
    } else if (call.request !== undefined) {
      fail(call, CallErrors.moreRequests(call.where.method))
    } else {
      call.request = bytes
      call.cost = cost
      call.costOnConnection = costOnConnection
    }
  }

  const onHalfClose = (call: ServerStream<S>) => {
    const { inbox, request, route } = call
    if (call.isOver) {
      return
    }
    if (inbox !== undefined) {
      return inbox.end(Exit.void)
    }
    if (request === undefined || route._tag === "Stream") {
      return fail(call, CallErrors.noRequest(call.where.method))
    }
    call.request = undefined
    const decoded = decode(call, request)
    if (call.cost > 0) {
      wire.release(call.stream, call.cost, call.costOnConnection)
    }
    if (Either.isLeft(decoded)) {
      return fail(call, decoded.left)
    }
    startUnary(call, route, decoded.right)
  }

  const onDeadline = (call: ServerStream<S>) => {
    if (call.timeout <= CallDuration.uselessMillis) {
      wire.useless()
    }
    fail(call, CallDuration.exceeded(call.wanted, CallDuration.limitOf(settings.maxCallDuration, call.route)))
  }

  return {
    accept: (stream, path, metadata, wanted) => {
      const route = routes.get(path)
      if (route === undefined) {
        return reject(stream, CallErrors.unknownMethod(path))
      }
      if (!MetadataLimit.fits(metadata, settings.maxMetadataSize)) {
        return reject(stream, MetadataLimit.tooLarge(settings.maxMetadataSize))
      }
      if (Number.isNaN(wanted)) {
        return reject(stream, CallErrors.malformedTimeout())
      }
      if (wanted <= 0) {
        return reject(stream, CallErrors.deadlinePassed())
      }
      const timeout = Math.min(wanted, CallDuration.limitOf(settings.maxCallDuration, route))
      const inFlight = route.inFlight ?? shared
      const incoming = IncomingCall.make(
        {
          method: path,
          peer,
          metadata,
          deadline: Time.now(clock) + timeout,
          draining: inFlight.draining,
          boundary,
          endConnection: wire.onThrown,
          onDenied: wire.useless
        },
        connection
      )
      return {
        stream,
        route,
        inFlight,
        incoming,
        where: { method: path, peer: peer.address },
        wanted,
        timeout,
        inbox: undefined,
        request: undefined,
        cost: 0,
        costOnConnection: 0,
        handler: undefined,
        deadline: undefined,
        answer: undefined,
        isOver: false
      }
    },
    reject,
    begin: (call, message, isLast) => {
      if (call.route._tag === "Stream") {
        startStream(call, call.route)
      }
      if (message !== undefined) {
        onMessage(call, message, 0, 0)
      }
      if (isLast) {
        onHalfClose(call)
      }
      if (!call.isOver) {
        call.deadline = deadlines.add(call.timeout, () => onDeadline(call))
      }
    },
    onMessage,
    onHalfClose,
    onReset: (call) => {
      if (!call.isOver) {
        settle(call)
        interrupt(call)
      }
    },
    fail,
    onRoom: waiting.onRoom
  }
}
