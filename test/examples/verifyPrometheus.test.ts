import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricKey from "effect/MetricKey"
import * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"
import { format } from "../../examples/verify/prometheus.js"

/** The lines of what Effect's own registry has under names with the prefix. */
const formatted = (prefix: string) =>
  Effect.map(Metric.snapshot, (all) =>
    format(all.filter(({ metricKey }) => metricKey.name.startsWith(prefix)))
      .trimEnd()
      .split("\n")
  )

describe("Prometheus text", () => {
  it("is nothing for no metrics", () => {
    expect(format([])).toBe("")
  })

  it.effect("has counters that end in _total, and gauges", () =>
    Effect.gen(function* () {
      const counter = Metric.counter("pt1_calls", { description: "Calls\nof a \\ peer", incremental: true })
      yield* Metric.incrementBy(Metric.tagged(counter, "peer", 'a "b"\n\\c'), 3)
      yield* Metric.increment(Metric.tagged(counter, "peer", "d"))
      yield* Metric.set(Metric.gauge("pt1_in_flight"), 1.5)
      yield* Metric.increment(Metric.counter("pt1_balance"))
      yield* Metric.incrementBy(Metric.counter("pt1_bytes_total", { bigint: true, incremental: true }), 2n ** 63n)
      const lines = yield* formatted("pt1_")
      expect(lines.slice(0, 6)).toEqual([
        "# TYPE pt1_balance gauge",
        "pt1_balance 1",
        "# TYPE pt1_bytes_total counter",
        "pt1_bytes_total 9223372036854775808",
        "# HELP pt1_calls_total Calls\\nof a \\\\ peer",
        "# TYPE pt1_calls_total counter"
      ])
      expect(lines.slice(6, 8).sort()).toEqual([
        'pt1_calls_total{peer="a \\"b\\"\\n\\\\c"} 3',
        'pt1_calls_total{peer="d"} 1'
      ])
      expect(lines.slice(8)).toEqual(["# TYPE pt1_in_flight gauge", "pt1_in_flight 1.5"])
    })
  )

  it.effect("has histograms with cumulated buckets up to +Inf", () =>
    Effect.gen(function* () {
      const histogram = Metric.histogram("pt2_seconds", MetricBoundaries.fromIterable([0.1, 1]), "How long")
      const tagged = Metric.tagged(histogram, "transport", "grpc")
      for (const value of [0.05, 0.1, 0.5, 7]) {
        yield* Metric.update(tagged, value)
      }
      expect(yield* formatted("pt2_")).toEqual([
        "# HELP pt2_seconds How long",
        "# TYPE pt2_seconds histogram",
        'pt2_seconds_bucket{transport="grpc",le="0.1"} 2',
        'pt2_seconds_bucket{transport="grpc",le="1"} 3',
        'pt2_seconds_bucket{transport="grpc",le="+Inf"} 4',
        'pt2_seconds_sum{transport="grpc"} 7.65',
        'pt2_seconds_count{transport="grpc"} 4'
      ])
    })
  )

  it.effect("has summaries, whose quantiles are not numbers where nothing was measured", () =>
    Effect.gen(function* () {
      const summary = Metric.summary({
        name: "pt3_size",
        maxAge: Duration.days(1),
        maxSize: 10,
        error: 0,
        quantiles: [0.5, 1]
      })
      yield* Metric.update(summary, 4)
      expect(yield* formatted("pt3_")).toEqual([
        "# TYPE pt3_size summary",
        'pt3_size{quantile="0.5"} 4',
        'pt3_size{quantile="1"} 4',
        "pt3_size_sum 4",
        "pt3_size_count 1"
      ])
      const key = MetricKey.summary({ name: "none", maxAge: Duration.days(1), maxSize: 1, error: 0, quantiles: [0.5] })
      const empty = MetricState.summary({
        error: 0,
        quantiles: [[0.5, Option.none()]],
        count: 0,
        min: 0,
        max: 0,
        sum: 0
      })
      expect(format([MetricPair.unsafeMake(key, empty)])).toContain('none{quantile="0.5"} NaN\n')
    })
  )

  it.effect("has frequencies as a counter by key", () =>
    Effect.gen(function* () {
      yield* Metric.update(Metric.frequency("pt4_tags"), "Unavailable")
      expect(yield* formatted("pt4_")).toEqual(["# TYPE pt4_tags_total counter", 'pt4_tags_total{key="Unavailable"} 1'])
    })
  )

  it.effect("has names that Prometheus takes, and one type for each", () =>
    Effect.gen(function* () {
      yield* Metric.set(Metric.tagged(Metric.gauge("pt5.queue-size"), "9 lives", "x"), Number.NEGATIVE_INFINITY)
      yield* Metric.set(Metric.gauge("pt5_total"), 1)
      yield* Metric.increment(Metric.counter("pt5", { incremental: true }))
      const lines = yield* formatted("pt5")
      expect(lines).toContain('pt5_queue_size{_9_lives="x"} -Inf')
      const types = lines.filter((line) => line.startsWith("# TYPE")).map((line) => line.split(" ")[2])
      expect(new Set(types).size).toBe(types.length)
    })
  )
})
