/** Notices a connection whose calls only time out, so that it can be replaced. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"

/** Whether a connection serves the calls on it: one that answers pings may still answer no call. */
export interface Progress {
  /** Something of an answer has come. */
  readonly answered: () => void
  /** A call has ended by its deadline, so many milliseconds after it began, without an answer. */
  readonly timedOut: (timeout: number) => void
  readonly hasServed: () => boolean
  /** Completes when calls only time out, each time that this is seen anew. */
  readonly stalled: Effect.Effect<void>
}

/** So many calls have to time out one after the other, ... */
const maxTimeouts = 3

/** ... and for at least this long: shorter, a peer that collects garbage would do. */
const minPeriodMillis = 500

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
        // Calls that ran side by side tell no more than one of them.
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
