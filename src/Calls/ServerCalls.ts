/**
 * The calls that the peer of a connection makes here, from the first of their bytes to their status: what a call is on the
 * serving side, whatever wire it comes on.
 */
import type * as Clock from "effect/Clock"
import type * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import type { CallDurations } from "../Connections/TransportOptions.js"
import * as Fiber from "../effect/Fiber.js"
import type { CallConnection } from "../Transport/Call.js"
import * as IncomingCall from "../Transport/IncomingCall.js"
import type { Visit, Waiting } from "../Transport/internal/admissionGate.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Time from "../Transport/internal/time.js"
import type * as Metadata from "../Transport/Metadata.js"
import type * as Route from "../Transport/Route.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as Admitted from "./Admitted.js"
import * as CallDuration from "./CallDuration.js"
import * as CallErrors from "./CallErrors.js"
import type { Received, ServerStream, ServerWire } from "./CallStream.js"
import * as Codec from "./Codec.js"
import type { Deadlines } from "./Deadlines.js"
import type { InFlight } from "./HandlerFibers.js"
import * as Inbox from "./Inbox.js"
import * as MetadataLimit from "./MetadataLimit.js"
import * as ServerResponse from "./ServerResponse.js"

export type { ServerStream }

/** A route, with the fibers of its handlers where it is drained by itself. Default: those of all routes. */
export type Served = Route.Route & { readonly inFlight?: InFlight | undefined }

