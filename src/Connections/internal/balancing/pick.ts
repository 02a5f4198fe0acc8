/** Which of several endpoints gets the next call. Nothing here knows what an endpoint is, or changes it. */

/** What is known of an endpoint that may be picked. */
export interface Candidate {
  /** Calls in flight. */
  readonly pending: number
  /** Calls that it has had, each divided by its share: whoever has the least is next. */
  readonly pass: number
}

/** The one that is next in turn: that with the least `pass`, and of equal ones the first (stride scheduling). */
export const inTurn = <C extends Candidate>(candidates: ReadonlyArray<C>): C | undefined => {
  let best = candidates[0]
  for (const candidate of candidates) {
    if (best !== undefined && candidate.pass < best.pass) {
      best = candidate
    }
  }
  return best
}

/**
 * Where several are in flight, a few more say nothing: answers come in batches, and whoever had the last one would get all new
 * calls. An endpoint that is slow has many times as many.
 */
const tolerance = 2
const minTolerated = 2

const isAlike = (one: number, other: number): boolean => {
  const least = Math.min(one, other)
  return one === other || (least >= minTolerated && Math.max(one, other) <= least * tolerance)
}

/** How far one may be behind the one that is furthest, in calls. */
const minArrears = 2

/**
 * The `pass` of one that gets a call, where the order only decides between equals: what it missed, of more than half of
 * the calls that are in flight now, is not made up for.
 */
export const advance = (pass: number, furthest: number, inFlight: number, share: number): number =>
  Math.max(pass, furthest - Math.max(minArrears, inFlight / 2)) + 1 / share

/**
 * Of two at random the one with fewer calls in flight, and of those that have about as many (no more than twice) the one
 * that is next in order: without calls that overlap it is as even as round robin. `random` is between 0 and 1, exclusively.
 */
export const leastPending = <C extends Candidate>(
  candidates: ReadonlyArray<C>,
  random: () => number
): C | undefined => {
  const count = candidates.length
  if (count < 2) {
    return candidates[0]
  }
  const first = Math.floor(random() * count)
  const second = (first + 1 + Math.floor(random() * (count - 1))) % count
  const [one, other] = [candidates[first], candidates[second]]
  if (one === undefined || other === undefined) {
    return one ?? other
  }
  return isAlike(one.pending, other.pending)
    ? one.pass <= other.pass
      ? one
      : other
    : one.pending < other.pending
      ? one
      : other
}

const least = 0.1

/** The share of an endpoint that has been ready for so long: from a tenth to all. */
export const slowStart = (readyMillis: number, windowMillis: number): number =>
  readyMillis >= windowMillis ? 1 : Math.max(least, readyMillis / windowMillis)
