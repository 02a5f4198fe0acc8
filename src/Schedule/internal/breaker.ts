/** The states of a circuit breaker and how they follow each other: from calls and the time, without effects. */
import * as RollingWindow from "./rollingWindow.js"

export interface Settings {
  readonly failureRate: number
  readonly minimumCalls: number
  readonly slowerThanMillis: number
  readonly slowRate: number
  readonly openMillis: number
  readonly maxOpenMillis: number
  readonly probes: number
}

export type State =
  | { readonly _tag: "Closed" }
  | { readonly _tag: "Open"; readonly until: number }
  | { readonly _tag: "HalfOpen" }

/** What a call may do; of one that may, to be handed back with how it ended. */
export type Admission =
  | { readonly _tag: "Admitted"; readonly generation: number }
  | { readonly _tag: "Refused"; readonly waitMillis: number }

/** Nothing is known of a call that was given up. */
export type Outcome = "succeeded" | "failed" | "unknown"

/** All times are in milliseconds. */
export interface Breaker {
  readonly state: () => State
  readonly admit: (now: number) => Admission
  readonly ended: (now: number, generation: number, outcome: Outcome, millis: number) => void
}

const closed: State = { _tag: "Closed" }
const halfOpen: State = { _tag: "HalfOpen" }

export const make = (settings: Settings, windowMillis: number): Breaker => {
  const counts = RollingWindow.make(windowMillis, ["calls", "failures", "slow"])
  let state: State = closed
  /** Counts the states: what began in an earlier one says nothing of this one. */
  let generation = 0
  /** Openings since it was last closed. */
  let openings = 0
  let probing = 0
  let passed = 0
  let probesEnd = 0

  const enter = (next: State) => {
    state = next
    generation += 1
    probing = 0
    passed = 0
  }

  const openMillis = () =>
    Math.min(settings.openMillis * 2 ** (openings - 1), Math.max(settings.openMillis, settings.maxOpenMillis))

  const open = (now: number) => {
    openings += 1
    enter({ _tag: "Open", until: now + openMillis() })
  }

  const close = () => {
    openings = 0
    counts.clear()
    enter(closed)
  }

  const probe = (now: number): Admission => {
    if (probing + passed >= settings.probes) {
      if (now < probesEnd) {
        return { _tag: "Refused", waitMillis: 0 }
      }
      // Probes that hang don't keep it half-open for ever.
      enter(halfOpen)
    }
    if (probing === 0 && passed === 0) {
      probesEnd = now + settings.openMillis
    }
    probing += 1
    return { _tag: "Admitted", generation }
  }

  const openIfFailing = (now: number) => {
    const calls = counts.sum(now, "calls")
    if (
      calls >= settings.minimumCalls &&
      (counts.sum(now, "failures") >= settings.failureRate * calls ||
        counts.sum(now, "slow") >= settings.slowRate * calls)
    ) {
      open(now)
    }
  }

  return {
    state: () => state,
    admit: (now) => {
      if (state._tag === "Closed") {
        return { _tag: "Admitted", generation }
      }
      if (state._tag === "Open") {
        if (now < state.until) {
          return { _tag: "Refused", waitMillis: state.until - now }
        }
        enter(halfOpen)
      }
      return probe(now)
    },
    ended: (now, of, outcome, millis) => {
      if (of !== generation) {
        return
      }
      const isSlow = millis > settings.slowerThanMillis
      if (state._tag === "HalfOpen") {
        probing -= 1
        if (outcome === "failed" || (outcome === "succeeded" && isSlow)) {
          open(now)
        } else if (outcome === "succeeded") {
          passed += 1
          if (passed >= settings.probes) {
            close()
          }
        }
      } else if (state._tag === "Closed" && outcome !== "unknown") {
        counts.add(now, "calls")
        if (outcome === "failed") {
          counts.add(now, "failures")
        }
        if (isSlow) {
          counts.add(now, "slow")
        }
        openIfFailing(now)
      }
    }
  }
}
