/** Notices a connection whose calls only time out, so that it can be replaced. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"

/** Whether a connection serves the calls on it: one that answers pings may still answer no call. */
export interface Progress {
  /** A part of an answer has arrived. */
  readonly answered: () => void
  /** A call has reached its deadline without an answer, so many milliseconds after it began. */
  readonly timedOut: (timeout: number) => void
  readonly hasServed: () => boolean
  /** Completes when calls only time out, each time that this is noticed anew. */
  readonly stalled: Effect.Effect<void>
}

/** So many calls in a row have to time out, ... */
const maxTimeouts = 3

/** ... over at least this long: a peer may be busy collecting garbage for a shorter time. */
const minPeriodMillis = 500

/** The progress of a new connection. */
export const make = (): Progress => {
  let hasServed = false
  let timeouts = 0
  let silentSince = 0
  let countedAt = Number.NEGATIVE_INFINITY
  let onStalled = constVoid

  return {
    answered: () => {
      hasServed = true
      timeouts = 0
    },
    timedOut: (timeout) => {
      const now = performance.now()
      const began = now - timeout
      if (timeouts === 0) {
        silentSince = began
      } else if (began < countedAt - 1) {
        // Several calls at the same time tell no more than one of them.
        return
      }
      countedAt = now
      timeouts += 1
      if (timeouts >= maxTimeouts && now - silentSince >= minPeriodMillis) {
        timeouts = 0
        onStalled()
      }
    },
    hasServed: () => hasServed,
    stalled: Effect.async<void>((resume) => {
      onStalled = () => resume(Effect.void)
      return Effect.sync(() => {
        onStalled = constVoid
      })
    })
  }
}
