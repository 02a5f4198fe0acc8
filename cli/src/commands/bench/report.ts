/** What `bench` has measured, as text. */
import { columns } from "../../shared/text.js"
import type { Bar, Summary } from "./histogram.js"

export interface Report {
  readonly target: string
  readonly wire: string
  readonly call: string
  readonly rate?: number
  readonly concurrency: number
  readonly seconds: number
  readonly calls: number
  readonly callsPerSecond: number
  readonly errors: { readonly [tag: string]: number }
  readonly latencyMillis: Summary
  readonly histogram: ReadonlyArray<Bar>
}

const barWidth = 40

const bars = (all: ReadonlyArray<Bar>): string => {
  const most = Math.max(...all.map(({ count }) => count), 1)
  return columns(
    all.map(({ count, upToMillis }) => [
      `  <= ${upToMillis} ms`,
      String(count),
      "#".repeat(Math.ceil((count / most) * barWidth))
    ])
  )
}

/** As lines of text. */
export const report = (all: Report): string => {
  const { call, calls, callsPerSecond, concurrency, errors, histogram, latencyMillis, rate, seconds, target, wire } =
    all
  const how = rate === undefined ? `${concurrency} at a time` : `${rate} a second`
  const failed = Object.entries(errors).map(([tag, count]) => `${count} ${tag}`)
  const { max, mean, min, p50, p90, p99, p999 } = latencyMillis
  return [
    `${call} of ${target} over ${wire}, ${how}, for ${seconds} s`,
    `${calls} calls, ${callsPerSecond} answers a second${failed.length === 0 ? "" : `, failed: ${failed.join(", ")}`}`,
    ...(latencyMillis.count === 0
      ? []
      : [`min ${min}  mean ${mean}  p50 ${p50}  p90 ${p90}  p99 ${p99}  p99.9 ${p999}  max ${max} ms`, bars(histogram)])
  ].join("\n")
}
