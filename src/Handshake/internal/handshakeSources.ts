/**
 * What a listener remembers of the sources of connections: their number and rates, their refusals and their time in the
 * penalty box.
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

/** So many a second, of which a burst may come at once. */
export interface RateLimit {
  readonly rate: number
  readonly burst: number
}

/** What comes in a second may come at once. */
export const perSecond = (rate: number): RateLimit => ({ rate, burst: Math.max(1, rate) })

/**
 * The milliseconds until the next event may happen, for which it is counted; undefined, and not counted, if that is more
 * than `patience`.
 */
export const reserve = (rate: Rate, limit: RateLimit, now: number, patience: number): number | undefined => {
  const interval = 1000 / limit.rate
  if (interval === 0) {
    return 0
  }
  const due = Math.max(rate.due, now) + interval
  const delay = Math.max(0, due - now - limit.burst * interval)
  if (!(delay <= patience)) {
    return undefined
  }
  rate.due = due
  return delay
}

/** What is remembered of one. */
interface Source {
  /** Whose peers have proved who they are, open now. */
  connections: number
  readonly arrivals: Rate
  readonly handshakes: Rate
  refusals: number
  refusalsSince: number
  boxedUntil: number
  penalty: number
}

/** The limits on one source. */
export interface Limits {
  /** Connections at a time whose peers have proved who they are. */
  readonly maxConnections: number
  /** Connections that may begin in a second, and handshakes. */
  readonly connectionRate: RateLimit
  readonly handshakeRate: RateLimit
  /** Refused handshakes within 10 seconds, above which the source is boxed. */
  readonly maxRefusals: number
  /** How long it is boxed the first time. */
  readonly penaltyMillis: number
}

/** The sources of one listener, or of those that share an admission. */
export type Known = Map<string, Source>

/** What a listener asks about sources. */
export interface HandshakeSources {
  /** Whether a connection may begin by its rate, for which it is counted; false too where there is no room. */
  readonly mayArrive: (key: string) => boolean
  /** Whether the source has as many connections as it may. */
  readonly isFull: (key: string) => boolean
  /** Counts a connection whose peer has proved who it is. Returns what ends that, or undefined where it is one too many. */
  readonly join: (key: string) => (() => void) | undefined
  /** Whether the source is in the penalty box. */
  readonly isBoxed: (key: string) => boolean
  /** The milliseconds until a handshake may begin; undefined if that is more than `patience` or there is no room. */
  readonly delay: (key: string, patience: number) => number | undefined
  /** Forgives the refusals: a peer of the source has proved who it is. */
  readonly succeeded: (key: string) => void
  /** Counts a refusal on which so many bytes were received. Returns whether the source is boxed for it. */
  readonly refused: (key: string, bytes: number) => boolean
}

/** The limits may be others each time. */
export const make = (limits: () => Limits, clock: () => number, sources: Known = new Map()): HandshakeSources => {
  /** Whether a source can be forgotten. */
  const isOver = (source: Source, now: number) =>
    source.connections === 0 &&
    source.arrivals.due <= now &&
    source.handshakes.due <= now &&
    source.refusalsSince + refusalPeriodMillis <= now &&
    source.boxedUntil + maxPenaltyFactor * limits().penaltyMillis <= now

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
      connections: 0,
      arrivals: { due: 0 },
      handshakes: { due: 0 },
      refusals: 0,
      refusalsSince: Number.NEGATIVE_INFINITY,
      boxedUntil: Number.NEGATIVE_INFINITY,
      penalty: 0
    }
    sources.set(key, source)
    return source
  }

  const box = (source: Source, now: number) => {
    const { penaltyMillis } = limits()
    const longest = maxPenaltyFactor * penaltyMillis
    source.penalty = source.boxedUntil + longest > now ? Math.min(2 * source.penalty, longest) : penaltyMillis
    source.boxedUntil = now + source.penalty
    source.refusals = 0
  }

  return {
    isBoxed: (key) => (sources.get(key)?.boxedUntil ?? 0) > clock(),
    mayArrive: (key) => {
      const now = clock()
      const source = remember(key, now)
      return source !== undefined && reserve(source.arrivals, limits().connectionRate, now, 0) !== undefined
    },
    isFull: (key) => (sources.get(key)?.connections ?? 0) >= limits().maxConnections,
    join: (key) => {
      const source = remember(key, clock())
      if (source === undefined || source.connections >= limits().maxConnections) {
        return undefined
      }
      source.connections += 1
      let isOpen = true
      return () => {
        if (isOpen) {
          isOpen = false
          source.connections -= 1
        }
      }
    },
    delay: (key, patience) => {
      const now = clock()
      const source = remember(key, now)
      return source === undefined ? undefined : reserve(source.handshakes, limits().handshakeRate, now, patience)
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
      if (source.refusals <= limits().maxRefusals) {
        return false
      }
      box(source, now)
      return true
    }
  }
}