/** What the calls of one listener have in common. */
export interface Server {
  readonly routes: ReadonlyMap<string, Served>
  readonly inFlight: InFlight
  readonly clock: Clock.Clock
  readonly boundary: Boundary
  /** The connection's place in the admission of its listener. Default: everything is let in. */
  readonly visit?: Visit | undefined
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
  /** Whether calls are measured. Default true. */
  readonly metrics?: boolean | undefined
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
  { boundary, clock, inFlight: shared, routes, visit }: Server,
  { connection, deadlines, settings }: ServerConnection
): ServerCalls<S> => {
  const { peer } = connection
  const now = () => Time.now(clock)
  const system = wire.system ?? CallMetrics.ownSystem
  const methods = CallMetrics.server(settings.metrics ?? true, system)
  const response = ServerResponse.make(wire, deadlines, boundary, now)
  const { fail } = response

  /** Refuses a call of a path that is served, or of one that no contract has. */
  const refuse = (stream: S, path: string, error: StatusError) => {
    visit?.spend("refusal")
    CallMetrics.refused(methods, error, path)
    return response.reject(stream, error)
  }

  const onDenied =
    visit === undefined
      ? wire.useless
      : () => {
          visit.spend("denial")
          wire.useless()
        }

  const reject = (stream: S, error: StatusError) => refuse(stream, CallMetrics.unknown, error)

  const decode = ({ route, where }: ServerStream<S>, bytes: Uint8Array) =>
    Codec.decode(route.method.input, bytes, settings, where, boundary)

  /** Runs the handler of a call up to where it first waits. */
  const run = <A>(
    call: ServerStream<S>,
    handler: Effect.Effect<A, StatusError>,
    onExit: (call: ServerStream<S>, exit: Exit.Exit<A, StatusError>) => void
  ) => {
    const fiber = call.inFlight.fork(handler, call.route.context, call.incoming, (exit) => {
      call.handler = undefined
      if (call.isOver) {
        Admitted.leave(call)
      } else {
        onExit(call, exit)
      }
    })
    // Most handlers have ended by now. To interrupt one that has would wake it up for nothing.
    if (Fiber.pollUnsafe(fiber) === undefined) {
      call.handler = fiber
      if (call.isOver) {
        // It ended before there was a handler to interrupt: its connection did, for what the handler has begun with.
        Fiber.interruptUnsafe(fiber)
      }
    }
  }

  const release = (call: ServerStream<S>, cost: number, costOnConnection: number) => {
    if (!call.isOver) {
      wire.release(call.stream, cost, costOnConnection)
      wire.flush()
    }
  }

  const makeInbox = (call: ServerStream<S>) =>
    Inbox.make<Received, unknown, StatusError>({
      decode: ({ bytes }) => decode(call, bytes),
      schedule: wire.schedule,
      onWaiting: () => wire.onWaiting?.(call.stream),
      onTaken: Inbox.releasing((cost, costOnConnection) => {
        const delay = call.pass?.receiveDelay() ?? 0
        if (delay > 0) {
          deadlines.add(delay, () => release(call, cost, costOnConnection))
        } else {
          release(call, cost, costOnConnection)
        }
      })
    })

  const runStream = (call: ServerStream<S>, route: Route.StreamRoute, inbox: NonNullable<ServerStream<S>["inbox"]>) => {
    const sending = response.sendAll(call, route.handle(inbox.stream, call.incoming))
    run(call, route.around?.(sending, call.incoming) ?? sending, response.onStreamExit)
  }

  /** Counts a message before anything is done for it. Returns whether the call may go on. */
  const admits = (call: ServerStream<S>, bytes: number): boolean => {
    const error = Admitted.received(call, bytes)
    if (error !== undefined) {
      fail(call, error)
    }
    return error === undefined
  }

  const onMessage = (call: ServerStream<S>, bytes: Uint8Array, cost: number, costOnConnection: number) => {
    if (call.isOver) {
      return
    }
    CallMetrics.received(call.metrics, bytes.length)
    if (call.inbox === undefined && call.request !== undefined) {
      return fail(call, CallErrors.moreRequests(call.where.method))
    }
    if (call.pass !== undefined && !admits(call, bytes.length)) {
      return
    }
    if (call.inbox !== undefined) {
      call.inbox.push({ bytes, cost, costOnConnection })
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
    if (call.wait !== undefined) {
      call.isComplete = true
      return
    }
    call.request = undefined
    const decoded = decode(call, request)
    if (call.cost > 0) {
      wire.release(call.stream, call.cost, call.costOnConnection)
    }
    if (Either.isLeft(decoded)) {
      return fail(call, decoded.left)
    }
    run(call, route.handle(decoded.right, call.incoming), response.onUnaryExit)
  }

  const onDeadline = (call: ServerStream<S>) => {
    if (call.timeout <= CallDuration.uselessMillis) {
      wire.useless()
    }
    fail(call, CallDuration.exceeded(call.wanted, CallDuration.limitOf(settings.maxCallDuration, call.route)))
  }

  /** The turn of a call that waited has come. */
  const start = (call: ServerStream<S>) => {
    deadlines.remove(call.wait)
    call.wait = undefined
    if (call.isOver) {
      return
    }
    if (now() >= call.incoming.deadline) {
      return onDeadline(call)
    }
    if (call.route._tag === "Stream" && call.inbox !== undefined) {
      runStream(call, call.route, call.inbox)
    } else if (call.isComplete) {
      onHalfClose(call)
    }
  }

  const wait = (call: ServerStream<S>, waiting: Waiting) => {
    call.wait = deadlines.add(waiting.maxWait, () => fail(call, waiting.overdue()))
    waiting.onRefused = (error) => fail(call, error)
    waiting.onTurn = () => boundary.guard("engine", peer.address, () => start(call), wire.onThrown)
  }

  return {
    accept: (stream, path, metadata, wanted) => {
      const route = routes.get(path)
      if (route === undefined) {
        return reject(stream, CallErrors.unknownMethod(path))
      }
      if (!MetadataLimit.fits(metadata, settings.maxMetadataSize)) {
        return refuse(stream, path, MetadataLimit.tooLarge(settings.maxMetadataSize))
      }
      if (Number.isNaN(wanted)) {
        return refuse(stream, path, CallErrors.malformedTimeout())
      }
      if (wanted <= 0) {
        return refuse(stream, path, CallErrors.deadlinePassed())
      }
      const timeout = Math.min(wanted, CallDuration.limitOf(settings.maxCallDuration, route))
      const inFlight = route.inFlight ?? shared
      const began = now()
      const pass = visit?.enter(path, metadata, began, began + timeout, route._tag === "Stream")
      if (pass !== undefined && pass._tag !== "Pass") {
        CallMetrics.refused(methods, pass, path)
        return response.turnAway(stream, pass)
      }
      const incoming = IncomingCall.make(
        {
          method: path,
          peer,
          metadata,
          deadline: began + timeout,
          began,
          system,
          draining: inFlight.draining,
          boundary,
          endConnection: wire.onThrown,
          onDenied
        },
        connection
      )
      return {
        stream,
        route,
        inFlight,
        incoming,
        where: { method: path, peer: peer.address },
        metrics: methods?.(path),
        wanted,
        timeout,
        inbox: undefined,
        request: undefined,
        cost: 0,
        costOnConnection: 0,
        handler: undefined,
        deadline: undefined,
        answer: undefined,
        isOver: false,
        pass,
        held: 0,
        wait: undefined,
        isComplete: false
      }
    },
    reject,
    begin: (call, message, isLast) => {
      const waiting = call.pass?.waiting
      if (waiting !== undefined) {
        wait(call, waiting)
      }
      if (call.route._tag === "Stream") {
        call.inbox = makeInbox(call)
        if (waiting === undefined) {
          runStream(call, call.route, call.inbox)
        }
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
        visit?.spend("cancel")
        response.abandon(call)
      }
    },
    fail,
    onRoom: response.onRoom
  }
}
