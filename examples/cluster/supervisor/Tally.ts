import * as Activity from "../Activity.js"
import type { NodeEvent } from "../protocol.js"

/** What has been heard of the nodes. It outlives them: a node that was killed is counted with its successor. */
export interface Tally {
  readonly acknowledged: ReadonlySet<string>
  readonly activities: ReadonlyMap<string, Activity.Activity>
  readonly hear: (name: string, event: NodeEvent) => void
}

export const make = (names: ReadonlyArray<string>): Tally => {
  const acknowledged = new Set<string>()
  const activities = new Map(names.map((name) => [name, Activity.none]))
  return {
    acknowledged,
    activities,
    hear: (name, event) => {
      switch (event._tag) {
        case "Acknowledged":
          for (const txId of event.txIds) {
            acknowledged.add(txId)
          }
          break
        case "Report":
          activities.set(name, Activity.add(activities.get(name) ?? Activity.none, event.activity))
          break
      }
    }
  }
}

export const total = ({ activities }: Tally): Activity.Activity =>
  [...activities.values()].reduce(Activity.add, Activity.none)
