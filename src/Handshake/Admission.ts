/**
 * Decides who may begin a handshake, by what a listener knows of the source of a peer that has not proved who it is.
 */
import * as Duration from "effect/Duration"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import type { Boundary } from "../Transport/internal/boundary.js"
import { clamp } from "../Transport/internal/timers.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"

/** Why a connection is closed before its peer was verified. */
export type Reason =
  | "PenaltyBox"
  | "HandshakeRate"
  | "TotalHandshakeRate"
  | "TooManyHandshakes"
  | "TooManyConnections"
  | "HandshakeTimeout"
  | "TooMuch"

const texts: { readonly [reason in Reason]: string } = {
  PenaltyBox: "too many handshakes of its network were refused",
  HandshakeRate: "too many handshakes in a second of its network",
  TotalHandshakeRate: "too many handshakes in a second",
  TooManyHandshakes: "too many handshakes at a time",
  TooManyConnections: "too many connections",
  HandshakeTimeout: "it was not ready in time",
  TooMuch: "it sent too much before the end of its handshake"
}

/** The limits of a listener on peers that have not proved who they are. */
export interface Limits {
  /** Handshakes in progress. */
  readonly maxHandshakes: number
  /** Handshakes that a source may begin in a second, and all of them together. */
  readonly maxHandshakeRate: number
  readonly maxTotalHandshakeRate: number
  /** Refused handshakes of a source within 10 seconds, above which it is boxed. */
  readonly maxRefusals: number
  /** How long a source is boxed the first time. */
  readonly refusalPenalty: Duration.Duration
}

/** A place among the handshakes in progress. */
export interface Place {
  /** The peer has sent something. */
  readonly speak: () => void
  /** Gives the place up, once. */
  readonly leave: () => void
}

/** The admission of one listener. */
export interface Admission {
  /** Whether a source has to wait in the penalty box. */
  readonly isBoxed: (source: string) => boolean
  /** Takes a place, for which another connection makes way if there is none. `close` ends this one when it has to. */
  readonly enter: (source: string, close: (reason: Reason) => void) => Place
  /**
   * The milliseconds until a handshake of the source may begin by the source's rate; undefined if that is more than
   * `patience`, or if so many sources are remembered that there is no room for this one.
   */
  readonly delay: (source: string, patience: number) => number | undefined
  /** The same by the rate of the whole listener. */
  readonly totalDelay: (patience: number) => number | undefined
  /** A peer has proved who it is. */
  readonly succeeded: (source: string) => void
  /** A handshake was refused on which the peer had sent so many bytes; `Infinity` boxes the source at once. */
  readonly refused: (source: string, bytes: number) => void
  /** Counts and logs why a connection was closed. */
  readonly report: (reason: Reason, address: string) => void
}

/** Peers without an address, such as those of a unix socket, which only the number of handshakes limits. */
export const exempt = ""

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
interface Rate {
  due: number
}

