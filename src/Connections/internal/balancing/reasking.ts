/** Has endpoints looked up again while connections are missing: once a second at first, and later with each attempt that fails. */
import { constVoid } from "effect/Function"
import type { Boundary } from "../../../Transport/internal/boundary.js"

export interface Reasking {
  readonly use: (again: () => void) => void
  /** A connection was lost, or an attempt has failed. */
  readonly lost: () => void
  /** Whether a connection is missing now. */
  readonly set: (isMissing: boolean) => void
  readonly stop: () => void
}

const periodMillis = 1000

/** Of many that are lost at a time the first asks; what comes of the others the next period asks for. */
const minGapMillis = 100

/** After so long it is no surprise any more that something is missing. */
const hopefulMillis = 60_000

export const make = (boundary: Boundary, label: string): Reasking => {
  let again = constVoid
  let timer: NodeJS.Timeout | undefined
  let since = 0
  let isMissing = false
  let asked = Number.NEGATIVE_INFINITY

  const stop = () => {
    clearInterval(timer)
    timer = undefined
  }

  const tick = () => {
    if (performance.now() - since > hopefulMillis) {
      return stop()
    }
    boundary.guard("timer", label, again, stop)
  }

  return {
    use: (f) => {
      again = f
    },
    lost: () => {
      const now = performance.now()
      if (now - asked >= minGapMillis) {
        asked = now
        again()
      }
    },
    set: (missing) => {
      if (missing && !isMissing) {
        since = performance.now()
        timer ??= setInterval(tick, periodMillis).unref()
      }
      if (!missing) {
        stop()
      }
      isMissing = missing
    },
    stop
  }
}
