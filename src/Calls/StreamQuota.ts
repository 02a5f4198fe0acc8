import { constVoid } from "effect/Function"
import { DeadlineExceeded, Internal, Unavailable } from "../Transport/TransportError.js"
import type { Deadlines } from "./Deadlines.js"

interface Where {
  readonly method: string
  readonly peer: string
}

/** Where calls wait, in the order they came, until the peer takes one more. */
export interface Turnstile {
  /** Starts a call in its turn, with what is left of its timeout. Gives what lets go of the turn. */
  readonly enter: (
    where: Where,
    timeout: number,
    start: (timeout: number) => void,
    fail: (error: Unavailable | DeadlineExceeded | Internal) => void
  ) => () => void
  /** Lets as many in as may. */
  readonly turn: () => void
}

/** The error of a call for which the connection has ended too early. */
export const closedBefore = (where: Where): Unavailable =>
  new Unavailable({ message: "the connection was closed before the call", processed: "no", ...where })

/** Begins a call. What it throws is that call's own end, not that of whoever let it in. */
const begin = (
  where: Where,
  timeout: number,
  start: (timeout: number) => void,
  fail: (error: Internal) => void,
  onThrown: (cause: unknown) => void
): void => {
  try {
    start(timeout)
  } catch (cause) {
    onThrown(cause)
    fail(new Internal({ message: "the call can't be sent", cause, ...where }))
  }
}

interface Waiting {
  readonly take: () => void
  before: Waiting | undefined
  behind: Waiting | undefined
}

export const make = (
  mayEnter: () => boolean,
  isClosed: () => boolean,
  deadlines: Deadlines,
  /** Called with what is thrown where a call begins; that call has failed then. */
  onThrown: (cause: unknown) => void
): Turnstile => {
  // Not a `Set`: the tables that it has outgrown hold who waited then, and each the next one. Once the garbage collector
  // takes one for long-lived, it keeps all that follows until it collects everything.
  let first: Waiting | undefined
  let last: Waiting | undefined

  const enqueue = (take: () => void): Waiting => {
    const waiting: Waiting = { take, before: last, behind: undefined }
    if (last === undefined) {
      first = waiting
    } else {
      last.behind = waiting
    }
    last = waiting
    return waiting
  }

  const dequeue = (waiting: Waiting) => {
    const { before, behind } = waiting
    if (before !== undefined) {
      before.behind = behind
    } else if (first === waiting) {
      first = behind
    }
    if (behind !== undefined) {
      behind.before = before
    } else if (last === waiting) {
      last = before
    }
    waiting.before = undefined
    waiting.behind = undefined
  }

  return {
    enter: (where, timeout, start, fail) => {
      if (first === undefined && mayEnter()) {
        begin(where, timeout, start, fail, onThrown)
        return constVoid
      }
      const since = performance.now()
      const leave = () => {
        deadlines.remove(deadline)
        dequeue(waiting)
      }
      const take = () => {
        leave()
        if (isClosed()) {
          fail(closedBefore(where))
        } else {
          begin(where, Math.max(1, timeout - (performance.now() - since)), start, fail, onThrown)
        }
      }
      const onDeadline = () => {
        leave()
        fail(new DeadlineExceeded({ message: "the deadline passed before the peer took the call", ...where }))
      }
      const deadline = deadlines.add(timeout, onDeadline)
      const waiting = enqueue(take)
      return leave
    },
    turn: () => {
      while (first !== undefined && (isClosed() || mayEnter())) {
        first.take()
      }
    }
  }
}
