/** The age at which a connection is replaced. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { maxTimerMillis } from "./timers.js"

/** An effect that sleeps for longer than a timer can wait never wakes. */
const sleep = (millis: number): Effect.Effect<void> =>
  millis <= maxTimerMillis
    ? Effect.sleep(millis)
    : Effect.zipRight(
        Effect.sleep(maxTimerMillis),
        Effect.suspend(() => sleep(millis - maxTimerMillis))
      )

/**
 * Waits until a connection has the age, give or take a tenth: connections that were made at once are not to be replaced at
 * once.
 *
 * Source: gRFC A9.
 */
export const reached = (age: Duration.Duration): Effect.Effect<void> =>
  Effect.flatMap(Random.nextRange(0.9, 1.1), (jitter) => sleep(Duration.toMillis(age) * jitter))
