/** The sources of an admission, checked and ready to be asked. */
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Cidr from "../../protocol/Cidr.js"
import * as IpAddress from "../../protocol/IpAddress.js"
import type { PenaltyReason, SourceOptions } from "../AdmissionSources.js"
import { clamp } from "./timers.js"

/** So many a second, of which a burst may come at once. */
export interface Rate {
  readonly rate: number
  readonly burst: number
}

/** What has a default of the transport's is undefined where it is not given. */
export interface SourceRules {
  /** Whether an address may connect. Peers without one may. */
  readonly admits: (host: string | undefined) => boolean
  /** Whether an address is that of a proxy, whose header has to be read and is believed. */
  readonly isProxy: (host: string | undefined) => boolean
  readonly hasProxies: boolean
  readonly headerMillis: number
  readonly connections: number
  readonly connectionRate: Rate
  readonly handshakes: number
  readonly handshakeRate: Rate | undefined
  readonly refusals: number | undefined
  readonly penaltyMillis: number | undefined
  readonly countsAsRefusal: (reason: PenaltyReason) => boolean
}

/** What counts only if it is named. */
const isOptional = (reason: PenaltyReason): boolean => reason === "HandshakeTimeout" || reason === "ConnectionRate"

class Malformed {
  constructor(readonly why: string) {}
}

const networks = (name: string, list: ReadonlyArray<string>): Cidr.Matcher =>
  Cidr.matcher(
    list.map((text, index) => {
      const prefix = typeof text === "string" ? Cidr.parse(text) : undefined
      if (prefix === undefined) {
        throw new Malformed(`sources.${name}[${index}]: ${JSON.stringify(text)} is no network, as "10.0.0.0/8" is`)
      }
      return prefix
    })
  )

const count = (name: string, value: number): number => {
  if (!(typeof value === "number" && value >= 0)) {
    throw new Malformed(`sources.${name}: ${value} is no number from 0 on`)
  }
  return value
}

const rateOf = (name: string, value: number | Rate): Rate => {
  const rate = typeof value === "number" ? { rate: value, burst: Math.max(1, value) } : value
  if (!(rate.rate > 0 && rate.burst >= 1)) {
    throw new Malformed(`sources.${name}: a rate is above 0 and its burst at least 1`)
  }
  return rate
}

const millis = (name: string, input: Duration.DurationInput): number => {
  const value = Either.getOrElse(
    Either.try(() => Duration.toMillis(Duration.decode(input))),
    () => Number.NaN
  )
  // `Duration` makes zero of what is below, and of what is no number.
  const isNegative = typeof input === "string" ? input.startsWith("-") : typeof input === "number" && !(input >= 0)
  if (isNegative || !(value >= 0)) {
    throw new Malformed(`sources.${name}: ${String(input)} is no duration`)
  }
  return clamp(value)
}

const optional = <A, B>(value: A | undefined, f: (value: A) => B): B | undefined =>
  value === undefined ? undefined : f(value)

/** Proxies look whether this side is well, whoever else may connect. */
const admitting =
  (allow: Cidr.Matcher | undefined, proxies: Cidr.Matcher, deny: Cidr.Matcher) => (host: string | undefined) => {
    if (host === undefined) {
      return true
    }
    const address = IpAddress.parse(host)
    if (address === undefined) {
      return false
    }
    const behind = IpAddress.translated(address)
    return (
      !deny(address) &&
      !(behind !== undefined && deny(behind)) &&
      (allow === undefined || allow(address) || proxies(address))
    )
  }

const compileOrThrow = (options: SourceOptions): SourceRules => {
  const allow = optional(options.allow, (list) => networks("allow", list))
  const deny = networks("deny", options.deny ?? [])
  const proxies = networks("proxyProtocol.from", options.proxyProtocol?.from ?? [])
  const { reasons, refusals, time } = options.penalty ?? {}
  return {
    admits: allow === undefined && (options.deny ?? []).length === 0 ? () => true : admitting(allow, proxies, deny),
    isProxy: (host) => {
      const address = optional(host, IpAddress.parse)
      return address !== undefined && proxies(address)
    },
    hasProxies: options.proxyProtocol !== undefined,
    headerMillis: millis("proxyProtocol.timeout", options.proxyProtocol?.timeout ?? 2000),
    connections: count("connections", options.connections ?? 2000),
    connectionRate: rateOf("connectionsPerSecond", options.connectionsPerSecond ?? 1000),
    handshakes: Math.max(1, count("handshakes", options.handshakes ?? Number.POSITIVE_INFINITY)),
    handshakeRate: optional(options.handshakesPerSecond, (rate) => rateOf("handshakesPerSecond", rate)),
    refusals: optional(refusals, (value) => count("penalty.refusals", value)),
    penaltyMillis: optional(time, (value) => millis("penalty.time", value)),
    countsAsRefusal: (reason) => (reasons === undefined ? !isOptional(reason) : reasons.includes(reason))
  }
}

/** The left side says which option is malformed, and why. */
export const compile = (options: SourceOptions): Either.Either<SourceRules, string> => {
  try {
    return Either.right(compileOrThrow(options))
  } catch (cause) {
    return Either.left(cause instanceof Malformed ? cause.why : `sources: ${String(cause)}`)
  }
}

/** Those of an admission that says nothing about sources. */
export const unlimited: SourceRules = compileOrThrow({
  connections: Number.POSITIVE_INFINITY,
  connectionsPerSecond: Number.POSITIVE_INFINITY
})
