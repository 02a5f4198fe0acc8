/**
 * Decides who may begin a handshake, by what a listener knows of the source of a peer that has not proved who it is.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { PenaltyReason, SourceOptions } from "../Transport/AdmissionSources.js"
import type { Gate } from "../Transport/internal/admissionGate.js"
import * as Bind from "../Transport/internal/bind.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as SourceRules from "../Transport/internal/sourceRules.js"
import { clamp } from "../Transport/internal/timers.js"
import type { BindError } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions } from "../Transport/TransportService.js"
import * as Places from "./internal/handshakePlaces.js"
import * as Sources from "./internal/handshakeSources.js"
import { exempt, sourceOf } from "./internal/source.js"
import * as SourcesInForce from "./internal/sourcesInForce.js"

export type { Place } from "./internal/handshakePlaces.js"
export { exempt, sourceOf } from "./internal/source.js"

/** Why a connection is closed before its peer was verified. */
export type Reason =
  | "Denied"
  | "Overloaded"
  | "PenaltyBox"
  | "ConnectionRate"
  | "HandshakeRate"
  | "TotalHandshakeRate"
  | "TooManyHandshakes"
  | "TooManyConnections"
  | "TooManyOfSource"
  | "HandshakeTimeout"
  | "ProxyHeader"
  | "TooMuch"

const texts: { readonly [reason in Reason]: string } = {
  Denied: "its network may not connect",
  Overloaded: "this node has more to do than it can",
  PenaltyBox: "too many handshakes of its network were refused",
  ConnectionRate: "too many connections in a second of its network",
  HandshakeRate: "too many handshakes in a second of its network",
  TotalHandshakeRate: "too many handshakes in a second",
  TooManyHandshakes: "too many handshakes at a time",
  TooManyConnections: "too many connections",
  TooManyOfSource: "too many connections of its network",
  HandshakeTimeout: "it was not ready in time",
  ProxyHeader: "a proxy has to say in time whose connection it passes on",
  TooMuch: "it sent too much before the end of its handshake"
}

/** What an admission's rules have decided is counted and logged there, by the rule. */
const ruleOf: { readonly [reason in Reason]?: string } = {
  Denied: "sources.deny",
  Overloaded: "listener.shed",
  ConnectionRate: "sources.connectionsPerSecond",
  TooManyOfSource: "sources.connections",
  ProxyHeader: "sources.proxyProtocol"
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
  /** What holds for sources now. */
  readonly rules: () => SourceRules.SourceRules
  /** Why no connection may begin from an address, before anything is known of its peer; undefined if one may. */
  readonly refusal: (host: string | undefined) => Reason | undefined
  /** Why no handshake may begin that waited for its first byte. */
  readonly handshakeRefusal: () => Reason | undefined
  /** Counts a connection that may begin. Returns whether that is more in a second than may be. */
  readonly isTooFast: (source: string) => boolean
  /** Whether the source has as many connections as it may whose peers have proved who they are. */
  readonly isFull: (source: string) => boolean
  /**
   * Counts a connection whose peer has proved who it is. Returns what ends that; undefined where it is one too many. `end` ends
   * the connection if its network may not connect any more.
   */
  readonly join: (host: string | undefined, end: () => void) => (() => void) | undefined
  /** Looks at the connections again, because the rules have changed. */
  readonly review: () => void
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
  /**
   * A handshake was refused on which the peer had sent so many bytes; `Infinity` boxes the source at once. Nothing happens
   * where the reason does not count.
   */
  readonly refused: (source: string, bytes: number, reason?: PenaltyReason) => void
  /** Counts and logs why a connection was closed. */
  readonly report: (reason: Reason, address: string) => void
}

