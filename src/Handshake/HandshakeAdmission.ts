/**
 * Decides who may begin a handshake, by what a listener knows of the source of a peer that has not proved who it is.
 */
import * as Duration from "effect/Duration"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import type { Boundary } from "../Transport/internal/boundary.js"
import { clamp } from "../Transport/internal/timers.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import * as Places from "./internal/handshakePlaces.js"
import * as Sources from "./internal/handshakeSources.js"

export type { Place } from "./internal/handshakePlaces.js"

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

/** The admission of one listener. */
export interface Admission {
  /** Whether a source has to wait in the penalty box. */
  readonly isBoxed: (source: string) => boolean
  /** Takes a place, for which another connection makes way if there is none. `close` ends this one when it has to. */
  readonly enter: (source: string, close: (reason: Reason) => void) => Places.Place
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
  const places = Places.make<Reason>(limits.maxHandshakes, "TooManyHandshakes")
  const sources = Sources.make(
    {
      maxRate: limits.maxHandshakeRate,
      maxRefusals: limits.maxRefusals,
      penaltyMillis: clamp(Duration.toMillis(limits.refusalPenalty))
    },
    clock
  )
  const total: Sources.Rate = { due: 0 }
  return {
    isBoxed: sources.isBoxed,
    enter: places.enter,
    delay: (key, patience) => (key === exempt ? 0 : sources.delay(key, patience)),
    totalDelay: (patience) => Sources.reserve(total, limits.maxTotalHandshakeRate, clock(), patience),
    succeeded: sources.succeeded,
    refused: (key, bytes) => {
      if (key !== exempt && sources.refused(key, bytes)) {
        places.evict(key, "PenaltyBox")
      }
    },
    report: (reason, address) => {
      Metric.tagged(TransportMetrics.handshakesRefused, "reason", reason).unsafeUpdate(1, [])
      boundary.log(LogLevel.Warning, `refused ${reason}`, `closed ${address}: ${texts[reason]}`, { reason })
    }
  }
}
