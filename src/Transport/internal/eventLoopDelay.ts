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

/** Transports that measure. */
let users = 0
let timer: NodeJS.Timeout | undefined

const start = () => {
  const lateness = new Float64Array(samples)
  let taken = 0
  let due = performance.now() + periodMillis
  const sample = () => {
    const now = performance.now()
    lateness[taken % samples] = Math.max(0, now - due)
    taken += 1
    due = now + periodMillis
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
