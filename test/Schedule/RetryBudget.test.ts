import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Metadata, NotFound, RetryBudget, RetryPolicy, Unavailable } from "effect-transport"

const busy = new Unavailable({ message: "busy", processed: "no" })

/** An effect that fails as often as it is told to, and counts. */
const attempts = (fails: (attempt: number) => boolean, error: Unavailable | NotFound = busy) => {
  const seen = { count: 0 }
  return { seen, effect: Effect.suspend(() => (fails(seen.count++) ? Effect.fail(error) : Effect.succeed("done"))) }
}

const always = () => true

const atOnce = (budget: RetryBudget.RetryBudget, times = 5) =>
  RetryPolicy.exponential({ initial: 0, jitter: false, times, budget })

describe("RetryBudget", () => {
  it.effect("lets a fifth of the calls be retries, and one a second", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make()
      const { effect, seen } = attempts(always)
      yield* Effect.forEach(Array.from({ length: 1000 }), () => Effect.either(Effect.retry(effect, atOnce(budget))), {
        discard: true
      })
      expect(seen.count).toBe(1000 + 200 + 10)
      expect(yield* budget.available).toBe(0)
    })
  )

  it.effect("counts the calls that succeed", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ minPerSecond: 0 })
      // One of ten attempts fails, which is less than a fifth.
      const { effect, seen } = attempts((attempt) => attempt % 10 === 9)
      const results = yield* Effect.forEach(Array.from({ length: 1000 }), () => Effect.retry(effect, atOnce(budget)))
      expect(results).toHaveLength(1000)
      expect(seen.count).toBe(1111)
    })
  )

  it.effect("counts retries that are run again, and policies that are composed, as they fail", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ minPerSecond: 0 })
      const one = attempts(always)
      const call = Effect.retry(one.effect, atOnce(budget))
      yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.either(call), { discard: true })
      expect(one.seen.count).toBe(120)
      const other = yield* RetryBudget.make({ minPerSecond: 0 })
      const composed = Schedule.intersect(atOnce(other), Schedule.recurs(3))
      const two = attempts(always)
      yield* Effect.forEach(Array.from({ length: 100 }), () => Effect.either(Effect.retry(two.effect, composed)), {
        discard: true
      })
      expect(two.seen.count).toBe(120)
    })
  )

  it.effect("is one for all of the policies that share it, and each budget is its own", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ ratio: 0, minPerSecond: 1, window: "4 seconds" })
      const { effect, seen } = attempts(always)
      yield* Effect.either(Effect.retry(effect, atOnce(budget, 3)))
      expect(seen.count).toBe(4)
      yield* Effect.either(Effect.retry(effect, atOnce(budget, 3)))
      expect(seen.count).toBe(6)
      yield* Effect.either(Effect.retry(effect, atOnce(yield* RetryBudget.make())))
      expect(seen.count).toBe(12)
    })
  )

  it.effect("has its floor again after the window", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ minPerSecond: 0.5 })
      const { effect, seen } = attempts(always)
      const call = Effect.suspend(() => Effect.either(Effect.retry(effect, atOnce(budget, 100))))
      yield* call
      expect(seen.count).toBe(6)
      yield* TestClock.adjust("9 seconds")
      expect(yield* budget.available).toBe(0)
      yield* TestClock.adjust("2 seconds")
      expect(yield* budget.available).toBe(5)
      yield* call
      expect(seen.count).toBe(12)
    })
  )

  it.effect("is spent by what is retried alone, and passes errors through untouched where it has nothing left", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ ratio: 0, minPerSecond: 0.1 })
      const missing = attempts(always, new NotFound({ message: "no such block" }))
      expect(yield* Effect.flip(Effect.retry(missing.effect, atOnce(budget)))).toBeInstanceOf(NotFound)
      expect(yield* budget.available).toBe(1)
      const refused = attempts(
        always,
        new Unavailable({
          message: "busy",
          processed: "no",
          metadata: Metadata.unsafeFromEntries([["grpc-retry-pushback-ms", "-1"]])
        })
      )
      yield* Effect.flip(Effect.retry(refused.effect, atOnce(budget)))
      expect(refused.seen.count).toBe(1)
      expect(yield* budget.available).toBe(1)
      const { effect, seen } = attempts(always)
      expect(yield* Effect.flip(Effect.retry(effect, atOnce(budget)))).toBe(busy)
      expect(seen.count).toBe(2)
      expect(yield* Effect.flip(Effect.retry(effect, atOnce(budget)))).toBe(busy)
      expect(seen.count).toBe(3)
    })
  )

  it.effect("counts each attempt that is tracked once, wherever it was counted too", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ minPerSecond: 0 })
      const { effect, seen } = attempts(always)
      const tracked = RetryBudget.track(effect, budget)
      for (let i = 0; i < 500; i++) {
        yield* Effect.either(Effect.retry(tracked, atOnce(budget)))
      }
      expect(seen.count).toBe(600)
      // Calls that nobody retries count too.
      yield* Effect.either(RetryBudget.track(Effect.fail("x"), budget)).pipe(Effect.repeatN(99))
      expect(yield* budget.available).toBe(20)
      const streams = Stream.runDrain(Stream.retry(Stream.fail(busy), atOnce(budget, 100)))
      yield* Effect.either(streams)
      expect(yield* budget.available).toBe(0)
    })
  )

  const step = FastCheck.record({
    pause: FastCheck.integer({ min: 0, max: 4000 }),
    fails: FastCheck.integer({ min: 0, max: 8 })
  })

  it.effect.prop(
    "never lets more be retried in a window than its calls and the floor allow",
    {
      steps: FastCheck.array(step, { maxLength: 150 }),
      ratio: FastCheck.double({ min: 0, max: 1, noNaN: true }),
      minPerSecond: FastCheck.double({ min: 0, max: 3, noNaN: true })
    },
    ({ minPerSecond, ratio, steps }) =>
      Effect.gen(function* () {
        const budget = yield* RetryBudget.make({ ratio, minPerSecond })
        const calls: Array<number> = []
        const retries: Array<number> = []
        let now = 0
        for (const { fails, pause } of steps) {
          now += pause
          const at = now
          calls.push(at)
          let failed = 0
          yield* Effect.suspend(() => {
            if (failed > 0) {
              retries.push(at)
            }
            return failed++ < fails ? Effect.fail(busy) : Effect.void
          }).pipe(Effect.retry(atOnce(budget)), Effect.either, Effect.withClock(yield* fixed(at)))
        }
        for (const end of retries) {
          const inWindow = (times: ReadonlyArray<number>) => times.filter((t) => t > end - 10_000 && t <= end).length
          // The oldest step of the window has been forgotten: it is a tenth.
          const recent = retries.filter((t) => t > end - 9_000 && t <= end).length
          expect(recent).toBeLessThanOrEqual(ratio * inWindow(calls) + minPerSecond * 10 + 1e-6)
        }
      }),
    { fastCheck: { numRuns: 40 } }
  )

  it.effect("takes strange options for none", () =>
    Effect.gen(function* () {
      for (const value of [Number.NaN, -1]) {
        expect(yield* (yield* RetryBudget.make({ ratio: value, minPerSecond: value })).available).toBe(0)
        expect(yield* (yield* RetryBudget.throttling({ maxTokens: value, tokenRatio: value })).available).toBe(0)
      }
      const endless = yield* RetryBudget.make({
        ratio: Number.POSITIVE_INFINITY,
        minPerSecond: 0,
        window: Duration.infinity
      })
      const { effect, seen } = attempts(always)
      yield* Effect.either(Effect.retry(effect, atOnce(endless, 50)))
      expect(seen.count).toBe(51)
    })
  )
})

