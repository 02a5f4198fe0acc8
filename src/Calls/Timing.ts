/** The time by which calls end: a port, so that a test, or a network that is simulated, can bring its own. */
import type * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Runtime from "effect/Runtime"
import * as Fiber from "../effect/Fiber.js"
import * as Time from "../Transport/internal/time.js"
import * as Timers from "../Transport/internal/timers.js"

export interface Timing {
  /** Milliseconds from some point on. Nobody sets this clock. */
  readonly now: () => number
  /** Calls `f` after so many milliseconds, which may be infinite. Returns a function that stops that. */
  readonly after: (millis: number, f: () => void) => () => void
}

/** Node's timers: the fast implementation. */
export const node: Timing = { now: () => performance.now(), after: Timers.after }

/** The time of a clock of Effect: Node's timers where it is the live one. */
export const ofClock = (clock: Clock.Clock): Timing =>
  Time.isLive(clock)
    ? node
    : {
        now: () => Number(clock.unsafeCurrentTimeNanos()) / 1e6,
        after: (millis, f) => {
          const fiber = Runtime.runFork(Runtime.defaultRuntime)(
            Effect.zipRight(clock.sleep(Duration.millis(millis)), Effect.sync(f))
          )
          return () => {
            Fiber.interruptUnsafe(fiber)
          }
        }
      }
