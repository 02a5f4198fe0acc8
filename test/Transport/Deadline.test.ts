import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
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

describe("Deadline.split", () => {
  it.effect("gives steps equal parts of the time left, or parts by weight", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("1 second")
      expect(yield* Deadline.split(10_000, 3)).toEqual([4000, 7000, 10_000])
      expect(yield* pipe(9_000, Deadline.split([1, 2, 5]))).toEqual([2000, 4000, 9000])
      const [first, second]: readonly [number, number] = yield* Deadline.split(5_000, [0, 1])
      expect([first, second]).toEqual([1000, 5000])
      yield* TestClock.adjust("20 seconds")
      expect(yield* Deadline.split(10_000, 2)).toEqual([10_000, 10_000])
    })
  )

  it.effect.prop(
    "never goes back, never ends later than the whole, and ends with it",
    {
      now: FastCheck.integer({ min: 0, max: 10 ** 6 }),
      deadline: FastCheck.oneof(
        FastCheck.double({ min: 0, max: 10 ** 7, noNaN: true }),
        FastCheck.constant(Deadline.none)
      ),
      weights: FastCheck.array(FastCheck.double(), { minLength: 1, maxLength: 10 })
    },
    ({ deadline, now, weights }) =>
      Effect.gen(function* () {
        yield* TestClock.setTime(now)
        const deadlines = yield* Deadline.split(deadline, weights)
        expect(deadlines).toHaveLength(weights.length)
        expect(deadlines.at(-1)).toBe(deadline)
        let before = Math.min(now, deadline)
        for (const each of deadlines) {
          expect(each).toBeGreaterThanOrEqual(before)
          expect(each).toBeLessThanOrEqual(deadline)
          before = each
        }
      })
  )

  it.effect("has no parts of nothing", () =>
    Effect.gen(function* () {
      expect(yield* Deadline.split(1000, 0)).toEqual([])
      expect(yield* Deadline.split(1000, -1)).toEqual([])
      expect(yield* Deadline.split(1000, Number.NaN)).toEqual([])
      expect(yield* Deadline.split(1000, [])).toEqual([])
      expect(yield* Deadline.split(Deadline.none, 2)).toEqual([Deadline.none, Deadline.none])
    })
  )
})

describe("Deadline.within", () => {
  it.effect("interrupts the effect at the deadline, of which the earlier holds", () =>
    Effect.gen(function* () {
      const interrupted = yield* Deferred.make<number>()
      const effect = Effect.onInterrupt(Effect.never, () =>
        Effect.clockWith((clock) =>
          Effect.flatMap(clock.currentTimeMillis, (now) => Deferred.succeed(interrupted, now))
        )
      )
      const fiber = yield* Effect.fork(Effect.flip(effect.pipe(Deadline.within(5000), Deadline.within(2000))))
      yield* TestClock.adjust("10 seconds")
      expect((yield* Fiber.join(fiber))._tag).toBe("DeadlineExceeded")
      expect(yield* Deferred.await(interrupted)).toBe(2000)
    })
  )

  it.effect("does not run what is late, and changes nothing of what is in time", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust("2 seconds")
      const late = Effect.dieMessage("this runs")
      expect((yield* Effect.flip(Deadline.within(late, 2000)))._tag).toBe("DeadlineExceeded")
      expect(yield* Deadline.within(Effect.succeed(1), 3000)).toBe(1)
      expect(yield* Effect.flip(Deadline.within(Effect.fail("no"), 3000))).toBe("no")
      expect(yield* Deadline.within(Effect.succeed(1), Deadline.none)).toBe(1)
    })
  )
})

describe("Deadline.fanOut", () => {
  const after = (millis: number, log: Array<readonly [number, number]> = []) =>
    Effect.clockWith((clock) =>
      Effect.flatMap(clock.currentTimeMillis, (start) =>
        Effect.as(Effect.sleep(millis), millis).pipe(
          Effect.ensuring(Effect.map(clock.currentTimeMillis, (end) => void log.push([start, end])))
        )
      )
    )

  const tags = (results: ReadonlyArray<Either.Either<unknown, { readonly _tag: string } | string>>) =>
    results.map(
      Either.match({ onLeft: (error) => (typeof error === "string" ? error : error._tag), onRight: (value) => value })
    )

  it.effect("has what came in time, with the reserve kept", () =>
    Effect.gen(function* () {
      const all = [after(100), after(800), after(950), Effect.fail("no")]
      const fiber = yield* Effect.fork(Effect.timed(Deadline.fanOut(all, { deadline: 1000, reserve: "100 millis" })))
      yield* TestClock.adjust("5 seconds")
      const [took, results] = yield* Fiber.join(fiber)
      expect(tags(results)).toEqual([100, 800, "DeadlineExceeded", "no"])
      expect(Duration.toMillis(took)).toBe(900)
    })
  )

  it.effect("leaves those that wait for a place as much as those before them had", () =>
    Effect.gen(function* () {
      const log: Array<readonly [number, number]> = []
      const all = [after(9999, log), after(9999, log), after(100, log), after(9999, log), after(9999, log)]
      const fiber = yield* Effect.fork(Deadline.fanOut(all, { deadline: 6000, concurrency: 2 }))
      yield* TestClock.adjust("20 seconds")
      expect(tags(yield* Fiber.join(fiber))).toEqual([
        "DeadlineExceeded",
        "DeadlineExceeded",
        100,
        "DeadlineExceeded",
        "DeadlineExceeded"
      ])
      expect(log.map(([start]) => start)).toEqual([0, 0, 2000, 2000, 2100])
      expect(Math.max(...log.map(([, end]) => end))).toBe(6000)
    })
  )

  it.effect.prop(
    "is done by the deadline, and has one result of each",
    {
      times: FastCheck.array(FastCheck.integer({ min: 0, max: 3000 }), { maxLength: 12 }),
      concurrency: FastCheck.oneof(FastCheck.integer({ min: -1, max: 5 }), FastCheck.constant(Number.NaN)),
      reserve: FastCheck.integer({ min: 0, max: 3000 })
    },
    ({ concurrency, reserve, times }) =>
      Effect.gen(function* () {
        const all = times.map((millis) => after(millis))
        const fiber = yield* Effect.fork(Effect.timed(Deadline.fanOut(all, { deadline: 2000, concurrency, reserve })))
        yield* TestClock.adjust("1 hour")
        const [took, results] = yield* Fiber.join(fiber)
        expect(results).toHaveLength(times.length)
        expect(Duration.toMillis(took)).toBeLessThanOrEqual(Math.max(0, 2000 - reserve) + 1e-3)
        results.forEach((result, i) => {
          expect(tags([result])).toEqual([Either.isRight(result) ? times[i] : "DeadlineExceeded"])
        })
      }),
    { fastCheck: { numRuns: 15 } }
  )

  it.effect("passes defects on, and runs without a deadline", () =>
    Effect.gen(function* () {
      expect(Exit.isFailure(yield* Effect.exit(Deadline.fanOut([Effect.dieMessage("bug")], { deadline: 1000 })))).toBe(
        true
      )
      const results = yield* Deadline.fanOut([Effect.succeed(1)], { deadline: Deadline.none, concurrency: 1 })
      expect(tags(results)).toEqual([1])
      const none: ReadonlyArray<Effect.Effect<number>> = []
      expect(yield* Deadline.fanOut(none, { deadline: 1 })).toEqual([])
    })
  )
})
