/** A source that is asked again and again: at its own interval, when a connection is lost, and after a pause when it failed. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { ConnectError } from "../../../Transport/TransportError.js"
import type { Listed } from "./endpoints.js"
import type { Source } from "./source.js"

/** What was answered, and for how long that holds, where the answer says so. */
export interface Answer {
  readonly endpoints: Listed
  readonly validMillis?: number | undefined
}

/** However often somebody asks, a resolver is asked no more than once in so long. */
const minGapMillis = 1000

/** The pause after the first failure. It grows up to the interval. */
const firstPauseMillis = 1000
const multiplier = 1.6

/** The longest that an answer may take. */
export const answerTimeout = Duration.seconds(5)

/** Asks until the scope closes. `ask` has to end by itself when it is interrupted. */
export const make =
  (ask: Effect.Effect<Answer, ConnectError>, interval: Duration.Duration, late: () => ConnectError): Source =>
  (sink) =>
    Effect.gen(function* () {
      let isAsked = false
      let wake = constVoid
      const asked = Effect.async<void>((resume) => {
        if (isAsked) {
          return resume(Effect.void)
        }
        wake = () => resume(Effect.void)
        return Effect.sync(() => {
          wake = constVoid
        })
      })
      const bounded = Effect.timeoutFail(ask, { duration: answerTimeout, onTimeout: late })
      const round = (failures: number): Effect.Effect<never> =>
        Effect.suspend(() => {
          const since = performance.now()
          isAsked = false
          return Effect.matchEffect(bounded, {
            onFailure: (error) => {
              sink.failed(error)
              const pause = Math.min(
                Duration.toMillis(interval),
                firstPauseMillis * multiplier ** Math.min(failures, 32)
              )
              return next(since, pause, failures + 1)
            },
            onSuccess: ({ endpoints, validMillis = Number.POSITIVE_INFINITY }) => {
              sink.found(endpoints)
              return next(since, Math.min(Duration.toMillis(interval), validMillis), 0)
            }
          })
        })
      const next = (since: number, pause: number, failures: number): Effect.Effect<never> =>
        Effect.raceFirst(Effect.sleep(Math.max(minGapMillis, pause)), asked).pipe(
          Effect.zipRight(Effect.suspend(() => Effect.sleep(Math.max(0, since + minGapMillis - performance.now())))),
          Effect.zipRight(Effect.suspend(() => round(failures)))
        )
      yield* Effect.forkScoped(Effect.interruptible(round(0)))
      return {
        again: () => {
          isAsked = true
          wake()
        }
      }
    })
