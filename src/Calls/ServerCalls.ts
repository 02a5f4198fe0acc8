/**
 * The calls that the peer of a connection makes here, from the first of their bytes to their status: what a call is on the
 * serving side, whatever wire it comes on.
 */
import type * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "../effect/Fiber.js"
import type { Waiting } from "../Transport/internal/admissionGate.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Time from "../Transport/internal/time.js"
import type * as Route from "../Transport/Route.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as Admitted from "./Admitted.js"
import * as CallDuration from "./CallDuration.js"
import * as CallErrors from "./CallErrors.js"
import type { Received, ServerStream, ServerWire } from "./CallStream.js"
import * as Codec from "./Codec.js"
import * as Inbox from "./Inbox.js"
import type { Server, ServerConnection } from "./ServerAcceptance.js"
import * as ServerAcceptance from "./ServerAcceptance.js"
import * as ServerResponse from "./ServerResponse.js"

export type { Served, Server, ServerConnection } from "./ServerAcceptance.js"
export type { ServerStream }

/**
 * What a wire tells of its streams. What it tells of a call that is over is ignored. Nothing throws but what the wire itself
 * throws, and a handler that is called here at once is guarded.
 */
export interface ServerCalls<S> extends ServerAcceptance.Acceptance<S> {
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

export const make = <S>(wire: ServerWire<S>, server: Server, serverConnection: ServerConnection): ServerCalls<S> => {
  const { boundary, clock, visit } = server
  const { connection, deadlines, settings } = serverConnection
  const { peer } = connection
  const now = () => Time.now(clock)
  const response = ServerResponse.make(wire, deadlines, boundary, now)
  const acceptance = ServerAcceptance.make(wire, server, serverConnection, response)
  const { fail } = response

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
    accept: acceptance.accept,
    reject: acceptance.reject,
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
