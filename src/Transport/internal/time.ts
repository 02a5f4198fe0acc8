import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"

const live = Context.get(DefaultServices.liveServices, Clock.Clock)
const origin = Date.now() - performance.now()

/**
 * Milliseconds since the epoch by a clock that nobody sets: anchored to the system's once, when the process starts.
 * Another clock of the program, as a test's, is taken at its word.
 */
export const now = (clock: Clock.Clock): number =>
  clock === live ? origin + performance.now() : Number(clock.unsafeCurrentTimeNanos()) / 1e6
