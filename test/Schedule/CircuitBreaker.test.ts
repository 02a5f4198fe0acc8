import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import {
  CircuitBreaker,
  DeadlineExceeded,
  ErrorDetails,
  NotFound,
  ResourceExhausted,
  RetryPolicy,
  Unavailable
} from "effect-transport"

const down = Effect.fail(new Unavailable({ message: "down" }))

const tagOf = (breaker: CircuitBreaker.CircuitBreaker) => Effect.map(breaker.state, ({ _tag }) => _tag)

const times = (n: number, effect: Effect.Effect<unknown, unknown>) => Effect.repeatN(Effect.exit(effect), n - 1)

/** Opened by failures. */
const opened = (options: CircuitBreaker.CircuitBreakerOptions = {}) =>
  Effect.gen(function* () {
    const breaker = yield* CircuitBreaker.make({ minimumCalls: 2, ...options })
    yield* times(2, CircuitBreaker.call(down, breaker))
    expect(yield* tagOf(breaker)).toBe("Open")
    return breaker
  })

describe("CircuitBreaker", () => {
  it.effect("opens at half of the calls in ten seconds, when there are twenty", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make()
      yield* times(19, CircuitBreaker.call(down, breaker))
      expect(yield* tagOf(breaker)).toBe("Closed")
      yield* TestClock.adjust("20 seconds")
      yield* times(10, CircuitBreaker.call(Effect.void, breaker))
      yield* times(9, CircuitBreaker.call(down, breaker))
      expect(yield* tagOf(breaker)).toBe("Closed")
      yield* times(1, CircuitBreaker.call(down, breaker))
      expect(yield* breaker.state).toEqual({ _tag: "Open", until: 25_000 })
    })
  )

  it.effect("fails at once while it is open, with the time until it lets a call through", () =>
    Effect.gen(function* () {
      const breaker = yield* opened({ name: "node-b", openFor: "1500 millis" })
      yield* TestClock.adjust("300 millis")
      const error = yield* Effect.flip(CircuitBreaker.call(Effect.dieMessage("this runs"), breaker))
      expect(error).toMatchObject({
        _tag: "Unavailable",
        processed: "no",
        message: "the circuit breaker of node-b is open for another 1200 ms"
      })
      expect(Option.getOrThrow(ErrorDetails.get(error, ErrorDetails.RetryInfo)).retryDelay).toMatchObject({
        seconds: 1n,
        nanos: 200_000_000
      })
      const run = CircuitBreaker.call(Effect.succeed("up"), breaker)
      const fiber = yield* Effect.fork(
        Effect.timed(Effect.retry(run, RetryPolicy.exponential({ initial: 0, times: 1 })))
      )
      yield* TestClock.adjust("1 minute")
      const [took, value] = yield* Fiber.join(fiber)
      expect(value).toBe("up")
      expect(Duration.toMillis(took)).toBe(1200)
    })
  )

  it.effect("lets as many probes through as it is told, and closes when they have all succeeded", () =>
    Effect.gen(function* () {
      const breaker = yield* opened({ probes: 2 })
      yield* TestClock.adjust("5 seconds")
      const gate = yield* Deferred.make<void>()
      const probes = yield* Effect.forEach([1, 2], () =>
        Effect.fork(CircuitBreaker.call(Deferred.await(gate), breaker))
      )
      yield* Effect.yieldNow()
      expect(yield* tagOf(breaker)).toBe("HalfOpen")
      const error = yield* Effect.flip(CircuitBreaker.call(Effect.void, breaker))
      expect(error).toMatchObject({ processed: "no", details: [] })
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.joinAll(probes)
      expect(yield* tagOf(breaker)).toBe("Closed")
      // What was counted before is forgotten.
      yield* times(1, CircuitBreaker.call(down, breaker))
      expect(yield* tagOf(breaker)).toBe("Closed")
    })
  )

  it.effect("opens again when a probe fails, each time for longer where it may", () =>
    Effect.gen(function* () {
      const breaker = yield* opened({ openFor: "1 second", maxOpenFor: "3 seconds" })
      const lengths: Array<number> = []
      for (const next of [1000, 2000, 3000, 3000]) {
        yield* TestClock.adjust(next)
        const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
        yield* times(1, CircuitBreaker.call(down, breaker))
        const state = yield* breaker.state
        lengths.push(state._tag === "Open" ? state.until - now : 0)
      }
      expect(lengths).toEqual([2000, 3000, 3000, 3000])
      yield* TestClock.adjust("3 seconds")
      yield* CircuitBreaker.call(Effect.void, breaker)
      yield* times(2, CircuitBreaker.call(down, breaker))
      expect(yield* breaker.state).toMatchObject({ _tag: "Open", until: 13_000 })
    })
  )

  it.effect("takes interrupted calls for neither, and gives the place of an interrupted probe back", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ minimumCalls: 1 })
      const interrupt = Effect.gen(function* () {
        const fiber = yield* Effect.fork(CircuitBreaker.call(Effect.never, breaker))
        yield* Effect.yieldNow()
        yield* Fiber.interrupt(fiber)
      })
      yield* Effect.repeatN(interrupt, 20)
      expect(yield* tagOf(breaker)).toBe("Closed")
      yield* times(1, CircuitBreaker.call(down, breaker))
      yield* TestClock.adjust("5 seconds")
      yield* interrupt
      expect(yield* tagOf(breaker)).toBe("HalfOpen")
      yield* CircuitBreaker.call(Effect.void, breaker)
      expect(yield* tagOf(breaker)).toBe("Closed")
    })
  )

  it.effect("is not kept half-open by probes that hang", () =>
    Effect.gen(function* () {
      const breaker = yield* opened({ openFor: "2 seconds" })
      yield* TestClock.adjust("2 seconds")
      const hanging = yield* Effect.fork(CircuitBreaker.call(Effect.never, breaker))
      yield* TestClock.adjust("1999 millis")
      yield* Effect.flip(CircuitBreaker.call(Effect.void, breaker))
      yield* TestClock.adjust("1 millis")
      yield* CircuitBreaker.call(Effect.void, breaker)
      expect(yield* tagOf(breaker)).toBe("Closed")
      yield* Fiber.interrupt(hanging)
      expect(yield* tagOf(breaker)).toBe("Closed")
    })
  )

  it.effect("opens for calls that are slow, whether they succeed or fail", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ minimumCalls: 4, slow: { after: "1 second", rate: 0.5 } })
      const taking = (millis: number) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.fork(CircuitBreaker.call(Effect.sleep(millis), breaker))
          yield* TestClock.adjust(millis)
          yield* Fiber.join(fiber)
        })
      yield* taking(1000)
      yield* taking(900)
      yield* taking(1001)
      expect(yield* tagOf(breaker)).toBe("Closed")
      yield* taking(2000)
      expect(yield* tagOf(breaker)).toBe("Open")
      yield* TestClock.adjust("5 seconds")
      // A slow probe shows no better.
      yield* taking(1500)
      expect(yield* tagOf(breaker)).toBe("Open")
    })
  )

  it.effect("counts as failures what is the target's fault, or what it is told", () =>
    Effect.gen(function* () {
      const opens = (error: unknown, options: CircuitBreaker.CircuitBreakerOptions = {}) =>
        Effect.gen(function* () {
          const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, ...options })
          yield* times(1, CircuitBreaker.call(error === "bug" ? Effect.die(error) : Effect.fail(error), breaker))
          return (yield* tagOf(breaker)) === "Open"
        })
      const none = new NotFound({ message: "no such block" })
      expect(yield* opens(none)).toBe(false)
      expect(yield* opens(new ResourceExhausted({ message: "too large" }))).toBe(false)
      expect(yield* opens(new DeadlineExceeded({ message: "late" }))).toBe(true)
      expect(yield* opens("anything else")).toBe(true)
      expect(yield* opens("bug")).toBe(true)
      expect(yield* opens(none, { isFailure: (error) => error === none })).toBe(true)
      expect(yield* opens("late", { isFailure: (_, took) => Duration.toMillis(took) > 0 })).toBe(false)
    })
  )

  it.effect("keeps count where the predicate throws, and says so", () =>
    Effect.gen(function* () {
      const isFailure = () => {
        throw new Error("a bug of the predicate")
      }
      const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, isFailure })
      const exit = yield* Effect.exit(CircuitBreaker.call(down, breaker))
      expect(Exit.isFailure(exit) && String(exit.cause)).toContain("a bug of the predicate")
      yield* times(1, CircuitBreaker.call(Effect.die("bug"), breaker))
      yield* TestClock.adjust("5 seconds")
      yield* Effect.exit(CircuitBreaker.call(down, breaker))
      yield* CircuitBreaker.call(Effect.void, breaker)
      expect(yield* tagOf(breaker)).toBe("Closed")
    })
  )

  it.effect("shows each of its states", () =>
    Effect.gen(function* () {
      const breaker = yield* CircuitBreaker.make({ minimumCalls: 1, openFor: "1 second" })
      const seen = yield* Effect.fork(Stream.runCollect(Stream.take(breaker.state.changes, 4)))
      yield* Effect.yieldNow()
      yield* TestClock.adjust(0)
      yield* times(1, CircuitBreaker.call(down, breaker))
      yield* TestClock.adjust("1 second")
      yield* CircuitBreaker.call(Effect.yieldNow(), breaker)
      const states = Chunk.toReadonlyArray(yield* Fiber.join(seen)).map(({ _tag }) => _tag)
      expect(states).toEqual(["Closed", "Open", "HalfOpen", "Closed"])
    })
  )

  it.effect("has one for each method of each target", () =>
    Effect.gen(function* () {
      const breakers = yield* CircuitBreaker.byMethod({ minimumCalls: 1 })
      const one = yield* breakers({ method: "/a.A/One", peer: "node:1" })
      yield* times(1, CircuitBreaker.call(down, one))
      expect(yield* breakers({ method: "/a.A/One", peer: "node:1" })).toBe(one)
      expect(yield* tagOf(yield* breakers({ method: "/a.A/Two", peer: "node:1" }))).toBe("Closed")
      expect(yield* tagOf(yield* breakers({ method: "/a.A/One", peer: "node:2" }))).toBe("Closed")
      const error = yield* Effect.flip(CircuitBreaker.call(Effect.void, one))
      expect(error.message).toContain("/a.A/One at node:1")
    })
  )

  it.effect.prop(
    "never lets more through than it may, and never stays open",
    {
      steps: FastCheck.array(
        FastCheck.record({
          pause: FastCheck.integer({ min: 0, max: 3000 }),
          how: FastCheck.constantFrom("ok", "fail", "die", "hang", "interrupt")
        }),
        { maxLength: 120 }
      ),
      probes: FastCheck.integer({ min: 1, max: 3 }),
      minimumCalls: FastCheck.integer({ min: 1, max: 5 })
    },
    ({ minimumCalls, probes, steps }) =>
      Effect.gen(function* () {
        const breaker = yield* CircuitBreaker.make({ minimumCalls, probes, openFor: "2 seconds" })
        let ran = 0
        for (const { how, pause } of steps) {
          yield* TestClock.adjust(pause)
          const before = yield* breaker.state
          const now = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
          const counted = ran
          const effect = Effect.suspend(() => {
            ran += 1
            return how === "ok" ? Effect.void : how === "fail" ? down : how === "die" ? Effect.die("bug") : Effect.never
          })
          const fiber = yield* Effect.fork(CircuitBreaker.call(effect, breaker))
          yield* Effect.yieldNow()
          if (how === "interrupt") {
            yield* Fiber.interrupt(fiber)
          }
          if (before._tag === "Closed") {
            expect(ran).toBe(counted + 1)
          } else if (before._tag === "Open") {
            expect(ran).toBe(now >= before.until ? counted + 1 : counted)
          }
        }
        // Whatever went before, it closes when the target is well for a while.
        for (let i = 0; i < 2 * probes + 2; i++) {
          yield* TestClock.adjust("2 seconds")
          yield* Effect.exit(CircuitBreaker.call(Effect.void, breaker))
        }
        expect(yield* tagOf(breaker)).toBe("Closed")
      }),
    { fastCheck: { numRuns: 15 } }
  )
})
