/**
 * Deadlines: the moment after which nobody waits for a call's answer.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Either from "effect/Either"
import { dual } from "effect/Function"
import * as Ambient from "./internal/ambient.js"
import * as Time from "./internal/time.js"
import { DeadlineExceeded } from "./TransportError.js"

/**
 * Milliseconds since the epoch by the program's `Clock`, or `Infinity` for none. The system's clock is looked at once, when
 * the process starts, and counted on from there: setting it later moves no deadline.
 *
 * @since 0.1.0
 * @category models
 */
export type Deadline = number

/**
 * No deadline.
 *
 * @since 0.1.0
 * @category constructors
 */
export const none: Deadline = Number.POSITIVE_INFINITY

/**
 * The deadline that a timeout sets when counted from `now`, in milliseconds since the epoch. An infinite timeout gives
 * `none`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const after: {
  (timeout: Duration.DurationInput): (now: number) => Deadline
  (now: number, timeout: Duration.DurationInput): Deadline
} = dual(2, (now: number, timeout: Duration.DurationInput): Deadline => now + Duration.toMillis(timeout))

/**
 * The earlier of two.
 *
 * @since 0.1.0
 * @category combinators
 */
export const min: {
  (that: Deadline): (self: Deadline) => Deadline
  (self: Deadline, that: Deadline): Deadline
} = dual(2, (self: Deadline, that: Deadline): Deadline => Math.min(self, that))

/**
 * The time left, zero when the deadline has passed.
 *
 * @since 0.1.0
 * @category getters
 */
export const remaining = (self: Deadline): Effect.Effect<Duration.Duration> =>
  Effect.clockWith((clock) => Effect.succeed(Duration.millis(Math.max(0, self - Time.now(clock)))))

/** What steps of equal length weigh. */
const equal = (steps: number): ReadonlyArray<number> => Array.from({ length: Math.max(0, Math.trunc(steps)) }, () => 1)

/**
 * Deadlines for steps that are done one after the other: the time left, in equal parts or in proportion to weights, in whole
 * milliseconds. The last step has all that is left of the whole, and what one does not use the next ones have. A weight that is no
 * finite number above 0 counts as 0.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Deadline, Transport } from "effect-transport"
 *
 * declare const lookUp: Effect.Effect<string>
 * declare const fetch: (place: string) => Effect.Effect<Uint8Array>
 *
 * // A quarter of the time to find out where it is, so that there is time left to get it.
 * const handler = Effect.gen(function* () {
 *   const { deadline } = yield* Transport.CurrentCall
 *   const [found, fetched] = yield* Deadline.split(deadline, [1, 3])
 *   const place = yield* Deadline.within(lookUp, found)
 *   return yield* Deadline.within(fetch(place), fetched)
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const split: {
  (steps: number): (self: Deadline) => Effect.Effect<ReadonlyArray<Deadline>>
  <const W extends ReadonlyArray<number>>(
    weights: W
  ): (self: Deadline) => Effect.Effect<{ readonly [K in keyof W]: Deadline }>
  (self: Deadline, steps: number): Effect.Effect<ReadonlyArray<Deadline>>
  <const W extends ReadonlyArray<number>>(
    self: Deadline,
    weights: W
  ): Effect.Effect<{ readonly [K in keyof W]: Deadline }>
} = dual(2, (self: Deadline, parts: number | ReadonlyArray<number>) =>
  Effect.clockWith((clock) => {
    const now = Time.now(clock)
    const given = (typeof parts === "number" ? equal(parts) : parts).map((weight) =>
      Number.isFinite(weight) ? Math.max(0, weight) : 0
    )
    const add = (sum: number, weight: number) => sum + weight
    // The sum of the largest of numbers is none.
    const weights = Number.isFinite(given.reduce(add, 0)) ? given : given.map((weight) => weight / Number.MAX_VALUE)
    const total = weights.reduce(add, 0)
    let sum = 0
    const deadlines = weights.map((weight) => {
      sum += weight
      return self <= now || self === none || sum === total
        ? self
        : Math.min(self, Math.ceil(now + ((self - now) * sum) / total))
    })
    return Effect.succeed(deadlines)
  })
)

/**
 * An effect that ends by a deadline: it is interrupted and fails with `DeadlineExceeded` then. Calls made inside have no later
 * deadline, so that their peers know of it too. Inside of another, the earlier one holds.
 *
 * @since 0.1.0
 * @category combinators
 */
export const within: {
  (deadline: Deadline): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | DeadlineExceeded, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, deadline: Deadline): Effect.Effect<A, E | DeadlineExceeded, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, deadline: Deadline): Effect.Effect<A, E | DeadlineExceeded, R> =>
    deadline === none
      ? effect
      : Effect.flatMap(remaining(deadline), (left) =>
          Duration.toMillis(left) === 0
            ? Effect.fail(new DeadlineExceeded({ message: "the deadline had passed before" }))
            : Effect.timeoutFail(
                Ambient.locally(effect, (ambient) => ({ deadline: Math.min(ambient.deadline, deadline) })),
                { duration: left, onTimeout: () => new DeadlineExceeded({ message: "the deadline passed" }) }
              )
        )
)

/**
 * @since 0.1.0
 * @category models
 */
export interface FanOutOptions {
  /** When the whole has to be done, as `call.deadline` in a handler. */
  readonly deadline: Deadline
  /** How many run at the same time, 1 or more. Default: all. */
  readonly concurrency?: number | undefined
  /** The time that is kept for what is done with the results. Default 0. */
  readonly reserve?: Duration.DurationInput | undefined
}

/**
 * Runs effects as one budget of time allows, and succeeds with what became of each, in their order, by the deadline less
 * `reserve` at the latest. One that is not done by then, or before its turn came, has failed with `DeadlineExceeded`.
 *
 * Where not all run at once, each has as much of the time left as leaves the same to each of those that have not begun: a few
 * that hang cost the others nothing but the place.
 *
 * @example
 * ```ts
 * import { Effect, Either } from "effect"
 * import { Deadline, Transport } from "effect-transport"
 *
 * declare const replicas: ReadonlyArray<Effect.Effect<number>>
 *
 * // What was heard of the replicas when there is still time to answer.
 * const heights = Effect.gen(function* () {
 *   const { deadline } = yield* Transport.CurrentCall
 *   const answers = yield* Deadline.fanOut(replicas, { deadline, reserve: "50 millis" })
 *   return answers.filter(Either.isRight).map((answer) => answer.right)
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const fanOut = <A, E, R>(
  effects: Iterable<Effect.Effect<A, E, R>>,
  options: FanOutOptions
): Effect.Effect<ReadonlyArray<Either.Either<A, E | DeadlineExceeded>>, never, R> =>
  Effect.suspend(() => {
    const all = [...effects]
    const concurrency = Math.max(1, Math.trunc((options.concurrency ?? Number.POSITIVE_INFINITY) || 1))
    const end = options.deadline - Duration.toMillis(options.reserve ?? 0)
    let waiting = all.length
    const one = (effect: Effect.Effect<A, E, R>) =>
      Effect.clockWith((clock) => {
        const now = Time.now(clock)
        waiting -= 1
        // How many run one after the other in one place, this one included.
        const rounds = 1 + Math.ceil(waiting / concurrency)
        const deadline = end > now && end !== none ? Math.min(end, Math.ceil(now + (end - now) / rounds)) : end
        return Effect.either(within(effect, deadline))
      })
    return Effect.forEach(all, one, { concurrency: Number.isFinite(concurrency) ? concurrency : "unbounded" })
  })
