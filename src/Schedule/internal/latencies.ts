/** How long the latest attempts took, for a quantile of them. */

/** Enough that one per cent of them is some. */
const size = 512

/** Fewer say nothing of a quantile near the end. */
const least = 20

/** How many new ones there are before the quantiles are looked for again: sorting takes some 20 us. */
const renewedAfter = 16

export interface Latencies {
  readonly add: (millis: number) => void
  /** Undefined while there are too few. */
  readonly quantile: (q: number) => number | undefined
}

export const make = (): Latencies => {
  const latest = new Float64Array(size)
  let count = 0
  let sorted = new Float64Array(0)
  let sortedAt = 0

  return {
    add: (millis) => {
      latest[count % size] = millis
      count += 1
    },
    quantile: (q) => {
      if (count < least) {
        return undefined
      }
      if (sorted.length === 0 || count - sortedAt >= renewedAfter) {
        sorted = latest.slice(0, Math.min(count, size)).sort()
        sortedAt = count
      }
      return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)]
    }
  }
}

const byOwner = new WeakMap<object, Latencies>()

/** Those of an object, such as a method's contract, for as long as it is there. */
export const of = (owner: object): Latencies => {
  const found = byOwner.get(owner)
  if (found !== undefined) {
    return found
  }
  const made = make()
  byOwner.set(owner, made)
  return made
}
