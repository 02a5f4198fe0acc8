import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as TestClock from "effect/TestClock"
import { Hedge, Metadata, NotFound, RetryBudget, Unavailable } from "effect-transport"

class Foreign extends Data.TaggedError("Foreign")<{ readonly reason: string }> {}

const unavailable = new Unavailable({ message: "busy", processed: "no" })

const pushback = (millis: string) =>
  new Unavailable({
    message: "busy",
    processed: "no",
    metadata: Metadata.unsafeFromEntries([["grpc-retry-pushback-ms", millis]])
  })

/** What the n-th attempt does: ends after so many milliseconds, with a value or a failure. */
interface Attempt {
  readonly millis: number
  readonly error?: unknown
}

/** An effect whose attempts do what they are told, the last for ever, and what was seen of them. */
const attempts = (...all: readonly [Attempt, ...ReadonlyArray<Attempt>]) => {
  const seen = { began: [] as Array<number>, interrupted: [] as Array<number> }
  const effect = Effect.clockWith((clock) =>
    Effect.flatMap(clock.currentTimeMillis, (now) => {
      const n = seen.began.push(now)
      const { error, millis } = all[Math.min(n, all.length) - 1] as Attempt
      return Effect.sleep(millis).pipe(
        Effect.zipRight(error === undefined ? Effect.succeed(n) : Effect.fail(error)),
        Effect.onInterrupt(() => Effect.map(clock.currentTimeMillis, (at) => void seen.interrupted.push(at)))
      )
    })
  )
  return { effect, seen }
}

/** When attempts began, from the first on. */
const since = (began: ReadonlyArray<number>) => began.map((at) => at - (began[0] ?? 0))

/** How an effect ends, and when, while the test clock runs. */
const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(Effect.timed(Effect.exit(effect)))
    yield* TestClock.adjust("1 hour")
    const [took, exit] = yield* Fiber.join(fiber)
    return { took: Duration.toMillis(took), exit }
  })

