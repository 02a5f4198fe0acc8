import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import { pipe } from "effect/Function"
import * as TestClock from "effect/TestClock"
import { Deadline } from "effect-transport"

const millis = FastCheck.integer({ min: 0, max: 10 ** 9 })

describe("Deadline", () => {
  it.prop("is the timeout after now", [millis, millis], ([now, timeout]) => {
    expect(Deadline.after(now, timeout)).toBe(now + timeout)
    expect(Deadline.after(now, Duration.millis(timeout))).toBe(now + timeout)
  })

  it.prop("reads the same in a pipe", [millis, millis, millis], ([now, timeout, other]) => {
    expect(pipe(now, Deadline.after(timeout), Deadline.min(other))).toBe(Math.min(now + timeout, other))
  })

  it("is none after an infinite timeout", () => {
    expect(Deadline.after(1000, Duration.infinity)).toBe(Deadline.none)
    expect(Deadline.min(Deadline.none, 5)).toBe(5)
    expect(Deadline.min(3, Deadline.none)).toBe(3)
  })

  it.effect("leaves less as time passes, and never less than nothing", () =>
    Effect.gen(function* () {
      const deadline = Deadline.after(0, "10 seconds")
      expect(Duration.toMillis(yield* Deadline.remaining(deadline))).toBe(10_000)
      yield* TestClock.adjust("4 seconds")
      expect(Duration.toMillis(yield* Deadline.remaining(deadline))).toBe(6_000)
      yield* TestClock.adjust("7 seconds")
      expect(Duration.toMillis(yield* Deadline.remaining(deadline))).toBe(0)
      expect(Duration.toMillis(yield* Deadline.remaining(Deadline.none))).toBe(Number.POSITIVE_INFINITY)
    })
  )
})
