/** How late the event loop is, as gauges: what holds it holds every call of the process. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Metric from "../../effect/Metric.js"
import * as Keys from "./metricKeys.js"

/** How often it is measured, how many of the last measurements count, and how many make up a second. */
const periodMillis = 50
const samples = 200
const samplesInSecond = 1000 / periodMillis

const gauges = [
  [0.5, Metric.hook(Keys.eventLoopDelayP50, { unit: "s" })],
  [0.9, Metric.hook(Keys.eventLoopDelayP90, { unit: "s" })],
  [0.99, Metric.hook(Keys.eventLoopDelayP99, { unit: "s" })],
  [1, Metric.hook(Keys.eventLoopDelayMax, { unit: "s" })]
] as const

/** Transports and admissions that measure. */
let users = 0
let timer: NodeJS.Timeout | undefined

/** Milliseconds of each of the last half second's measurements. */
const recent = new Float64Array(samplesInSecond / 2)

/** Called with each measurement. */
const watchers = new Set<(standing: number) => void>()

const start = () => {
  const lateness = new Float64Array(samples)
  let taken = 0
  let due = performance.now() + periodMillis
  recent.fill(0)
  const sample = () => {
    const now = performance.now()
    const late = Math.max(0, now - due)
    lateness[taken % samples] = late
    recent[taken % recent.length] = late
    taken += 1
    due = now + periodMillis
    const standing = Math.min(...recent)
    for (const watcher of [...watchers]) {
      watcher(standing)
    }
    if (taken % samplesInSecond === 0) {
      const sorted = lateness.slice(0, Math.min(taken, samples)).sort()
      for (const [quantile, gauge] of gauges) {
        gauge.update((sorted[Math.ceil(quantile * sorted.length) - 1] ?? 0) / 1000)
      }
    }
  }
  timer = setInterval(sample, periodMillis)
  timer.unref()
}

const acquire = Effect.sync(() => {
  users += 1
  if (users === 1) {
    start()
  }
})

const release = Effect.sync(() => {
  users -= 1
  if (users === 0) {
    clearInterval(timer)
  }
})

/** Measures for as long as the scope of one of its users is open, if metrics are on. */
export const whileOpen = (isOn = true): Effect.Effect<void, never, Scope.Scope> =>
  isOn ? Effect.acquireRelease(acquire, () => release) : Effect.void

/**
 * Calls `f` twenty times a second, until the scope closes, with the milliseconds that every one of the last half second's
 * measurements was late by at least: what one long piece of work makes late is over after it, and what more work than time
 * makes late stays. `f` does not throw.
 *
 * Source: CoDel (RFC 8289, section 3.1), which tells a standing queue by the minimum over an interval.
 */
export const watch = (f: (standing: number) => void): Effect.Effect<void, never, Scope.Scope> =>
  Effect.zipRight(
    whileOpen(),
    Effect.acquireRelease(
      Effect.sync(() => watchers.add(f)),
      () => Effect.sync(() => watchers.delete(f))
    )
  )
