/** What retry budgets count: a share of the calls, or gRPC's bucket of tokens. */
import * as RollingWindow from "./rollingWindow.js"

/**
 * What is told of calls, with the time in milliseconds. An attempt is a call as a server sees it.
 */
export interface Account {
  /** A call begins. It counts as long as no attempts are told. */
  readonly began: (now: number) => void
  /** An attempt begins, and it will be told if it succeeds. */
  readonly attempted: (now: number) => void
  /** An attempt has failed for which another may be made. */
  readonly failed: () => void
  /** An attempt that was told has succeeded. */
  readonly succeeded: () => void
  /** Whether one more attempt may be made, which has then been paid for. */
  readonly take: (now: number) => boolean
  readonly available: (now: number) => number
}

/** An option that has to be a number of 0 or more. */
const nonNegative = (value: number): number => (value > 0 ? Math.min(value, Number.MAX_SAFE_INTEGER) : 0)

const maxWindowMillis = 3_600_000

/** No more retries in any window than `ratio` times its calls, and so many a second. */
export const share = (ratio: number, minPerSecond: number, window: number): Account => {
  const windowMillis = Math.min(maxWindowMillis, Math.max(1000, window))
  const floor = nonNegative(minPerSecond) * (windowMillis / 1000)
  const counts = RollingWindow.make(windowMillis, ["begun", "attempts", "retries"])
  let isTold = false

  const available = (now: number): number => {
    const retries = counts.sum(now, "retries")
    // Retries are told as attempts too.
    const calls = isTold ? counts.sum(now, "attempts") - retries : counts.sum(now, "begun")
    // A tenth of ten calls is one, in floating point too.
    return Math.max(0, Math.floor(nonNegative(ratio) * calls + floor + 1e-9) - retries)
  }

  return {
    began: (now) => counts.add(now, "begun"),
    attempted: (now) => {
      isTold = true
      counts.add(now, "attempts")
    },
    failed: () => {},
    succeeded: () => {},
    available,
    take: (now) => {
      if (available(now) < 1) {
        return false
      }
      counts.add(now, "retries")
      return true
    }
  }
}

/** A call of which no more is told than its begin and its failures has succeeded until it fails. */
export const throttle = (maxTokens: number, tokenRatio: number): Account => {
  const max = Math.min(1000, nonNegative(maxTokens))
  const ratio = nonNegative(tokenRatio)
  let tokens = max
  let isTold = false

  const give = () => {
    tokens = Math.min(max, tokens + ratio)
  }
  const presume = () => {
    if (!isTold) {
      give()
    }
  }

  return {
    began: presume,
    attempted: () => {
      isTold = true
    },
    succeeded: give,
    failed: () => {
      tokens = Math.max(0, tokens - 1 - (isTold ? 0 : ratio))
    },
    available: () => Math.max(0, Math.ceil(tokens - max / 2)),
    take: () => {
      if (tokens <= max / 2) {
        return false
      }
      presume()
      return true
    }
  }
}
