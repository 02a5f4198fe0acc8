/** Endpoints from a stream of lists. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Stream from "effect/Stream"
import { escapeText } from "../../../Transport/internal/boundary.js"
import * as Unreachable from "../../../Transport/internal/unreachable.js"
import type { Listed } from "./endpoints.js"
import type { Running, Source } from "./source.js"

const firstPauseMillis = 1000
const maxPauseMillis = 30_000

const noQuestions: Running = { again: () => undefined }

/**
 * Follows a stream until the scope closes. The last list stays when the stream ends. One that fails or dies is run again
 * after a pause, and the last list stays meanwhile.
 */
export const make =
  <E>(lists: Stream.Stream<Listed, E>, label: string): Source =>
  (sink) => {
    let failures = 0
    const run: Effect.Effect<void> = Effect.suspend(() =>
      Stream.runForEach(lists, (list) =>
        Effect.sync(() => {
          failures = 0
          sink.found(list)
        })
      )
    ).pipe(
      Effect.catchAllCause((cause) => {
        const error = Unreachable.unreachable(label, Cause.squash(cause))
        const pause = Math.min(maxPauseMillis, firstPauseMillis * 2 ** Math.min(failures, 16))
        failures += 1
        sink.failed(error)
        sink.boundary.log(
          LogLevel.Warning,
          "discovery-stream",
          `the endpoints of ${escapeText(label)} can't be followed: ${escapeText(error.message)}; trying again in ${pause} ms`
        )
        return Effect.zipRight(Effect.sleep(pause), run)
      })
    )
    return Effect.as(Effect.forkScoped(Effect.interruptible(run)), noQuestions)
  }

/** A source that has failed for good. */
export const constantFailure: Effect.Effect<Running> = Effect.succeed(noQuestions)

/** Lists that never change. */
export const constant =
  (list: Listed): Source =>
  (sink) =>
    Effect.sync(() => {
      sink.found(list)
      return noQuestions
    })
