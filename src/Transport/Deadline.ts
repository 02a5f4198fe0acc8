/**
 * Deadlines: the moment after which nobody waits for a call's answer.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Time from "./internal/time.js"

/**
 * Milliseconds since the epoch by the program's `Clock`, or `Infinity` for none. The system's clock is looked at once, when
 * the process starts, and counted on from there: setting it later moves no deadline.
 *
 * @since 0.1.0
 * @category models
 */
export type Deadline = number

/**
 * No deadline.
 *
 * @since 0.1.0
 * @category constructors
 */
export const none: Deadline = Number.POSITIVE_INFINITY

/**
 * The deadline that a timeout sets when counted from `now`, in milliseconds since the epoch. An infinite timeout gives
 * `none`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const after: {
  (timeout: Duration.DurationInput): (now: number) => Deadline
  (now: number, timeout: Duration.DurationInput): Deadline
} = dual(2, (now: number, timeout: Duration.DurationInput): Deadline => now + Duration.toMillis(timeout))

/**
 * The earlier of two.
 *
 * @since 0.1.0
 * @category combinators
 */
export const min: {
  (that: Deadline): (self: Deadline) => Deadline
  (self: Deadline, that: Deadline): Deadline
} = dual(2, (self: Deadline, that: Deadline): Deadline => Math.min(self, that))

/**
 * The time left, zero when the deadline has passed.
 *
 * @since 0.1.0
 * @category getters
 */
export const remaining = (self: Deadline): Effect.Effect<Duration.Duration> =>
  Effect.clockWith((clock) => Effect.succeed(Duration.millis(Math.max(0, self - Time.now(clock)))))