const reserve = (rate: Rate, perSecond: number, now: number, patience: number): number | undefined => {
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

interface Pending {
  readonly source: string
  readonly close: (reason: Reason) => void
}

/** The groups of an IPv6 address, of which `::` stands for zeros. */
const groupsOf = (text: string): ReadonlyArray<string> => {
  const [head = "", tail] = text.split("::")
  const before = head === "" ? [] : head.split(":")
  const after = tail === undefined || tail === "" ? [] : tail.split(":")
  const zeros = tail === undefined ? 0 : Math.max(0, 8 - before.length - after.length)
  return [...before, ...Array.from({ length: zeros }, () => "0"), ...after]
}

const dotted = (high: string, low: string): string => {
  const bits = Number.parseInt(high, 16) * 0x10000 + Number.parseInt(low, 16)
  return [bits / 0x1000000, bits / 0x10000, bits / 0x100, bits].map((byte) => Math.floor(byte) % 0x100).join(".")
}

/**
 * The source that an address counts as: an IPv4 address, written as such or within IPv6 (RFC 4291, section 2.5.5.2; RFC
 * 6052, section 2.1), or the /64 of an IPv6 address, all of which one host can have (RFC 4291, section 2.5.1).
 */
export const sourceOf = (host: string | undefined): string => {
  if (host === undefined || !host.includes(":")) {
    return host ?? exempt
  }
  const text = host.toLowerCase().split("%")[0] ?? ""
  const ipv4 = text.includes(".") ? text.slice(text.lastIndexOf(":") + 1) : undefined
  const groups = groupsOf(ipv4 === undefined ? text : `${text.slice(0, text.lastIndexOf(":"))}:0:0`).map((group) =>
    Number.parseInt(group, 16).toString(16)
  )
  const prefix = groups.slice(0, 6).join(":")
  return prefix === "0:0:0:0:0:ffff" || prefix === "64:ff9b:0:0:0:0"
    ? (ipv4 ?? dotted(groups[6] ?? "0", groups[7] ?? "0"))
    : `${groups.slice(0, 4).join(":")}::/64`
}

/** The admission of a listener that has just begun. */
export const make = (limits: Limits, boundary: Boundary, clock: () => number = () => performance.now()): Admission => {
  const penaltyMillis = clamp(Duration.toMillis(limits.refusalPenalty))
  const sources = new Map<string, Source>()
  const total: Rate = { due: 0 }
  /** Each from the oldest on: those that have sent nothing, and those that have. */
  const silent = new Set<Pending>()
  const speaking = new Set<Pending>()

  const report = (reason: Reason, address: string) => {
    Metric.tagged(TransportMetrics.handshakesRefused, "reason", reason).unsafeUpdate(1, [])
    boundary.log(LogLevel.Warning, `refused ${reason}`, `closed ${address}: ${texts[reason]}`, { reason })
  }

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

  const evict = (pending: Pending, reason: Reason) => {
    silent.delete(pending)
    speaking.delete(pending)
    pending.close(reason)
  }

  /** The oldest of the source that has the most. */
  const oldestOfMost = (): Pending | undefined => {
    const counts = new Map<string, number>()
    let most = exempt
    for (const { source } of speaking) {
      const count = (counts.get(source) ?? 0) + 1
      counts.set(source, count)
      if (count > (counts.get(most) ?? 0)) {
        most = source
      }
    }
    for (const pending of speaking) {
      if (pending.source === most) {
        return pending
      }
    }
    return undefined
  }

  const oldestSilent = (): Pending | undefined => {
    for (const pending of silent) {
      return pending
    }
    return undefined
  }

  const box = (key: string, source: Source, now: number) => {
    const most = maxPenaltyFactor * penaltyMillis
    source.penalty = source.boxedUntil + most > now ? Math.min(2 * source.penalty, most) : penaltyMillis
    source.boxedUntil = now + source.penalty
    source.refusals = 0
    for (const pending of [...silent, ...speaking]) {
      if (pending.source === key) {
        evict(pending, "PenaltyBox")
      }
    }
  }

  return {
    isBoxed: (key) => (sources.get(key)?.boxedUntil ?? 0) > clock(),
    enter: (source, close) => {
      if (silent.size + speaking.size >= limits.maxHandshakes) {
        const pending = oldestSilent() ?? oldestOfMost()
        if (pending !== undefined) {
          evict(pending, "TooManyHandshakes")
        }
      }
      const pending: Pending = { source, close }
      silent.add(pending)
      return {
        speak: () => {
          if (silent.delete(pending)) {
            speaking.add(pending)
          }
        },
        leave: () => {
          silent.delete(pending)
          speaking.delete(pending)
        }
      }
    },
    delay: (key, patience) => {
      if (key === exempt) {
        return 0
      }
      const now = clock()
      const source = remember(key, now)
      return source === undefined ? undefined : reserve(source, limits.maxHandshakeRate, now, patience)
    },
    totalDelay: (patience) => reserve(total, limits.maxTotalHandshakeRate, clock(), patience),
    succeeded: (key) => {
      const source = sources.get(key)
      if (source !== undefined) {
        source.refusals = 0
        source.boxedUntil = Number.NEGATIVE_INFINITY
      }
    },
    refused: (key, bytes) => {
      const now = clock()
      const source = key === exempt ? undefined : remember(key, now)
      if (source === undefined || source.boxedUntil > now) {
        return
      }
      if (now - source.refusalsSince > refusalPeriodMillis) {
        source.refusalsSince = now
        source.refusals = 0
      }
      source.refusals += 1 + Math.max(0, bytes - ordinaryBytes) / bytesPerRefusal
      if (source.refusals > limits.maxRefusals) {
        box(key, source, now)
      }
    },
    report
  }
}