describe("Hedge.call", () => {
  it.effect("begins a second attempt after the delay, and takes the first success", () =>
    Effect.gen(function* () {
      const { effect, seen } = attempts({ millis: 1000 }, { millis: 50 })
      expect(yield* timed(Hedge.call(effect, { after: "100 millis" }))).toEqual({ took: 150, exit: Exit.succeed(2) })
      expect(seen).toEqual({ began: [0, 100], interrupted: [150] })
    })
  )

  it.effect("leaves alone what ends in time, however it ends", () =>
    Effect.gen(function* () {
      const fast = attempts({ millis: 99 })
      expect((yield* timed(fast.effect.pipe(Hedge.call({ after: "100 millis" })))).exit).toEqual(Exit.succeed(1))
      expect(fast.seen.began).toHaveLength(1)
      expect(yield* Hedge.call(Effect.succeed(1), { after: 0, max: 5 })).toBe(1)
      for (const exit of [Exit.die("bug"), Exit.fail(new NotFound({ message: "no such block" }))]) {
        expect(yield* Effect.exit(Hedge.call(exit, { after: 0, max: 5 }))).toEqual(exit)
      }
      const interrupted = yield* Effect.exit(Hedge.call(Effect.interrupt, { after: "1 second" }))
      expect(Exit.isFailure(interrupted) && Cause.isInterruptedOnly(interrupted.cause)).toBe(true)
    })
  )

  it.effect("makes as many attempts as it may: two by default, at most five, all at once after nothing", () =>
    Effect.gen(function* () {
      for (const [max, count] of [
        [undefined, 2],
        [1, 1],
        [3, 3],
        [100, 5],
        [0, 1],
        [Number.NaN, 1]
      ] as const) {
        const { effect, seen } = attempts({ millis: 1000 })
        expect((yield* timed(Hedge.call(effect, { after: "10 millis", max }))).took).toBe(1000)
        expect(seen.began).toHaveLength(count)
        expect(seen.interrupted).toHaveLength(count - 1)
        const { effect: again, seen: all } = attempts({ millis: 1000 })
        yield* timed(Hedge.call(again, { after: 0, max }))
        expect(new Set(all.began).size).toBe(1)
        expect(all.began).toHaveLength(count)
      }
    })
  )

  it.effect("begins the next attempt at once after a failure that is not fatal, and ends with the last", () =>
    Effect.gen(function* () {
      const errors = [1, 2, 3].map((n) => new Unavailable({ message: `attempt ${n}`, processed: "no" }))
      const { effect, seen } = attempts(
        { millis: 10, error: errors[0] },
        { millis: 20, error: errors[1] },
        { millis: 30, error: errors[2] }
      )
      const { exit, took } = yield* timed(Hedge.call(effect, { after: "1 second", max: 3 }))
      expect(exit).toEqual(Exit.fail(errors[2]))
      expect(took).toBe(60)
      expect(seen).toEqual({ began: [0, 10, 30], interrupted: [] })
    })
  )

  it.effect("waits for those that run when others have failed", () =>
    Effect.gen(function* () {
      const { effect, seen } = attempts({ millis: 500 }, { millis: 10, error: unavailable })
      const { exit, took } = yield* timed(Hedge.call(effect, { after: "100 millis" }))
      expect(exit).toEqual(Exit.succeed(1))
      expect(took).toBe(500)
      expect(seen.began).toEqual([0, 100])
    })
  )

  it.effect("ends with a fatal failure at once, and interrupts the others", () =>
    Effect.gen(function* () {
      const fatal = new NotFound({ message: "no such block" })
      const { effect, seen } = attempts({ millis: 500 }, { millis: 10, error: fatal })
      const { exit, took } = yield* timed(Hedge.call(effect, { after: "100 millis", max: 3 }))
      expect(exit).toEqual(Exit.fail(fatal))
      expect(took).toBe(110)
      expect(seen).toEqual({ began: [0, 100], interrupted: [110] })
    })
  )

  it.effect("knows what is fatal by tags or a predicate, which may throw", () =>
    Effect.gen(function* () {
      const failing = (error: unknown) => attempts({ millis: 1, error })
      const lost = failing(new Unavailable({ message: "lost" }))
      yield* timed(Hedge.call(lost.effect, { after: "1 hour" }))
      expect(lost.seen.began).toHaveLength(1)
      const tagged = failing(new Foreign({ reason: "busy" }))
      yield* timed(Hedge.call(tagged.effect, { after: "1 hour", on: ["Foreign"] }))
      expect(tagged.seen.began).toHaveLength(2)
      const other = failing(new Foreign({ reason: "gone" }))
      yield* timed(Hedge.call(other.effect, { after: "1 hour", on: (error) => error === "busy" }))
      expect(other.seen.began).toHaveLength(1)
      const throwing = failing("x")
      const on = () => {
        throw new Error("a bug of the predicate")
      }
      const { exit } = yield* timed(Hedge.call(throwing.effect, { after: "1 hour", on }))
      expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
    })
  )

  it.effect("heeds pushback: exactly then, not before, or never", () =>
    Effect.gen(function* () {
      const later = attempts({ millis: 10, error: pushback("700") }, { millis: 5 })
      expect((yield* timed(Hedge.call(later.effect, { after: "100 millis" }))).took).toBe(715)
      const never = attempts({ millis: 10, error: pushback("-1") }, { millis: 5 })
      expect((yield* timed(Hedge.call(never.effect, { after: "100 millis", max: 5 }))).took).toBe(10)
      expect(since(never.seen.began)).toEqual([0])
      // Those that run go on, and the delay is the usual one again after the one that was asked for.
      const going = attempts(
        { millis: 500 },
        { millis: 10, error: pushback("300") },
        { millis: 1000 },
        { millis: 1000 }
      )
      expect((yield* timed(Hedge.call(going.effect, { after: "20 millis", max: 4 }))).exit).toEqual(Exit.succeed(1))
      expect(since(going.seen.began)).toEqual([0, 20, 330, 350])
      const refused = attempts({ millis: 500 }, { millis: 10, error: pushback("soon") }, { millis: 1 })
      expect((yield* timed(Hedge.call(refused.effect, { after: "20 millis", max: 4 }))).took).toBe(500)
      expect(since(refused.seen.began)).toEqual([0, 20])
      const forever = attempts({ millis: 0, error: pushback("2147483647") }, { millis: 5 })
      expect((yield* timed(Hedge.call(forever.effect, { after: "20 millis" }))).took).toBe(120_005)
    })
  )

  it.effect("begins no attempt that the budget does not allow, but always the first", () =>
    Effect.gen(function* () {
      const budget = yield* RetryBudget.make({ ratio: 0.1, minPerSecond: 0 })
      const { effect, seen } = attempts({ millis: 100 })
      for (let i = 0; i < 100; i++) {
        yield* timed(Hedge.call(effect, { after: "10 millis", max: 3, budget }))
      }
      expect(seen.began.length).toBeLessThanOrEqual(110)
      expect(seen.began.length).toBeGreaterThanOrEqual(100)
      const throttling = yield* RetryBudget.throttling({ maxTokens: 4 })
      const failing = attempts({ millis: 1, error: unavailable })
      yield* timed(Hedge.call(failing.effect, { after: "10 millis", max: 5, budget: throttling }))
      expect(failing.seen.began.length).toBe(2)
      yield* timed(Hedge.call(failing.effect, { after: "10 millis", max: 5, budget: throttling }))
      expect(failing.seen.began.length).toBe(3)
    })
  )

  it.effect("begins after a quantile of what attempts took, once there are twenty", () =>
    Effect.gen(function* () {
      const latencies = yield* Hedge.makeLatencies
      const options = { after: "p90", latencies } as const
      for (let i = 1; i <= 19; i++) {
        const { effect, seen } = attempts({ millis: i * 10 })
        yield* timed(Hedge.call(effect, options))
        expect(seen.began).toHaveLength(1)
      }
      expect(latencies.quantile(0.9)).toBeUndefined()
      yield* timed(Hedge.call(attempts({ millis: 200 }).effect, options))
      expect(latencies.quantile(0.9)).toBe(180)
      const { effect, seen } = attempts({ millis: 1000 }, { millis: 20 })
      expect((yield* timed(Hedge.call(effect, options))).took).toBe(200)
      expect(since(seen.began)).toEqual([0, 180])
    })
  )

  it.effect("measures effects that call nothing by the options that they share", () =>
    Effect.gen(function* () {
      const options = { after: "p50" } as const
      for (let i = 0; i < 20; i++) {
        yield* timed(Hedge.call(attempts({ millis: 10 }).effect, options))
      }
      const { effect } = attempts({ millis: 1000 }, { millis: 1 })
      expect((yield* timed(Hedge.call(effect, { after: "p50" }))).took).toBe(1000)
      const again = attempts({ millis: 1000 }, { millis: 1 })
      expect((yield* timed(Hedge.call(again.effect, options))).took).toBe(11)
    })
  )

  it.effect("interrupts all attempts with the caller, and waits for their end", () =>
    Effect.gen(function* () {
      const { effect, seen } = attempts({ millis: 1000 })
      const cleaned = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Hedge.call(Effect.ensuring(effect, Deferred.succeed(cleaned, undefined)), { after: "10 millis", max: 3 })
      )
      yield* TestClock.adjust("100 millis")
      yield* Fiber.interrupt(fiber)
      expect(yield* Deferred.isDone(cleaned)).toBe(true)
      expect(seen).toEqual({ began: [0, 10, 20], interrupted: [100, 100, 100] })
      yield* TestClock.adjust("10 seconds")
      expect(seen.began).toHaveLength(3)
    })
  )

  it.scoped("does not wait for losers that clean up slowly, and keeps what the winner has set", () =>
    Effect.gen(function* () {
      const ref = yield* FiberRef.make(0)
      let n = 0
      const effect = Effect.suspend(() => {
        n += 1
        return n === 1
          ? Effect.onInterrupt(Effect.zipRight(FiberRef.set(ref, 1), Effect.never), () => Effect.sleep("1 minute"))
          : Effect.as(FiberRef.set(ref, 2), "second")
      })
      const fiber = yield* Effect.fork(
        Effect.timed(Effect.zip(Hedge.call(effect, { after: "10 millis" }), FiberRef.get(ref)))
      )
      yield* TestClock.adjust("1 hour")
      const [took, result] = yield* Fiber.join(fiber)
      expect(result).toEqual(["second", 2])
      expect(Duration.toMillis(took)).toBe(10)
    })
  )

  const attempt = FastCheck.record({
    millis: FastCheck.integer({ min: 0, max: 200 }),
    error: FastCheck.constantFrom(undefined, undefined, "busy", "fatal")
  })

  it.effect.prop(
    "ends with the first success or fatal failure, or the last failure, and leaves nothing running",
    {
      first: attempt,
      others: FastCheck.array(attempt, { maxLength: 6 }),
      after: FastCheck.integer({ min: 0, max: 100 }),
      max: FastCheck.integer({ min: 1, max: 5 })
    },
    ({ after, first, max, others }) =>
      Effect.gen(function* () {
        const all = [first, ...others] as const
        const { effect, seen } = attempts(...all)
        const on = (error: unknown) => error === "busy"
        const { exit, took } = yield* timed(Hedge.call(effect, { after, max, on }))
        const made = seen.began.map((at, i) => ({ at, ...(all[Math.min(i, all.length - 1)] as Attempt) }))
        const [start = 0] = seen.began
        expect(made.length).toBeLessThanOrEqual(max)
        const deciding = made.filter(({ error }) => error !== "busy")
        const ends = (deciding.length > 0 ? deciding : made).map(({ at, millis }) => at + millis - start)
        expect(took).toBe(deciding.length > 0 ? Math.min(...ends) : Math.max(...ends))
        // Of two that end at the same time either may be first.
        const possible = deciding.filter((_, i) => ends[i] === took).map(({ error }) => error === undefined)
        expect(deciding.length === 0 ? [false] : possible).toContain(Exit.isSuccess(exit))
        if (deciding.length === 0) {
          expect(exit).toEqual(Exit.fail("busy"))
          expect(made).toHaveLength(max)
        }
        const count = seen.began.length
        yield* TestClock.adjust("1 hour")
        expect(seen.began).toHaveLength(count)
        // Each has ended or was interrupted when the whole was over.
        expect(seen.interrupted.every((at) => at - start === took)).toBe(true)
      }),
    { fastCheck: { numRuns: 20 } }
  )
})
