/** The endpoints of several sources together. */
import * as Effect from "effect/Effect"
import type { ConnectError } from "../../../Transport/TransportError.js"
import type { Listed } from "./endpoints.js"
import type { Source } from "./source.js"

/** Tells of endpoints as soon as one source has some, and of a failure once all that have none have failed. */
export const make =
  (sources: ReadonlyArray<Source>): Source =>
  ({ boundary, failed, found }) => {
    const lists: Array<Listed | undefined> = sources.map(() => undefined)
    const errors: Array<ConnectError | undefined> = sources.map(() => undefined)
    return Effect.map(
      Effect.forEach(sources, (source, index) =>
        source({
          boundary,
          found: (list) => {
            lists[index] = list
            errors[index] = undefined
            found(lists.flatMap((list) => [...(list ?? [])]))
          },
          failed: (error) => {
            errors[index] = error
            if (lists.every((list, i) => list !== undefined || errors[i] !== undefined)) {
              failed(error)
            }
          }
        })
      ),
      (running) => ({
        again: () => {
          for (const { again } of running) {
            again()
          }
        }
      })
    )
  }
