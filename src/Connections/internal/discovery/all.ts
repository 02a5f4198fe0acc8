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
    /** Until then each of thousands of targets would have the list of all made anew. */
    let isStarted = false

    const tellFound = () => {
      if (isStarted && lists.some((list) => list !== undefined)) {
        found(lists.flatMap((list) => [...(list ?? [])]))
      }
    }

    const tellFailed = (error: ConnectError | undefined) => {
      if (isStarted && error !== undefined && lists.every((list, i) => list !== undefined || errors[i] !== undefined)) {
        failed(error)
      }
    }

    return Effect.map(
      Effect.forEach(sources, (source, index) =>
        source({
          boundary,
          found: (list) => {
            lists[index] = list
            errors[index] = undefined
            tellFound()
          },
          failed: (error) => {
            errors[index] = error
            tellFailed(error)
          }
        })
      ).pipe(
        Effect.tap(() =>
          Effect.sync(() => {
            isStarted = true
            tellFound()
            tellFailed(errors.findLast((error) => error !== undefined))
          })
        )
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
