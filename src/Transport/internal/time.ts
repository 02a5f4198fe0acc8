/** The time of calls, which a change of the system's clock does not move. */
import type * as Clock from "effect/Clock"
import * as Fiber from "../../effect/Fiber.js"

const origin = Date.now() - performance.now()

/** Whether a clock is the system's. */
export const isLive = (clock: Clock.Clock): boolean => clock === Fiber.liveClock

/**
 * Milliseconds since the epoch by a clock that nobody sets: anchored to the system's once, when the process starts.
 * Another clock of the program, as a test's, is taken at its word.
 */
export const now = (clock: Clock.Clock): number => (isLive(clock) ? origin + performance.now() : ofOther(clock))

const ofOther = (clock: Clock.Clock): number => {
  try {
    return Number(clock.unsafeCurrentTimeNanos()) / 1e6
  } catch {
    // `TestClock` can't tell it after a sleep of anything but whole nanoseconds, as most fractions of a millisecond are.
    return clock.unsafeCurrentTimeMillis()
  }
}
