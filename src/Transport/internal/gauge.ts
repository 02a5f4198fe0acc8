/** Gauges that callbacks can add to. */
import * as Effect from "effect/Effect"
import type * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"

/** A gauge as a plain number to add to, for code between callbacks. Gauges of one process add up. */
const totals = new WeakMap<object, number>()

export const add = (gauge: Metric.Metric.Gauge<number>, n: number): void => {
  const total = (totals.get(gauge) ?? 0) + n
  totals.set(gauge, total)
  gauge.unsafeUpdate(total, [])
}

/** Counts one for as long as the scope is open. */
export const whileOpen = (gauge: Metric.Metric.Gauge<number>): Effect.Effect<void, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => add(gauge, 1)),
    () => Effect.sync(() => add(gauge, -1))
  )