/** The admission of a listener that has just begun. */
export const make = (
  limits: Limits,
  boundary: Boundary,
  clock: () => number = () => performance.now(),
  gate?: Gate
): Admission => {
  const rules = SourcesInForce.rules(gate, boundary)
  const places = Places.make<Reason>(limits.maxHandshakes, "TooManyHandshakes")
  const handshakeRate = Sources.perSecond(limits.maxHandshakeRate)
  const totalRate = Sources.perSecond(limits.maxTotalHandshakeRate)
  const penaltyMillis = clamp(Duration.toMillis(limits.refusalPenalty))
  const sources = Sources.make(
    () => {
      const now = rules()
      return {
        maxConnections: now.connections,
        connectionRate: now.connectionRate,
        handshakeRate: now.handshakeRate ?? handshakeRate,
        maxRefusals: now.refusals ?? limits.maxRefusals,
        penaltyMillis: now.penaltyMillis ?? penaltyMillis
      }
    },
    clock,
    SourcesInForce.known(gate)
  )
  const open = SourcesInForce.connections((host) => rules().admits(host))
  const total: Sources.Rate = { due: 0 }

  const isFull = (source: string) => source !== exempt && sources.isFull(source)

  const refused: Admission["refused"] = (key, bytes, reason) => {
    const counts = reason === undefined || rules().countsAsRefusal(reason)
    if (key !== exempt && counts && sources.refused(key, bytes)) {
      places.evict(key, "PenaltyBox")
    }
  }

  const handshakeRefusal = (): Reason | undefined => (gate?.shedsHandshakes() === true ? "Overloaded" : undefined)

  return {
    rules,
    refusal: (host) =>
      rules().admits(host)
        ? (handshakeRefusal() ?? (sources.isBoxed(sourceOf(host)) ? "PenaltyBox" : undefined))
        : "Denied",
    handshakeRefusal,
    isTooFast: (source) => {
      if (source === exempt || sources.mayArrive(source)) {
        return false
      }
      refused(source, 0, "ConnectionRate")
      return true
    },
    isFull,
    join: (host, end) => {
      const source = sourceOf(host)
      const leave = source === exempt ? constVoid : sources.join(source)
      if (leave === undefined) {
        return undefined
      }
      const remove = open.add(host, end)
      return () => {
        leave()
        remove()
      }
    },
    review: open.review,
    isBoxed: sources.isBoxed,
    enter: (source, close) => places.enter(source, close, source === exempt ? undefined : rules().handshakes),
    delay: (key, patience) => (key === exempt ? 0 : sources.delay(key, patience)),
    totalDelay: (patience) => Sources.reserve(total, totalRate, clock(), patience),
    succeeded: sources.succeeded,
    refused,
    report: (reason, address) => {
      Metric.tagged(TransportMetrics.handshakesRefused, "reason", reason).unsafeUpdate(1, [])
      const rule = ruleOf[reason]
      if (rule !== undefined && gate !== undefined) {
        return gate.refused(rule, "source", address, texts[reason])
      }
      boundary.log(LogLevel.Warning, `refused ${reason}`, `closed ${address}: ${texts[reason]}`, { reason })
    }
  }
}

/** What of an admission a wire can do. */
export interface Wire {
  /** Whether it may have connections behind proxies of the PROXY protocol. */
  readonly readsProxyHeaders: boolean
}

/** What is wrong with the sources of an admission, if anything is. */
export const malformed = (sources: SourceOptions): string | undefined =>
  Either.match(SourceRules.compile(sources), { onLeft: (why) => why, onRight: () => undefined })

/** Fails where the sources of an admission can't be used, or not on this wire. */
export const check = (where: ListenOptions, wire: Wire): Effect.Effect<void, BindError> => {
  const refused = (why: string) => Effect.fail(Bind.error(where, "AdmissionRefused", why))
  return where.admission === undefined
    ? Effect.void
    : Either.match(SourceRules.compile(where.admission.gate.sources()), {
        onLeft: refused,
        onRight: ({ hasProxies }) =>
          hasProxies && !wire.readsProxyHeaders
            ? refused("sources.proxyProtocol: this wire reads no headers of proxies")
            : Effect.void
      })
}

/** The admission of a listener, which follows what holds for its sources until the scope closes. */
export const listening = (
  limits: Limits,
  boundary: Boundary,
  where: ListenOptions,
  wire: Wire
): Effect.Effect<Admission, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    yield* check(where, wire)
    const gate = where.admission?.gate
    const admission = make(limits, boundary, undefined, gate)
    const review = () => boundary.guard("callback", "an admission", admission.review, constVoid)
    yield* Effect.acquireRelease(
      Effect.sync(() => gate?.onSources(review) ?? constVoid),
      (stop) => Effect.sync(stop)
    )
    return admission
  })
