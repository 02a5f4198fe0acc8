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
export const now = (clock: Clock.Clock): number =>
  isLive(clock) ? origin + performance.now() : Number(clock.unsafeCurrentTimeNanos()) / 1e6
