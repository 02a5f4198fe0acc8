/** The stream quota of a connection: calls wait for a permit, in the order they came, until the peer takes one more. */
import { constVoid } from "effect/Function"
import type { Where } from "../Transport/internal/where.js"
import type { DeadlineExceeded, Internal, Unavailable } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { Deadlines } from "./Deadlines.js"

export interface StreamQuota {
  /** Whether a call may begin at once, without `acquire`: there is a permit, and nobody waits for it. */
  readonly isFree: () => boolean
  /**
   * Starts a call once there is a permit for it, with what is left of its timeout, or fails it. Returns what gives the place
   * in the queue up; it may be called at any time.
   */
  readonly acquire: (
    where: Where,
    timeout: number,
    start: (timeout: number) => void,
    fail: (error: Unavailable | DeadlineExceeded | Internal) => void
  ) => () => void
  /** There may be more permits, or none ever: starts, or fails, the calls that wait. */
  readonly advance: () => void
}

interface Waiting {
  readonly take: () => void
  previous: Waiting | undefined
  next: Waiting | undefined
}

export const make = (
  /** Whether the peer takes one more. */
  canOpen: () => boolean,
  isClosed: () => boolean,
  deadlines: Deadlines,
  /** Called with what is thrown where a call begins; that call has failed then. */
  onThrown: (cause: unknown) => void
): StreamQuota => {
  // Not a `Set`: the tables that it has outgrown hold who waited then, and each the next one. Once the garbage collector
  // takes one for long-lived, it keeps all that follows until it collects everything.
  let first: Waiting | undefined
  let last: Waiting | undefined

  const enqueue = (take: () => void): Waiting => {
    const waiting: Waiting = { take, previous: last, next: undefined }
    if (last === undefined) {
      first = waiting
    } else {
      last.next = waiting
    }
    last = waiting
    return waiting
  }

  const dequeue = (waiting: Waiting) => {
    const { next, previous } = waiting
    if (previous !== undefined) {
      previous.next = next
    } else if (first === waiting) {
      first = next
    }
    if (next !== undefined) {
      next.previous = previous
    } else if (last === waiting) {
      last = previous
    }
    waiting.previous = undefined
    waiting.next = undefined
  }

  /** What a start throws is that call's own end, not that of whoever returned the permit. */
  const begin = (
    where: Where,
    timeout: number,
    start: (timeout: number) => void,
    fail: (error: Internal) => void
  ): void => {
    try {
      start(timeout)
    } catch (cause) {
      onThrown(cause)
      fail(CallErrors.notSent(cause, where))
    }
  }

  const isFree = () => first === undefined && canOpen()

  return {
    isFree,
    acquire: (where, timeout, start, fail) => {
      if (isFree()) {
        begin(where, timeout, start, fail)
        return constVoid
      }
      const since = deadlines.now()
      const leave = () => {
        deadlines.remove(deadline)
        dequeue(waiting)
      }
      const take = () => {
        leave()
        if (isClosed()) {
          fail(CallErrors.closedBefore(where))
        } else {
          begin(where, Math.max(1, timeout - (deadlines.now() - since)), start, fail)
        }
      }
      const onDeadline = () => {
        leave()
        fail(CallErrors.deadlinePassedBefore(where))
      }
      const deadline = deadlines.add(timeout, onDeadline)
      const waiting = enqueue(take)
      return leave
    },
    advance: () => {
      while (first !== undefined && (isClosed() || canOpen())) {
        first.take()
      }
    }
  }
}
