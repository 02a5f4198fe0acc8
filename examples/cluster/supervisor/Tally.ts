import * as Activity from "../Activity.js"
import type { NodeEvent } from "../protocol.js"

/** What has been heard of the nodes. It outlives them: a node that was killed is counted with its successor. */
export interface Tally {
  readonly acknowledged: ReadonlySet<string>
  readonly validProofs: () => number
  readonly activities: () => ReadonlyMap<string, Activity.Activity>
  readonly hear: (name: string, event: NodeEvent) => void
}

export const make = (names: ReadonlyArray<string>): Tally => {
  const acknowledged = new Set<string>()
  const reports = new Map(names.map((name) => [name, [] as Activity.Activity[]]))
  let validProofs = 0
  return {
    acknowledged,
    validProofs: () => validProofs,
    activities: () => new Map([...reports].map(([name, activities]) => [name, Activity.sum(activities)])),
    hear: (name, event) => {
      switch (event._tag) {
        case "Acknowledged":
          for (const txId of event.txIds) {
            acknowledged.add(txId)
          }
          break
        case "Report":
          reports.get(name)?.push(event.activity)
          validProofs += event.activity.validProofs
          break
      }
    }
  }
}
