/** Counts of what happened lately: sums over a window that moves in steps of a tenth of its length. */

const buckets = 10

/** `Name` is what is counted. All take the time in milliseconds; one that goes back counts as the latest. */
export interface RollingWindow<in Name extends string> {
  readonly add: (now: number, name: Name) => void
  readonly sum: (now: number, name: Name) => number
  readonly clear: () => void
}

export const make = <const Name extends string>(millis: number, names: ReadonlyArray<Name>): RollingWindow<Name> => {
  const bucketMillis = Math.max(1, millis) / buckets
  const counts = new Map<Name, Float64Array>(names.map((name) => [name, new Float64Array(buckets)]))
  let newest = Number.NEGATIVE_INFINITY

  const clear = () => counts.forEach((each) => void each.fill(0))

  /** Forgets what is older than the window, and returns the bucket of now. */
  const advance = (now: number): number => {
    const bucket = Math.max(0, Math.floor(now / bucketMillis))
    if (bucket - newest >= buckets) {
      clear()
      newest = bucket
    }
    while (newest < bucket) {
      newest += 1
      counts.forEach((each) => {
        each[newest % buckets] = 0
      })
    }
    return newest % buckets
  }

  return {
    add: (now, name) => {
      const bucket = advance(now)
      const each = counts.get(name)
      if (each !== undefined) {
        each[bucket] = (each[bucket] ?? 0) + 1
      }
    },
    sum: (now, name) => {
      advance(now)
      return counts.get(name)?.reduce((sum, count) => sum + count, 0) ?? 0
    },
    clear
  }
}
