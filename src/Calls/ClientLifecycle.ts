/** How a call of this end begins, once there is a permit for its stream, and how it ends: once, whoever ends it. */
import { constVoid } from "effect/Function"
import type { OutgoingCall } from "../Transport/Connection.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Metadata from "../Transport/Metadata.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { ClientCall, ClientWire } from "./CallStream.js"
import type { Deadlines } from "./Deadlines.js"
import type { StreamQuota } from "./StreamQuota.js"

/** One for each connection: what it does to a call changes nothing but that call's record. */
export interface ClientLifecycle<S> {
  /** Opens the stream of a call as soon as the peer takes one more, and calls back; ends the call where that fails. */
  readonly open: (call: ClientCall<S>, onOpen: () => void) => void
  /** Ends a call that the peer has ended, or the connection. No error means OK. */
  readonly end: (call: ClientCall<S>, error: StatusError | undefined) => void
  /** Ends a call that the peer has not ended, unless it is over. */
  readonly cancel: (call: ClientCall<S>, error: StatusError | undefined) => void
  /** Ends a call whose deadline has passed, so many milliseconds after it began. */
  readonly timeOut: (call: ClientCall<S>, timeout: number) => void
  /** Ends a call that nobody waits for any more, without telling of its end. */
  readonly abandon: (call: ClientCall<S>) => void
}

export interface Options<S> {
  readonly wire: ClientWire<S>
  /** The target or address of the other end, for errors. */
  readonly peer: string
  readonly quota: StreamQuota
  readonly deadlines: Deadlines
  readonly progress: {
    /** Something of an answer has come. */
    readonly answered: () => void
    /** A call has ended by its deadline, so many milliseconds after it began. */
    readonly timedOut: (timeout: number) => void
  }
  readonly boundary: Boundary
}

/** The options of a call that is over. */
const settled: OutgoingCall = {
  metadata: Metadata.empty,
  timeout: 0,
  waitForReady: false,
  onHeaders: undefined,
  onTrailers: undefined
}

export const make = <S>({ boundary, deadlines, peer, progress, quota, wire }: Options<S>): ClientLifecycle<S> => {
  /** Ends a call, once. The record is emptied: what may live longer than the call, in V8's old heap, holds nothing of it. */
  const end = (call: ClientCall<S>, error: StatusError | undefined) => {
    const { cost, costOnConnection, onEnd, reply, stream } = call
    call.isOver = true
    call.status ??= error === undefined ? 0 : CallMetrics.codeOf(error)
    deadlines.remove(call.deadline)
    call.deadline = undefined
    call.options = settled
    call.request = undefined
    call.reply = undefined
    call.onEnd = constVoid
    call.leave = constVoid
    if (call.isUnary) {
      call.stream = undefined
    }
    if (stream !== undefined) {
      wire.ended(stream)
      if (cost > 0) {
        wire.release(stream, cost, costOnConnection)
        wire.flush()
      }
    }
    onEnd(error, reply)
    quota.advance()
  }

  const cancel = (call: ClientCall<S>, error: StatusError | undefined) => {
    if (!call.isOver) {
      if (call.stream !== undefined) {
        wire.cancel(call.stream)
        wire.flush()
      }
      end(call, error)
    }
  }

  const timeOut = (call: ClientCall<S>, timeout: number) => {
    if (!call.isOver && call.stream !== undefined) {
      progress.timedOut(timeout)
      wire.onTimeout(call.stream, timeout)
      cancel(call, CallErrors.deadlinePassed(call.where))
    }
  }

  const abandon = (call: ClientCall<S>) => {
    call.leave()
    call.onEnd = constVoid
    call.status ??= CallMetrics.cancelled
    cancel(call, undefined)
  }

  const start = (call: ClientCall<S>, timeout: number) => {
    const { request } = call
    const stream = wire.open(call, timeout, request)
    if (request !== undefined) {
      CallMetrics.sent(call.metrics, request.length)
    }
    call.stream = stream
    call.request = undefined
    call.leave = constVoid
    call.deadline = deadlines.add(timeout, () => timeOut(call, timeout))
    wire.flush()
  }

  const open = (call: ClientCall<S>, onOpen: () => void) => {
    const { timeout } = call.options
    if (quota.isFree()) {
      // Most calls: no closures are made for them.
      try {
        start(call, timeout)
      } catch (cause) {
        boundary.caught("engine", peer, cause)
        return end(call, CallErrors.notSent(cause, call.where))
      }
      return onOpen()
    }
    const waited = () => CallMetrics.waited(call.metrics, deadlines.now() - call.began)
    const onPermit = (left: number) => {
      waited()
      start(call, left)
      onOpen()
    }
    const leave = quota.acquire(call.where, timeout, onPermit, (error) => {
      waited()
      end(call, error)
    })
    if (call.stream === undefined && !call.isOver) {
      call.leave = leave
    }
  }

  return { open, end, cancel, timeOut, abandon }
}
