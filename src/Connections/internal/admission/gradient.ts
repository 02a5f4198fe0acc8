/**
 * A limit on calls at a time that finds itself by how long calls take.
 *
 * Source: Netflix' concurrency-limits, `Gradient2Limit` and `WindowedLimit`: the quotient of the long-term and the present
 * duration says how much waits, and the limit follows it; the square root there is a constant here.
 */
import type { Gradient } from "../../../Transport/AdmissionRules.js"

export interface Adaptive {
  readonly limit: () => number
  /** A call has ended after so many milliseconds, when so many were in flight. */
  readonly sample: (millis: number, inFlight: number, now: number) => void
}

/** A window is as long as this, and longer where it has seen few calls. */
const windowMillis = 100
const minSamples = 10

/** Windows over which the long-term duration is averaged, after as many to start with. */
const longWindows = 600
const warmUpWindows = 10

/**
 * Windows over which it rises while the limit is what holds calls up: learnt as fast as otherwise, that calls wait would soon be
 * what is normal, and the limit would rise for ever.
 */
const loadedWindows = 6000

/** Calls that may wait without making the limit fall. */
const queueSize = 4

export const make = ({ initial, max, min, smoothing, tolerance }: Gradient): Adaptive => {
  let limit = Math.min(max, Math.max(min, initial))
  let long = 0
  let windows = 0
  let since = Number.NEGATIVE_INFINITY
  let sum = 0
  let count = 0
  let most = 0

  const close = (short: number, inFlight: number) => {
    windows += 1
    const isLimiting = inFlight >= limit / 2
    const over = isLimiting && short > long ? loadedWindows : longWindows
    // A plain mean first: one slow window at the start would be remembered for long.
    long += (short - long) * (windows <= warmUpWindows ? 1 / windows : 2 / (over + 1))
    if (long / short > 2) {
      // Load has fallen: what is normal is to be learnt again.
      long *= 0.95
    }
    if (!isLimiting) {
      return
    }
    const quotient = Math.max(0.5, Math.min(1, (tolerance * long) / short))
    const next = limit * quotient + queueSize
    limit = Math.min(max, Math.max(min, limit * (1 - smoothing) + next * smoothing))
  }

  return {
    limit: () => Math.floor(limit),
    sample: (millis, inFlight, now) => {
      if (count === 0) {
        since = now
      }
      sum += Math.max(0.001, millis)
      count += 1
      most = Math.max(most, inFlight)
      if (now - since >= windowMillis && count >= minSamples) {
        close(sum / count, most)
        sum = 0
        count = 0
        most = 0
      }
    }
  }
}
