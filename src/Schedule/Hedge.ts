/**
 * Hedging: a call that takes longer than most is made once more, elsewhere where there is an elsewhere, and the first answer
 * is taken.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Predicate from "effect/Predicate"
import * as CallDeadline from "../Transport/internal/callDeadline.js"
import { type ClientMiddleware, selfContained } from "../Transport/Middleware/ClientMiddleware.js"
import type { CallError } from "../Transport/TransportError.js"
import * as Hedging from "./internal/hedging.js"
import * as Latencies_ from "./internal/latencies.js"
import * as Safe from "./internal/safe.js"
import type { RetryBudget } from "./RetryBudget.js"
import type { Tag } from "./RetryPolicy.js"

/**
 * A share of the attempts: `"p95"` is the time in which 95 of 100 have succeeded.
 *
 * @since 0.1.0
 * @category models
 */
export type Quantile = "p50" | "p75" | "p90" | "p95" | "p99"

/**
 * How long the latest 512 attempts took, of whatever is given it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Latencies {
  /** The time of a quantile in milliseconds; undefined while there are fewer than 20. */
  readonly quantile: (q: number) => number | undefined
  /** @internal */
  readonly add: (millis: number) => void
}

/**
 * @since 0.1.0
 * @category models
 */
export interface HedgeOptions<in E = unknown> {
  /**
   * How long an attempt has before the next one begins: a duration, or a quantile of what attempts take. 0 begins all at once.
   * While fewer than 20 attempts have succeeded a quantile is not known, and none begins for it.
   */
  readonly after: Duration.DurationInput | Quantile
  /** Attempts, the first included, from 1 to 5. Default 2. More than 5 are 5, as gRPC has it. */
  readonly max?: number | undefined
  /** What the calls of a client share: where it has nothing left no other attempt begins. Default: none. */
  readonly budget?: RetryBudget | undefined
  /**
   * The tags of the errors after which the next attempt begins at once, or a predicate: those that gRPC calls non-fatal. After
   * any other the whole fails with it. Default: what `RetryPolicy.exponential` retries.
   */
  readonly on?: ReadonlyArray<Tag> | Predicate.Predicate<E> | undefined
  /**
   * The attempts that a quantile is of. Default: of `call`, all attempts of this process at the method that is called, wherever they
   * went, and for effects that call none those with the same options, which have to be the same object then; of `client`, those of the
   * method that the middleware sees.
   */
  readonly latencies?: Latencies | undefined
}

/**
 * Attempts that several hedges measure together, apart from all others.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeLatencies: Effect.Effect<Latencies> = Effect.sync(Latencies_.make)

const quantiles: Record<Quantile, number> = { p50: 0.5, p75: 0.75, p90: 0.9, p95: 0.95, p99: 0.99 }

const isQuantile = (after: Duration.DurationInput | Quantile): after is Quantile =>
  typeof after === "string" && Object.hasOwn(quantiles, after)

const maxAttempts = 5

const planOf = <E>(options: HedgeOptions<E>, owner: object): Hedging.Plan<E> => {
  const max = Math.trunc(options.max ?? 2)
  const { after, latencies } = options
  return {
    max: max >= 1 ? Math.min(max, maxAttempts) : 1,
    after: isQuantile(after)
      ? { quantile: quantiles[after], latencies: latencies ?? Latencies_.of(owner) }
      : Duration.toMillis(after),
    ofMethod: isQuantile(after) && latencies === undefined,
    account: options.budget?.account,
    isNonFatal: Safe.matching(options.on)
  }
}

/**
 * Runs an effect, and runs it again, beside, where it has not ended after some time, or has failed as may be worth another
 * attempt. The first success is the result, and the others are interrupted: calls end at their peers as well. Where all have failed
 * the last error is the result.
 *
 * Calls that are made inside have to be of methods whose contract says that they may be repeated (`Method.idempotency`, in a .proto
 * `option idempotency_level`). One of another method is not sent and fails with `InvalidArgument`. For anything else that the effect
 * does, the caller vouches.
 *
 * A server's `grpc-retry-pushback-ms` and `google.rpc.RetryInfo` say when the next attempt begins, up to 120 seconds, and a
 * negative or unreadable pushback that none does; those that run go on.
 *
 * Source: gRFC A6, "Hedging Policy".
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { Hedge, RetryBudget, Transport } from "effect-transport"
 * import { PohService } from "./gen/poh/v1/poh_pb.js"
 *
 * const program = Effect.gen(function* () {
 *   const budget = yield* RetryBudget.make({ ratio: 0.1 })
 *   const poh = yield* Transport.client(PohService, "peer-node:50051")
 *   return yield* Hedge.call(poh.prove({ slot: 7n, iterations: 1000 }), { after: "p95", max: 2, budget })
 * })
 * ```
 *
 * @since 0.1.0
 * @category combinators
 */
export const call: {
  <E>(options: HedgeOptions<E>): <A, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, options: HedgeOptions<NoInfer<E>>): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, options: HedgeOptions<E>): Effect.Effect<A, E, R> =>
    Hedging.run(effect, planOf(options, options))
)

/**
 * A middleware that hedges the unary calls of a client whose methods may be repeated, up to their deadline. All others pass as
 * they are. What attempts take is measured for each method, in all clients that are given the same middleware.
 *
 * @since 0.1.0
 * @category middleware
 */
export const client = (options: HedgeOptions<CallError>): Effect.Effect<ClientMiddleware> =>
  Effect.sync(() => {
    const plans = new Map<string, Hedging.Plan<CallError>>()
    const planFor = (method: string) => {
      const plan = plans.get(method) ?? { ...planOf(options, {}), ofMethod: false }
      plans.set(method, plan)
      return plan
    }
    return selfContained({
      unary: (call, next) =>
        call.idempotency === "unknown"
          ? next(call)
          : CallDeadline.until(Hedging.run(next(call), planFor(call.method)), call),
      stream: (call, next) => next(call)
    })
  })