/** A clock that stands. */
const fixed = (millis: number) =>
  Effect.map(Effect.clock, (clock) => ({
    ...clock,
    unsafeCurrentTimeMillis: () => millis,
    unsafeCurrentTimeNanos: () => BigInt(millis) * 1_000_000n,
    currentTimeMillis: Effect.succeed(millis),
    sleep: () => Effect.void
  }))

describe("RetryBudget.throttling (gRFC A6)", () => {
  it.effect("stops at half of the tokens, and goes on when successes have given them back", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.throttling({ maxTokens: 10, tokenRatio: 0.5 })
      let down = true
      const call = RetryBudget.track(
        Effect.suspend(() => (down ? Effect.fail(busy) : Effect.void)),
        budget
      )
      const { effect, seen } = attempts(always)
      yield* Effect.either(Effect.retry(RetryBudget.track(effect, budget), atOnce(budget, 100)))
      // 10, 9, 8, 7, 6, and the fifth failure leaves 5.
      expect(seen.count).toBe(5)
      yield* Effect.either(Effect.retry(call, atOnce(budget)))
      // 4 are left, and 5.5 after three more successes.
      down = false
      yield* Effect.repeatN(call, 1)
      expect(yield* budget.available).toBe(0)
      yield* call
      expect(yield* budget.available).toBe(1)
      // What a server does not want retried takes tokens as well; what is none of a server's failures does not.
      yield* Effect.either(Effect.retry(Effect.fail(new NotFound({ message: "no" })), atOnce(budget)))
      expect(yield* budget.available).toBe(1)
      const metadata = Metadata.unsafeFromEntries([["grpc-retry-pushback-ms", "-1"]])
      const refused = Effect.fail(new Unavailable({ message: "busy", processed: "no", metadata }))
      yield* Effect.either(Effect.retry(refused, atOnce(budget)))
      expect(yield* budget.available).toBe(0)
    })
  )

  it.effect("takes a call to have succeeded until it fails, where nothing else is told", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.throttling({ maxTokens: 10, tokenRatio: 0.1 })
      const down = attempts(always)
      yield* Effect.either(Effect.retry(down.effect, atOnce(budget, 100)))
      const afterwards = down.seen.count
      expect(afterwards).toBeLessThanOrEqual(6)
      yield* Effect.either(Effect.retry(down.effect, atOnce(budget)))
      expect(down.seen.count).toBe(afterwards + 1)
      for (let i = 0; i < 30; i++) {
        yield* Effect.retry(Effect.void, atOnce(budget))
      }
      expect(yield* budget.available).toBeGreaterThan(0)
    })
  )
})

describe("RetryPolicy.exponential with a budget", () => {
  it.effect("has a line for debugging where nothing is left", () =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make<unknown, void>(({ logLevel, message }) => {
        lines.push(`${logLevel.label} ${String(message)}`)
      })
      const budget = yield* RetryBudget.make({ ratio: 0, minPerSecond: 0.1 })
      const { effect } = attempts(always)
      const call = Effect.either(Effect.retry(effect, atOnce(budget)))
      yield* call.pipe(Logger.withMinimumLogLevel(LogLevel.Debug), Effect.provide(Logger.add(logger)))
      expect(lines).toEqual([
        "WARN retry: caught Unavailable (1/5)",
        "DEBUG retry: no budget left to retry Unavailable"
      ])
    })
  )
})
