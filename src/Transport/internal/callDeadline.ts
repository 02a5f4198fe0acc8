/** The deadline of a call, for what is done around it before and between what is sent. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Fiber from "../../effect/Fiber.js"
import { DeadlineExceeded } from "../TransportError.js"
import * as Time from "./time.js"
import type { Where } from "./where.js"

interface Due extends Where {
  readonly deadline: number
}

/** More is more than a timer of Node holds, which would fire at once. */
const maxTimerMillis = 2 ** 31 - 1

export const passed = ({ method, peer }: Where): DeadlineExceeded =>
  new DeadlineExceeded({ message: "the deadline passed", method, peer })

/** Calls `f` after so many milliseconds by a fiber's clock, unless it is told not to. */
export const after = (millis: number, f: () => void, fiber: Fiber.RuntimeFiber<unknown, unknown>): (() => void) => {
  if (!(millis <= maxTimerMillis)) {
    return () => {}
  }
  if (Time.isLive(Fiber.clockOf(fiber))) {
    const timer = setTimeout(f, Math.max(0, millis))
    return () => clearTimeout(timer)
  }
  const sleeping = Fiber.startUnsafe(Effect.zipRight(Effect.sleep(millis), Effect.sync(f)), fiber)
  return () => Fiber.interruptUnsafe(sleeping)
}

/**
 * An effect, or the failure of a call whose deadline passes before it has ended: it is interrupted then, and not waited for.
 * Costs a third of `Effect.timeoutFail`, which runs both in fibers that are scheduled, and little where the effect ends at
 * once.
 */
export const until = <A, E, R>(effect: Effect.Effect<A, E, R>, due: Due): Effect.Effect<A, E | DeadlineExceeded, R> =>
  Effect.withFiberRuntime<A, E | DeadlineExceeded, R>((fiber) =>
    Effect.async((resume) => {
      // The references of the fiber have what it requires.
      const child = Fiber.startUnsafe(effect as Effect.Effect<A, E>, fiber)
      const ended = Fiber.pollUnsafe(child)
      if (ended !== undefined) {
        return resume(ended)
      }
      const onDeadline = () => {
        Fiber.interruptUnsafe(child)
        resume(passed(due))
      }
      const stop = after(due.deadline - Time.now(Fiber.clockOf(fiber)), onDeadline, fiber)
      child.addObserver((exit) => {
        stop()
        resume(exit)
      })
      return Effect.suspend(() => {
        stop()
        return Fiber.interrupt(child)
      })
    })
  )

/** The same of a stream. */
export const untilOf = <A, E, R>(stream: Stream.Stream<A, E, R>, due: Due): Stream.Stream<A, E | DeadlineExceeded, R> =>
  Stream.unwrap(
    Effect.clockWith((clock) => {
      const end = Effect.delay(
        Effect.suspend(() => passed(due)),
        Duration.millis(Math.max(0, due.deadline - Time.now(clock)))
      )
      return Effect.succeed(Number.isFinite(due.deadline) ? Stream.interruptWhen(stream, end) : stream)
    })
  )
