import { describe, expect, expectTypeOf, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Logger from "effect/Logger"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as RetryPolicy from "../../src/Schedule/RetryPolicy.js"
import * as ErrorDetails from "../../src/Transport/ErrorDetails.js"
import * as Metadata from "../../src/Transport/Metadata.js"
import {
  BindError,
  type CallError,
  Cancelled,
  CredentialsError,
  HandshakeFailed,
  NotFound,
  statusErrors,
  Unavailable
} from "../../src/Transport/TransportError.js"

class Foreign extends Data.TaggedError("Foreign")<{ readonly reason: string }> {}

const unavailable = new Unavailable({
  message: "the node restarts",
  method: "/dag.v1.DagService/SubmitTransaction",
  processed: "no"
})

const pushback = (...values: ReadonlyArray<string>) =>
  new Unavailable({
    message: "busy",
    processed: "no",
    metadata: Metadata.unsafeFromEntries(values.map((value) => ["grpc-retry-pushback-ms", value]))
  })

const retryInfo = (seconds: bigint, nanos = 0) =>
  new Unavailable({
    message: "busy",
    processed: "no",
    details: [ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay: { seconds, nanos } })]
  })

interface Line {
  readonly level: string
  readonly message: unknown
  readonly annotations: Record<string, unknown>
}

/** Fails with each error in turn, the last for ever, until `attempts` have failed; gives what was seen. */
const retrying = <E>(
  policy: Schedule.Schedule<unknown, E>,
  errors: readonly [E, ...ReadonlyArray<E>],
  attempts = Number.POSITIVE_INFINITY
) =>
  Effect.gen(function* () {
    const at: Array<number> = []
    const lines: Array<Line> = []
    const logger = Logger.make(({ annotations, logLevel, message }) => {
      lines.push({
        level: logLevel.label,
        message: Array.isArray(message) && message.length === 1 ? message[0] : message,
        annotations: Object.fromEntries(HashMap.toEntries(annotations))
      })
    })
    const attempt = Effect.flatMap(Clock.currentTimeMillis, (now) => {
      at.push(now)
      const error = errors[Math.min(at.length, errors.length) - 1] as E
      return at.length > attempts ? Effect.succeed("done" as const) : Effect.fail(error)
    })
    const result = yield* Effect.either(Effect.retry(attempt, policy)).pipe(Effect.provide(Logger.add(logger)))
    return { delays: at.slice(1).map((time, i) => time - (at[i] as number)), attempts: at.length, lines, result }
  })

/** The effect's result, while the test clock runs as far as any retry may take. */
const inTime = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.fork(effect)
    yield* TestClock.adjust("365 days")
    return yield* Fiber.join(fiber)
  })

const observe = <E>(
  policy: Schedule.Schedule<unknown, E>,
  errors: readonly [E, ...ReadonlyArray<E>],
  attempts?: number
) => inTime(retrying(policy, errors, attempts))

const caught = (error: unknown) =>
  Effect.map(observe(RetryPolicy.exponential({ initial: 1, times: 1 }), [error]), ({ lines }) =>
    lines.map((line) => line.message)
  )

const plain = { initial: "100 millis", jitter: false } as const

