/** Requests of a stream that may be sent to another endpoint: as long as nothing of them is used up. */
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"

export interface Repeatable<A, E> {
  readonly requests: Stream.Stream<A, E>
  readonly mayRepeat: () => boolean
}

/**
 * Where only the answers stream there is one request: it is kept, and may be sent again although it was taken. All others may be as long as nobody has asked
 * for the first.
 */
export const make = <A, E>(requests: Stream.Stream<A, E>, isOne: boolean): Repeatable<A, E> => {
  let isTaken = false
  let kept: { readonly request: A } | undefined
  return {
    mayRepeat: () => !isTaken || kept !== undefined,
    requests: Stream.suspend(() => {
      if (kept !== undefined) {
        return Stream.succeed(kept.request)
      }
      isTaken = true
      return isOne
        ? Stream.tap(requests, (request) =>
            Effect.sync(() => {
              kept = { request }
            })
          )
        : requests
    })
  }
}
