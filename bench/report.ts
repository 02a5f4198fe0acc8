/** Numbers into tables. */
import type { Summary } from "./profile.js"

export const median = (values: ReadonlyArray<number>): number => {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2
}

/** The median, and in brackets the smallest and the largest. */
export const spread = (values: ReadonlyArray<number>, digits = 0): string =>
  values.length === 0
    ? "-"
    : `${number(median(values), digits)} (${number(Math.min(...values), digits)}-${number(Math.max(...values), digits)})`

export const number = (value: number, digits = 0): string =>
  value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })

/** Rows under their heads, as a table of Markdown; the first column is text, the others are numbers. */
export const table = (heads: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = heads.map((head, i) => Math.max(head.length, 3, ...rows.map((row) => row[i]?.length ?? 0)))
  const line = (cells: ReadonlyArray<string>) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join(" | ")} |`
  const rule = widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`))
  return [line(heads), line(rule), ...rows.map(line)].join("\n")
}

/** What costs most of a process, by self time. */
export const profile = (title: string, summary: Summary): string => {
  const lines = (shares: Summary["packages"], count: number) =>
    shares.slice(0, count).map(([name, share]) => `${number(share * 100, 1).padStart(5)} %  ${name}`)
  return `${title}: self time\n${[...lines(summary.packages, 14), "", ...lines(summary.functions, 30)].join("\n")}`
}
