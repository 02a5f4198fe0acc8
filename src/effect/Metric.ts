/** What is measured where a `Metric.update` would cost too much: the hook of a metric with its labels, found once. */
import * as Metric from "effect/Metric"
import type * as MetricHook from "effect/MetricHook"
import * as MetricKey from "effect/MetricKey"
import * as MetricLabel from "effect/MetricLabel"

export * from "effect/Metric"

/** What a metric is, by its name: all that have it count as one. */
export type Key =
  | MetricKey.MetricKey.Counter<number>
  | MetricKey.MetricKey.Gauge<number>
  | MetricKey.MetricKey.Histogram

/** One value of a metric, for one set of labels. To update it costs some nanoseconds, and makes nothing. */
export type Hook = Pick<MetricHook.MetricHook<number, unknown>, "update">

/** Labels are part of a metric's identity, and so is their order: it is that of their names. */
export const hook = (key: Key, labels: { readonly [name: string]: string | undefined }): Hook =>
  Metric.globalMetricRegistry.get(
    MetricKey.taggedWithLabels(
      // The types of Effect don't see that keys of all three kinds take numbers.
      key as MetricKey.MetricKey.Histogram,
      Object.entries(labels)
        .flatMap(([name, value]) => (value === undefined ? [] : [MetricLabel.make(name, value)]))
        .sort((a, b) => (a.key < b.key ? -1 : 1))
    )
  )
