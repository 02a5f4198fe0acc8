import { constVoid } from "effect/Function"
import { DeadlineExceeded, Unavailable } from "../TransportError.js"

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
    fail: (error: Unavailable | DeadlineExceeded) => void
  ) => () => void
  /** Lets as many in as may. */
  readonly turn: () => void
}

/** The longest that a timer of Node can wait, in milliseconds. */
export const maxTimer = 2 ** 31 - 1

/** The error of a call for which the connection has ended too early. */
export const closedBefore = (where: Where): Unavailable =>
  new Unavailable({ message: "the connection was closed before the call", processed: "no", ...where })

export const make = (mayEnter: () => boolean, isClosed: () => boolean): Turnstile => {
  const waiting = new Set<() => void>()
  return {
    enter: (where, timeout, start, fail) => {
      if (waiting.size === 0 && mayEnter()) {
        start(timeout)
        return constVoid
      }
      const since = performance.now()
      const leave = () => {
        clearTimeout(timer)
        waiting.delete(take)
      }
      const take = () => {
        leave()
        if (isClosed()) {
          fail(closedBefore(where))
        } else {
          start(Math.max(1, timeout - (performance.now() - since)))
        }
      }
      const onDeadline = () => {
        leave()
        fail(new DeadlineExceeded({ message: "the deadline passed before the peer took the call", ...where }))
      }
      const timer = timeout <= maxTimer ? setTimeout(onDeadline, timeout) : undefined
      waiting.add(take)
      return leave
    },
    turn: () => {
      for (const take of waiting) {
        if (!isClosed() && !mayEnter()) {
          return
        }
        take()
      }
    }
  }
}
