/** Round trips as a plot for terminals. */
import type { Bar } from "../bench/histogram.js"

const levels = "▁▂▃▄▅▆▇█"

/** The last of some values, each as a bar between nothing and the largest; what is undefined was lost. */
export const sparkline = (values: ReadonlyArray<number | undefined>, width: number): string => {
  const last = values.slice(-width)
  const most = Math.max(...last.map((value) => value ?? 0), Number.MIN_VALUE)
  return last
    .map((value) =>
      value === undefined ? "x" : levels[Math.min(levels.length - 1, Math.floor((value / most) * levels.length))]
    )
    .join("")
}

/** How many took how long, the most frequent as wide as `width`. */
export const bars = (all: ReadonlyArray<Bar>, width: number): string => {
  const most = Math.max(...all.map(({ count }) => count), 1)
  const bound = ({ upToMillis }: Bar) => `<= ${upToMillis} ms`
  const widest = Math.max(...all.map((bar) => bound(bar).length), 0)
  return all
    .map((bar) => `  ${bound(bar).padStart(widest)}  ${"█".repeat(Math.ceil((bar.count / most) * width))} ${bar.count}`)
    .join("\n")
}
