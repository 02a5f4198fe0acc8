import type * as MetricKey from "effect/MetricKey"
import * as MetricKeyType from "effect/MetricKeyType"
import type * as MetricPair from "effect/MetricPair"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

type Labels = ReadonlyArray<readonly [name: string, value: string]>

interface Sample {
  readonly suffix: string
  readonly labels: Labels
  readonly value: number | bigint
}

interface Family {
  readonly name: string
  readonly type: "counter" | "gauge" | "histogram" | "summary"
  readonly help: string
  readonly lines: Array<string>
}

/** The media type of what `format` gives. */
export const contentType = "text/plain; version=0.0.4; charset=utf-8"

const sanitize = (name: string, allowed: RegExp) => {
  const clean = name.replace(allowed, "_")
  return /^[0-9]/.test(clean) || clean === "" ? `_${clean}` : clean
}

const metricName = (name: string) => sanitize(name, /[^a-zA-Z0-9_:]/g)

const labelName = (name: string) => sanitize(name, /[^a-zA-Z0-9_]/g)

const escapeHelp = (text: string) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")

const escapeLabel = (text: string) => escapeHelp(text).replaceAll('"', '\\"')

const number = (value: number | bigint) =>
  value === Number.POSITIVE_INFINITY ? "+Inf" : value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value)

const typeOf = (key: MetricKey.MetricKey.Untyped): Family["type"] =>
  MetricKeyType.isHistogramKey(key.keyType)
    ? "histogram"
    : MetricKeyType.isSummaryKey(key.keyType)
      ? "summary"
      : MetricKeyType.isFrequencyKey(key.keyType) ||
          (MetricKeyType.isCounterKey(key.keyType) && key.keyType.incremental)
        ? "counter"
        : "gauge"

const samples = (state: MetricState.MetricState.Untyped): ReadonlyArray<Sample> => {
  if (MetricState.isHistogramState(state)) {
    return [
      ...state.buckets.map(([bound, count]) => ({
        suffix: "_bucket",
        labels: [["le", number(bound)]] as const,
        value: count
      })),
      { suffix: "_sum", labels: [], value: state.sum },
      { suffix: "_count", labels: [], value: state.count }
    ]
  }
  if (MetricState.isSummaryState(state)) {
    return [
      ...state.quantiles.map(([quantile, value]) => ({
        suffix: "",
        labels: [["quantile", number(quantile)]] as const,
        value: Option.getOrElse(value, () => Number.NaN)
      })),
      { suffix: "_sum", labels: [], value: state.sum },
      { suffix: "_count", labels: [], value: state.count }
    ]
  }
  if (MetricState.isFrequencyState(state)) {
    return [...state.occurrences].map(([key, count]) => ({ suffix: "", labels: [["key", key]] as const, value: count }))
  }
  if (MetricState.isCounterState(state)) {
    return [{ suffix: "", labels: [], value: state.count }]
  }
  return MetricState.isGaugeState(state) ? [{ suffix: "", labels: [], value: state.value }] : []
}

const line = (name: string, labels: Labels, value: number | bigint) => {
  const text = labels.map(([key, value]) => `${labelName(key)}="${escapeLabel(value)}"`).join(",")
  return `${name}${text === "" ? "" : `{${text}}`} ${number(value)}`
}

/**
 * Effect's metrics as Prometheus text, families in the order of their names. Counters that can only grow end in
 * `_total`; those that can shrink are gauges to Prometheus.
 *
 * Source: "Exposition formats" of Prometheus, version 0.0.4.
 */
export const format = (metrics: ReadonlyArray<MetricPair.MetricPair.Untyped>): string => {
  const families = new Map<string, Family>()
  for (const { metricKey, metricState } of metrics) {
    const type = typeOf(metricKey)
    const base = metricName(metricKey.name)
    const wanted = type === "counter" && !base.endsWith("_total") ? `${base}_total` : base
    // Effect tells metrics of one name apart by their type, Prometheus does not.
    const taken = families.get(wanted)
    const name = taken !== undefined && taken.type !== type ? `${wanted}_${type}` : wanted
    const family = families.get(name) ?? {
      name,
      type,
      help: Option.getOrElse(metricKey.description, () => ""),
      lines: []
    }
    families.set(name, family)
    const tags = metricKey.tags.map(({ key, value }) => [key, value] as const)
    for (const { labels, suffix, value } of samples(metricState)) {
      family.lines.push(line(`${name}${suffix}`, [...tags, ...labels], value))
    }
  }
  return [...families.values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ help, lines, name, type }) =>
      [...(help === "" ? [] : [`# HELP ${name} ${escapeHelp(help)}`]), `# TYPE ${name} ${type}`, ...lines, ""].join(
        "\n"
      )
    )
    .join("")
}
