/**
 * What a listener remembers of the sources of handshakes: their rate, their refusals and their time in the penalty box.
 */

/** Sources that are remembered, at some 200 bytes. */
const maxSources = 65_536

/** Old sources that are checked for each new one when there is no room. */
const maxLooks = 8

const refusalPeriodMillis = 10_000

/** A source that was in the box waits twice as long the next time, up to so many times the first. */
const maxPenaltyFactor = 32

/**
 * The bytes of a handshake with ordinary certificates, and how many more of them count as another refusal: a chain of
 * 62 RSA certificates with large exponents, which OpenSSL verifies for 0.4 s, has 83 KB.
 */
const ordinaryBytes = 4 * 1024
const bytesPerRefusal = 512

/** The generic cell rate algorithm: `due` is when the admitted events are paid for. */
export interface Rate {
  due: number
}

/**
 * The milliseconds until the next event may happen at so many a second, for which it is counted; undefined, and not
 * counted, if that is more than `patience`.
 */
export const reserve = (rate: Rate, perSecond: number, now: number, patience: number): number | undefined => {
  const interval = 1000 / perSecond
  const due = Math.max(rate.due, now) + interval
  // The events of a whole second may come at once.
  const delay = Math.max(0, due - now - Math.max(1000, interval))
  if (!(delay <= patience)) {
    return undefined
  }
  rate.due = due
  return delay
}

interface Source extends Rate {
  refusals: number
  refusalsSince: number
  boxedUntil: number
  penalty: number
}

/** The limits on one source. */
export interface Limits {
  /** Handshakes that may begin in a second. */
  readonly maxRate: number
  /** Refused handshakes within 10 seconds, above which the source is boxed. */
  readonly maxRefusals: number
  /** How long it is boxed the first time. */
  readonly penaltyMillis: number
}

/** The sources of one listener. */
export interface HandshakeSources {
  /** Whether the source is in the penalty box. */
  readonly isBoxed: (key: string) => boolean
  /** The milliseconds until a handshake may begin; undefined if that is more than `patience` or there is no room. */
  readonly delay: (key: string, patience: number) => number | undefined
  /** Forgives the refusals: a peer of the source has proved who it is. */
  readonly succeeded: (key: string) => void
  /** Counts a refusal on which so many bytes were received. Returns whether the source is boxed for it. */
  readonly refused: (key: string, bytes: number) => boolean
}

/** Begins without any. */
export const make = ({ maxRate, maxRefusals, penaltyMillis }: Limits, clock: () => number): HandshakeSources => {
  const sources = new Map<string, Source>()

  /** Whether a source can be forgotten. */
  const isOver = (source: Source, now: number) =>
    source.due <= now &&
    source.refusalsSince + refusalPeriodMillis <= now &&
    source.boxedUntil + maxPenaltyFactor * penaltyMillis <= now

  /** Forgets the oldest sources that can be forgotten; the others become the newest. */
  const makeRoom = (now: number) => {
    for (let looks = 0; looks < maxLooks && sources.size >= maxSources; looks++) {
      for (const [key, source] of sources) {
        sources.delete(key)
        if (!isOver(source, now)) {
          sources.set(key, source)
        }
        break
      }
    }
    return sources.size < maxSources
  }

  const remember = (key: string, now: number): Source | undefined => {
    const known = sources.get(key)
    if (known !== undefined || !makeRoom(now)) {
      return known
    }
    const source: Source = {
      due: 0,
      refusals: 0,
      refusalsSince: Number.NEGATIVE_INFINITY,
      boxedUntil: Number.NEGATIVE_INFINITY,
      penalty: 0
    }
    sources.set(key, source)
    return source
  }

  const box = (source: Source, now: number) => {
    const longest = maxPenaltyFactor * penaltyMillis
    source.penalty = source.boxedUntil + longest > now ? Math.min(2 * source.penalty, longest) : penaltyMillis
    source.boxedUntil = now + source.penalty
    source.refusals = 0
  }

  return {
    isBoxed: (key) => (sources.get(key)?.boxedUntil ?? 0) > clock(),
    delay: (key, patience) => {
      const now = clock()
      const source = remember(key, now)
      return source === undefined ? undefined : reserve(source, maxRate, now, patience)
    },
    succeeded: (key) => {
      const source = sources.get(key)
      if (source !== undefined) {
        source.refusals = 0
        source.boxedUntil = Number.NEGATIVE_INFINITY
      }
    },
    refused: (key, bytes) => {
      const now = clock()
      const source = remember(key, now)
      if (source === undefined || source.boxedUntil > now) {
        return false
      }
      if (now - source.refusalsSince > refusalPeriodMillis) {
        source.refusalsSince = now
        source.refusals = 0
      }
      source.refusals += 1 + Math.max(0, bytes - ordinaryBytes) / bytesPerRefusal
      if (source.refusals <= maxRefusals) {
        return false
      }
      box(source, now)
      return true
    }
  }
}
