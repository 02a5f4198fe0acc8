/**
 * An admission as listeners and programs know it: what `Admission.make` returns.
 *
 * @since 0.1.0
 */
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { AdmissionError, AdmissionOptions, Match } from "./AdmissionRules.js"
import type { Gate } from "./internal/admissionGate.js"

/**
 * What one identity holds.
 *
 * @since 0.1.0
 * @category models
 */
export interface IdentitySnapshot {
  /** The SPIFFE id, else the certificate's fingerprint; without TLS the source. */
  readonly identity: string
  /** The rule that its connections are under; `"identities"` where none matches. */
  readonly rule: string
  readonly connections: number
  /** Calls that run, and that wait. */
  readonly callsInFlight: number
  readonly queued: number
  readonly streams: number
  /** Calls of it that were refused, since it is known. */
  readonly refused: number
}

/**
 * Who holds what, of all listeners of an admission together.
 *
 * @since 0.1.0
 * @category models
 */
export interface Snapshot {
  readonly connections: number
  readonly callsInFlight: number
  /** Calls that wait for their turn. */
  readonly queued: number
  /** The calls in flight that are let in now, by `callsInFlight` or by what adapts it. */
  readonly concurrency: number
  /** What is shed now: 0 nothing, 1 handshakes, 2 calls of `low` priority too, 3 those of `normal`, 4 those of `high`. */
  readonly shedding: number
  /** Whoever holds most calls first. */
  readonly identities: ReadonlyArray<IdentitySnapshot>
}

/**
 * An admission. All listeners that are given the same one share its budgets.
 *
 * @since 0.1.0
 * @category models
 */
export interface AdmissionService {
  /** Who holds what now. */
  readonly inspect: Effect.Effect<Snapshot>
  /** What is in force now. */
  readonly options: Effect.Effect<AdmissionOptions>
  /** What is in force now, and then what comes into force. */
  readonly changes: Stream.Stream<AdmissionOptions>
  /**
   * Puts other options in place of those in force, all at once: connections and calls are counted on, and those that the
   * new ones deny are ended before this returns. Where they are malformed it fails, and nothing changes.
   */
  readonly update: (options: AdmissionOptions) => Effect.Effect<void, AdmissionError>
  /**
   * Ends the connections of whoever matches now, and the calls on them. Returns how many. They may come back: a rule with
   * `deny` keeps them out.
   */
  readonly drop: (match: Match) => Effect.Effect<number, AdmissionError>
  /**
   * What listeners ask.
   *
   * @internal
   */
  readonly gate: Gate
}
