import type { TransportName } from "../../shared/transports.js"
import * as Activity from "../Activity.js"
import type * as Tally from "./Tally.js"
import * as Verification from "./Verification.js"

/** The value below which the given part of all values is. */
const percentile = (values: ReadonlyArray<number>, part: number): number => {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.ceil(part * sorted.length) - 1] ?? 0
}

const row = (node: string, activity: Activity.Activity) => ({
  node,
  calls: activity.calls,
  errors: activity.errors,
  retries: activity.attempts - activity.calls,
  p50Millis: percentile(activity.latencies, 0.5),
  p99Millis: percentile(activity.latencies, 0.99),
  bytesSent: activity.sent,
  bytesReceived: activity.received
})

/** How a run ended. This is what `--json` prints. */
export const make = (
  transport: TransportName,
  tally: Tally.Tally,
  ledgers: Verification.Ledgers,
  problems: ReadonlyArray<string>
) => {
  const activities = tally.activities()
  const { invalidProofs, validProofs } = Activity.sum([...activities.values()])
  const all = [...ledgers.values()].flat()
  const wrong = invalidProofs > 0 ? [...problems, `${invalidProofs} proofs of history were found invalid`] : problems
  return {
    ok: wrong.length === 0,
    transport,
    blocks: Verification.hashes(all).size,
    transactions: Verification.transactions(all).size,
    acknowledged: tally.acknowledged.size,
    validProofs,
    problems: wrong,
    nodes: [...activities].map(([name, activity]) => row(name, activity))
  }
}

export type Summary = ReturnType<typeof make>

const bytes = (n: number): string =>
  n < 1_000_000 ? `${(n / 1_000).toFixed(1)} kB` : `${(n / 1_000_000).toFixed(1)} MB`

const table = ({ nodes }: Summary): string => {
  const header = ["node", "calls", "errors", "retries", "p50 ms", "p99 ms", "sent", "received"]
  const rows = nodes.map((row) => [
    row.node,
    String(row.calls),
    String(row.errors),
    String(row.retries),
    row.p50Millis.toFixed(2),
    row.p99Millis.toFixed(2),
    bytes(row.bytesSent),
    bytes(row.bytesReceived)
  ])
  const width = (column: number) => Math.max(...[header, ...rows].map((cells) => cells[column]?.length ?? 0))
  return [header, ...rows]
    .map((cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(width(i)) : cell.padStart(width(i)))).join("  "))
    .join("\n")
}

/** A summary for people. */
export const text = (summary: Summary): string => {
  const { acknowledged, blocks, ok, problems, transactions, validProofs } = summary
  const verdict = ok
    ? [
        `Verified: all nodes hold the same ${blocks} blocks with ${transactions} transactions.`,
        `All ${acknowledged} that were acknowledged are among them: none is lost. ${validProofs} proofs of history are valid.`
      ]
    : ["FAILED:", ...problems.map((problem) => `- ${problem}`)]
  return [table(summary), "", ...verdict].join("\n")
}