describe("RetryPolicy.exponential", () => {
  describe("delays", () => {
    it.effect("double from the first one, five times, when nothing else is said", () =>
      Effect.gen(function* () {
        const seen = yield* observe(RetryPolicy.exponential(plain), [unavailable])
        expect(seen.delays).toEqual([100, 200, 400, 800, 1600])
        expect(seen.attempts).toBe(6)
      })
    )

    it.effect("stop at 120 seconds when no cap is given", () =>
      Effect.gen(function* () {
        const seen = yield* observe(RetryPolicy.exponential({ initial: "50 seconds", jitter: false }), [unavailable])
        expect(seen.delays).toEqual([50_000, 100_000, 120_000, 120_000, 120_000])
      })
    )

    const shape = {
      initial: FastCheck.integer({ min: 0, max: 10_000 }),
      multiplier: FastCheck.double({ min: 0.25, max: 10, noNaN: true }),
      maxDelay: FastCheck.integer({ min: 0, max: 600_000 }),
      times: FastCheck.integer({ min: 0, max: 12 })
    }
    const expected = (options: { initial: number; multiplier: number; maxDelay: number; times: number }) =>
      Array.from({ length: options.times }, (_, i) =>
        Math.min(options.initial * options.multiplier ** i, options.maxDelay)
      )

    it.effect.prop(
      "are initial x multiplier^(attempt-1), capped",
      shape,
      (options) =>
        Effect.gen(function* () {
          const seen = yield* observe(RetryPolicy.exponential({ ...options, jitter: false }), [unavailable])
          const wanted = expected(options)
          expect(seen.attempts).toBe(options.times + 1)
          // Durations have nanoseconds.
          wanted.forEach((delay, i) => {
            expect(Math.abs((seen.delays[i] as number) - delay)).toBeLessThan(1e-5)
          })
          expect(seen.lines.map((line) => line.annotations.delayMs)).toEqual(wanted.map(Math.round))
        }),
      { fastCheck: { numRuns: 30 } }
    )

    it.effect.prop(
      "are jittered, after the cap, by the factor that Random gives",
      { ...shape, random: FastCheck.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }) },
      ({ random, ...options }) =>
        Effect.gen(function* () {
          const seen = yield* observe(RetryPolicy.exponential(options), [unavailable]).pipe(
            Effect.withRandom(Random.fixed([random]))
          )
          expected(options).forEach((delay, i) => {
            expect(Math.abs((seen.delays[i] as number) - delay * (0.8 + 0.4 * random))).toBeLessThan(1e-5)
          })
        }),
      { fastCheck: { numRuns: 30 } }
    )

    it.effect("use the whole range of the jitter and nothing outside", () =>
      Effect.gen(function* () {
        const policy = RetryPolicy.exponential({ initial: 1000, multiplier: 1, times: 5000 })
        const delays = yield* Schedule.run(
          policy,
          0,
          Array.from({ length: 5000 }, () => unavailable)
        )
        const millis = Chunk.toReadonlyArray(delays).map(Duration.toMillis)
        expect(Math.min(...millis)).toBeGreaterThanOrEqual(800)
        expect(Math.min(...millis)).toBeLessThan(810)
        expect(Math.max(...millis)).toBeLessThanOrEqual(1200)
        expect(Math.max(...millis)).toBeGreaterThan(1190)
      }).pipe(Effect.withRandom(Random.make("effect-transport")))
    )

    it.effect.prop(
      "stay finite and capped for thousands of attempts",
      { initial: FastCheck.constantFrom(0, 1, 1000), multiplier: FastCheck.constantFrom(0.5, 1, 2, 1e300) },
      ({ initial, multiplier }) =>
        Effect.gen(function* () {
          const policy = RetryPolicy.exponential({
            initial,
            multiplier,
            jitter: false,
            maxDelay: 5000,
            times: Number.POSITIVE_INFINITY
          })
          const delays = yield* Schedule.run(
            policy,
            0,
            Array.from({ length: 2000 }, () => "down")
          )
          expect(Chunk.size(delays)).toBe(2000)
          const last = Duration.toMillis(Chunk.unsafeLast(delays))
          expect(last).toBe(initial === 0 || multiplier < 1 ? 0 : multiplier === 1 ? initial : 5000)
        }),
      { fastCheck: { numRuns: 12 } }
    )

    it.effect("are nothing for an initial of nothing, even where the power overflows", () =>
      Effect.gen(function* () {
        const seen = yield* observe(RetryPolicy.exponential({ initial: 0, multiplier: 1e300, times: 3 }), [unavailable])
        expect(seen.delays).toEqual([0, 0, 0])
        expect(seen.lines.map((line) => line.annotations.delayMs)).toEqual([0, 0, 0])
      })
    )
  })

  describe("what is retried", () => {
    const byDefault = RetryPolicy.exponential({ ...plain, times: 2 })
    const passes = (error: unknown) =>
      Effect.gen(function* () {
        const seen = yield* observe(byDefault, [error])
        expect(seen.attempts).toBe(1)
        expect(seen.lines).toEqual([])
        expect(Either.isLeft(seen.result) && seen.result.left).toBe(error)
      })

    it.effect("is every error that is none of this library's when `on` is not given, whatever its kind", () =>
      Effect.gen(function* () {
        class Unavailable extends Data.TaggedError("Unavailable")<{ readonly processed: string }> {}
        const strange = Object.assign(Object.create(null), { constructor: undefined })
        const foreign = [new Unavailable({ processed: "unknown" }), new Foreign({ reason: "down" }), strange]
        for (const error of ["down", 17, undefined, null, { down: true }, new Error("down"), ...foreign]) {
          const seen = yield* observe(byDefault, [error])
          expect(seen.delays).toEqual([100, 200])
          expect(Either.isLeft(seen.result) && seen.result.left).toBe(error)
        }
      })
    )

    it.effect("is of this library's errors what is safe when `on` is not given", () =>
      Effect.gen(function* () {
        const idempotent = new Unavailable({ message: "lost", processed: "unknown", idempotent: true })
        for (const error of [unavailable, idempotent]) {
          expect((yield* observe(byDefault, [error])).delays).toEqual([100, 200])
        }
        yield* passes(new Unavailable({ message: "lost" }))
        yield* passes(new Unavailable({ ...pushback("5"), message: "busy", processed: "unknown" }))
        for (const Status of Object.values(statusErrors)) {
          if (Status !== Unavailable) {
            yield* passes(new Status({ message: "no" }))
          }
        }
        yield* passes(new Cancelled({ message: "the client was closed", processed: "no" }))
        yield* passes(new HandshakeFailed({ message: "no", reason: "Expired", refusedBy: "local" }))
        yield* passes(new BindError({ message: "taken", reason: "AddressInUse", address: "127.0.0.1:1" }))
        yield* passes(new CredentialsError({ message: "no file", reason: "NotFound", part: "cert" }))
      })
    )

    it.effect("is also what may have run when `on` says so", () =>
      Effect.gen(function* () {
        const policy = RetryPolicy.exponential({ ...plain, times: 2, on: ["Unavailable"] })
        expect((yield* observe(policy, [new Unavailable({ message: "lost" })])).delays).toEqual([100, 200])
      })
    )

    it.effect("is what has one of the tags; the rest passes at once, untouched and without a line", () =>
      Effect.gen(function* () {
        const policy = RetryPolicy.exponential({ ...plain, times: 2, on: ["Unavailable", "Foreign"] })
        for (const error of [unavailable, new Foreign({ reason: "down" }), { _tag: "Foreign" }]) {
          expect((yield* observe<unknown>(policy, [error])).delays).toEqual([100, 200])
        }
        const others = [new NotFound({ message: "no such block" }), "Unavailable", { _tag: 14 }, undefined, new Error()]
        for (const error of others) {
          const seen = yield* observe<unknown>(policy, [error])
          expect(seen.attempts).toBe(1)
          expect(seen.lines).toEqual([])
          expect(Either.isLeft(seen.result) && seen.result.left).toBe(error)
        }
      })
    )

    it.effect("is nothing when the list is empty", () =>
      Effect.gen(function* () {
        expect((yield* observe(RetryPolicy.exponential({ ...plain, on: [] }), [unavailable])).attempts).toBe(1)
      })
    )

    it.effect("is what the predicate holds for", () =>
      Effect.gen(function* () {
        const policy = RetryPolicy.exponential({ ...plain, on: (error: Foreign) => error.reason === "busy" })
        const last = new Foreign({ reason: "gone" })
        const seen = yield* observe(policy, [new Foreign({ reason: "busy" }), last])
        expect(seen.delays).toEqual([100])
        expect(Either.isLeft(seen.result) && seen.result.left).toBe(last)
      })
    )

    it.effect("ends with the last error once the retries are used up", () =>
      Effect.gen(function* () {
        const errors = [1, 2, 3].map((n) => new Unavailable({ message: `attempt ${n}`, processed: "no" }))
        const [first, second, third] = errors as [Unavailable, Unavailable, Unavailable]
        const seen = yield* observe(RetryPolicy.exponential({ ...plain, times: 2 }), [first, second, third])
        expect(Either.isLeft(seen.result) && seen.result.left).toBe(third)
      })
    )

    it.effect("ends with the answer when one comes", () =>
      Effect.gen(function* () {
        const seen = yield* observe(RetryPolicy.exponential(plain), [unavailable], 3)
        expect(seen.result).toEqual(Either.right("done"))
        expect(seen.delays).toEqual([100, 200, 400])
      })
    )

    it.effect("is never a defect or an interruption", () =>
      Effect.gen(function* () {
        for (const exit of [Exit.die("bug"), Exit.interrupt(yield* Effect.fiberId)]) {
          let attempts = 0
          const attempt = Effect.suspend(() => {
            attempts++
            return exit
          })
          const seen = yield* Effect.exit(Effect.retry(attempt, RetryPolicy.exponential(plain)))
          expect(attempts).toBe(1)
          expect(Exit.isFailure(seen) && Cause.isFailure(seen.cause)).toBe(false)
        }
      })
    )
  })

  describe("log", () => {
    it.effect("has a warning for each retry, with the delay and the method", () =>
      Effect.gen(function* () {
        const policy = RetryPolicy.exponential({ ...plain, times: 2, on: ["Unavailable"] })
        const annotations = { method: "/dag.v1.DagService/SubmitTransaction" }
        expect((yield* observe(policy, [unavailable])).lines).toEqual([
          { level: "WARN", message: "retry: caught Unavailable (1/2)", annotations: { ...annotations, delayMs: 100 } },
          { level: "WARN", message: "retry: caught Unavailable (2/2)", annotations: { ...annotations, delayMs: 200 } }
        ])
      })
    )

    it.effect("names errors that have no tag", () =>
      Effect.gen(function* () {
        class Down extends Error {
          override readonly name = "Down"
        }
        expect(yield* caught(new Foreign({ reason: "down" }))).toEqual(["retry: caught Foreign (1/1)"])
        expect(yield* caught(new TypeError("down"))).toEqual(["retry: caught TypeError (1/1)"])
        expect(yield* caught(new Down())).toEqual(["retry: caught Down (1/1)"])
        for (const error of ["down", { _tag: 3 }, { name: "x" }, undefined]) {
          expect(yield* caught(error)).toEqual(["retry: caught failure (1/1)"])
        }
      })
    )

    it.effect("has no method where the error has none", () =>
      Effect.gen(function* () {
        const { lines } = yield* observe(RetryPolicy.exponential({ ...plain, times: 1 }), [{ method: 3 }])
        expect(lines.map((line) => line.annotations)).toEqual([{ delayMs: 100 }])
      })
    )
  })

  describe("pushback (gRFC A6)", () => {
    const policy = RetryPolicy.exponential({ initial: "100 millis", jitter: false, times: 4, maxDelay: "10 seconds" })

    it.effect("is the exact delay, and the backoff starts again after it", () =>
      Effect.gen(function* () {
        const seen = yield* observe(policy, [unavailable, unavailable, pushback("1234"), unavailable])
        expect(seen.delays).toEqual([100, 200, 1234, 100])
        const again = yield* observe(policy, [pushback("0"), pushback("7"), unavailable, unavailable])
        expect(again.delays).toEqual([0, 7, 100, 200])
        expect(again.lines.map((line) => line.annotations.delayMs)).toEqual([0, 7, 100, 200])
      })
    )

    it.effect("is not jittered", () =>
      Effect.gen(function* () {
        const jittered = RetryPolicy.exponential({ initial: "100 millis", times: 2 })
        const seen = yield* observe(jittered, [pushback("1000"), unavailable])
        expect(seen.delays).toEqual([1000, 80])
      }).pipe(Effect.withRandom(Random.fixed([0])))
    )

    it.effect("ends the retries when negative, unreadable or given twice", () =>
      Effect.gen(function* () {
        const values = ["-1", "", "soon", "1.5", "007", "+5", "1e3", "0x10", " 5", "2147483648", "9".repeat(400)]
        for (const error of [...values.map((value) => pushback(value)), pushback("5", "5")]) {
          const seen = yield* observe(policy, [error])
          expect(seen.attempts).toBe(1)
          expect(seen.lines).toEqual([])
          expect(Either.isLeft(seen.result) && seen.result.left).toBe(error)
        }
      })
    )

    it.effect("can't hold a caller for longer than maxDelay", () =>
      Effect.gen(function* () {
        const seen = yield* observe(policy, [pushback("2147483647"), pushback("10001"), unavailable])
        expect(seen.delays).toEqual([10_000, 10_000, 100, 200])
      })
    )

    it.effect("neither adds retries nor makes an error one that is retried", () =>
      Effect.gen(function* () {
        expect((yield* observe(policy, [pushback("5")])).attempts).toBe(5)
        const other = RetryPolicy.exponential({ ...plain, on: ["Aborted"] })
        expect((yield* observe(other, [pushback("5")])).attempts).toBe(1)
      })
    )

    it.effect("goes before RetryInfo, which would be a lower bound only", () =>
      Effect.gen(function* () {
        const { metadata } = pushback("50")
        const { details } = retryInfo(3n)
        const seen = yield* observe(policy, [
          new Unavailable({ message: "busy", processed: "no", metadata, details }),
          unavailable
        ])
        expect(seen.delays.slice(0, 2)).toEqual([50, 100])
      })
    )

    it.effect("is read off any error that has the fields, and nothing else is", () =>
      Effect.gen(function* () {
        const { metadata } = pushback("1234")
        const { details } = retryInfo(2n)
        const [detail] = details
        const first = (error: unknown) => Effect.map(observe<unknown>(policy, [error]), ({ delays }) => delays[0])
        expect(yield* first({ metadata })).toBe(1234)
        expect(yield* first({ details })).toBe(2000)
        const strange = [
          "text",
          [null],
          [{}],
          [{ ...detail, value: "text" }],
          [{ ...detail, value: new Uint8Array([9]) }]
        ]
        for (const fields of strange) {
          expect(yield* first({ metadata: fields, details: fields })).toBe(100)
        }
        expect(yield* first({ metadata: { "grpc-retry-pushback-ms": "1234" } })).toBe(100)
        const other = Metadata.unsafeFromEntries([["grpc-retry-pushback-ms-bin", new Uint8Array([49])]])
        expect(yield* first({ metadata: other })).toBe(100)
      })
    )
  })

  describe("google.rpc.RetryInfo", () => {
    const policy = RetryPolicy.exponential({ initial: "100 millis", jitter: false, times: 3, maxDelay: "10 seconds" })

    it.effect("is a lower bound and leaves the backoff alone", () =>
      Effect.gen(function* () {
        const seen = yield* observe(policy, [retryInfo(1n, 500_000_000), retryInfo(0n, 1_000_000), unavailable])
        expect(seen.delays).toEqual([1500, 200, 400])
      })
    )

    it.effect("can't hold a caller for longer than maxDelay, and can't be negative", () =>
      Effect.gen(function* () {
        const seen = yield* observe(policy, [retryInfo(2n ** 63n - 1n), retryInfo(-(2n ** 63n)), unavailable])
        expect(seen.delays).toEqual([10_000, 200, 400])
      })
    )

    it.effect("without a delay says nothing", () =>
      Effect.gen(function* () {
        const details = [ErrorDetails.pack(ErrorDetails.RetryInfo, {})]
        const seen = yield* observe(policy, [new Unavailable({ message: "busy", processed: "no", details })])
        expect(seen.delays).toEqual([100, 200, 400])
      })
    )

    it.effect("is not undercut by jitter", () =>
      Effect.gen(function* () {
        const seen = yield* observe(RetryPolicy.exponential({ initial: 1000, times: 1 }), [retryInfo(1n)])
        expect(seen.delays).toEqual([1000])
      }).pipe(Effect.withRandom(Random.fixed([0])))
    )
  })

  describe("one policy value", () => {
    const policy = RetryPolicy.exponential({ ...plain, times: 3 })

    it.effect("serves concurrent programs that know nothing of each other", () =>
      Effect.gen(function* () {
        const programs = [retrying(policy, [pushback("30"), unavailable]), retrying(policy, [unavailable])]
        const [one, two] = yield* inTime(Effect.all(programs, { concurrency: "unbounded" }))
        expect(one?.delays).toEqual([30, 100, 200])
        expect(two?.delays).toEqual([100, 200, 400])
      })
    )

    it.effect("starts anew after a success", () =>
      Effect.gen(function* () {
        for (let run = 0; run < 2; run++) {
          const seen = yield* observe(policy, [unavailable], 2)
          expect(seen.delays).toEqual([100, 200])
          expect(seen.lines.map((line) => line.message)).toEqual([
            "retry: caught Unavailable (1/3)",
            "retry: caught Unavailable (2/3)"
          ])
        }
      })
    )

    it.effect("retries a stream, from the start after each element", () =>
      Effect.gen(function* () {
        const at: Array<number> = []
        const stream = Stream.unwrap(
          Effect.map(Clock.currentTimeMillis, (now) => {
            at.push(now)
            return at.length === 3
              ? Stream.concat(Stream.make("block"), Stream.fail(unavailable))
              : Stream.fail(unavailable)
          })
        )
        const result = yield* inTime(Effect.either(Stream.runCollect(Stream.retry(stream, policy))))
        expect(Either.isLeft(result)).toBe(true)
        expect(at).toEqual([0, 100, 300, 400, 600, 1000])
      })
    )
  })

  it.effect("stops at once when interrupted during a delay", () =>
    Effect.gen(function* () {
      let attempts = 0
      const attempt = Effect.suspend(() => {
        attempts++
        return Effect.fail(unavailable)
      })
      const fiber = yield* Effect.fork(Effect.retry(attempt, RetryPolicy.exponential(plain)))
      yield* TestClock.adjust("50 millis")
      const exit = yield* Fiber.interrupt(fiber)
      expect(Exit.isInterrupted(exit)).toBe(true)
      expect(yield* Clock.currentTimeMillis).toBe(50)
      yield* TestClock.adjust("1 hour")
      expect(attempts).toBe(1)
    })
  )

  it("fits any error type at the call site", () => {
    const call = Effect.fail(unavailable) as Effect.Effect<string, CallError>
    const foreign = Effect.fail("down") as Effect.Effect<number, string>

    const byTag = RetryPolicy.exponential({ initial: "1 second", on: ["Unavailable", "SomethingElse"] })
    expectTypeOf(byTag).toEqualTypeOf<Schedule.Schedule<Duration.Duration, unknown>>()
    expectTypeOf(Effect.retry(call, byTag)).toEqualTypeOf<Effect.Effect<string, CallError>>()
    expectTypeOf(Effect.retry(foreign, byTag)).toEqualTypeOf<Effect.Effect<number, string>>()
    expectTypeOf(
      call.pipe(Effect.retry(RetryPolicy.exponential({ initial: "1 second", on: ["Unavailable"] })))
    ).toEqualTypeOf<Effect.Effect<string, CallError>>()
    expectTypeOf(call.pipe(Effect.retry({ schedule: byTag, times: 3 }))).toEqualTypeOf<
      Effect.Effect<string, CallError>
    >()
    expectTypeOf(Stream.fromEffect(call).pipe(Stream.retry(byTag))).toEqualTypeOf<Stream.Stream<string, CallError>>()

    const notHandshake = (error: CallError) => !(error instanceof HandshakeFailed)
    const byPredicate = RetryPolicy.exponential({ initial: "1 second", on: notHandshake })
    expectTypeOf(byPredicate).toEqualTypeOf<Schedule.Schedule<Duration.Duration, CallError>>()
    expectTypeOf(Effect.retry(call, byPredicate)).toEqualTypeOf<Effect.Effect<string, CallError>>()
    expectTypeOf(
      call.pipe(
        Effect.retry(RetryPolicy.exponential({ initial: "1 second", on: (error: CallError) => "code" in error }))
      )
    ).toEqualTypeOf<Effect.Effect<string, CallError>>()
    // @ts-expect-error: the predicate knows nothing of text
    Effect.retry(foreign, byPredicate)
    // @ts-expect-error: a policy without a first delay
    expect(() => RetryPolicy.exponential({ times: 3 })).toThrow()
  })
})
