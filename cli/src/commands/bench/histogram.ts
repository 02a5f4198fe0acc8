/** Counts of durations in buckets that are 1% wide or less: small, whatever is counted. */

/** Buckets in each doubling. */
const subBuckets = 128

/** From a microsecond on; what is shorter counts as one. */
const unitMillis = 0.001

/** Two to the 36 microseconds are 19 hours. */
const doublings = 36

/** A histogram of milliseconds. */
export interface Histogram {
  readonly add: (millis: number) => void
  readonly summary: () => Summary
  /** How many lie at or below each bound, apart from those below the bound before; bounds grow by half each. */
  readonly bars: () => ReadonlyArray<Bar>
}

export interface Bar {
  readonly upToMillis: number
  readonly count: number
}

export interface Summary {
  readonly count: number
  readonly min: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

const indexOf = (millis: number): number => {
  const units = Math.max(millis / unitMillis, 1)
  const doubling = Math.min(Math.floor(Math.log2(units)), doublings - 1)
  const within = Math.min(Math.floor((units / 2 ** doubling - 1) * subBuckets), subBuckets - 1)
  return doubling * subBuckets + within
}

/** The upper bound of a bucket. */
const boundOf = (index: number): number =>
  unitMillis * 2 ** Math.floor(index / subBuckets) * (1 + ((index % subBuckets) + 1) / subBuckets)

const rounded = (millis: number): number => Number(millis.toPrecision(4))

export const make = (): Histogram => {
  const counts = new Float64Array(doublings * subBuckets)
  let count = 0
  let sum = 0
  let min = Number.POSITIVE_INFINITY
  let max = 0

  const at = (quantile: number): number => {
    const wanted = Math.max(1, Math.ceil(quantile * count))
    let seen = 0
    for (const [index, each] of counts.entries()) {
      seen += each
      if (seen >= wanted) {
        return rounded(Math.min(boundOf(index), max))
      }
    }
    return 0
  }

  return {
    add: (millis) => {
      const index = indexOf(millis)
      counts[index] = (counts[index] ?? 0) + 1
      count += 1
      sum += millis
      min = Math.min(min, millis)
      max = Math.max(max, millis)
    },
    summary: () => ({
      count,
      min: count === 0 ? 0 : rounded(min),
      mean: count === 0 ? 0 : rounded(sum / count),
      p50: at(0.5),
      p90: at(0.9),
      p99: at(0.99),
      p999: at(0.999),
      max: rounded(max)
    }),
    bars: () => {
      const bars: Array<Bar> = []
      let bound = count === 0 ? 0 : 10 ** Math.floor(Math.log10(Math.max(min, unitMillis)))
      let waiting = 0
      for (const [index, each] of counts.entries()) {
        const upper = boundOf(index)
        while (count > 0 && upper > bound) {
          bars.push({ upToMillis: rounded(bound), count: waiting })
          waiting = 0
          bound *= 1.5
        }
        waiting += each
      }
      const all = count === 0 ? [] : [...bars, { upToMillis: rounded(bound), count: waiting }]
      const first = all.findIndex((bar) => bar.count > 0)
      return all.slice(Math.max(first, 0), all.findLastIndex((bar) => bar.count > 0) + 1)
    }
  }
}
