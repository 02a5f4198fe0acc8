/**
 * Retry budgets: how much of a client's load may be retries and hedges, so that a server which fails for its load is not
 * given more of it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Stream from "effect/Stream"
import * as Time from "../Transport/internal/time.js"
import { type ClientMiddleware, selfContained } from "../Transport/Middleware/ClientMiddleware.js"
import * as Accounts from "./internal/accounts.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-transport/RetryBudget")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * What the calls of one client share, for `RetryPolicy.exponential` and `Hedge`. Several clients of one server may share one.
 *
 * @since 0.1.0
 * @category models
 */
export interface RetryBudget {
  readonly [TypeId]: TypeId
  /** How many calls could be made again now. */
  readonly available: Effect.Effect<number>
  /** @internal */
  readonly account: Accounts.Account
}

const fromAccount = (account: Accounts.Account): RetryBudget => ({
  [TypeId]: TypeId,
  available: Effect.clockWith((clock) => Effect.succeed(account.available(Time.now(clock)))),
  account
})

/**
 * @since 0.1.0
 * @category models
 */
export interface RetryBudgetOptions {
  /** Retries and hedges for each call, 0 or more. Default 0.2: a server never gets more than 1.2 times the calls. */
  readonly ratio?: number | undefined
  /**
   * What is allowed each second beside that, however few calls there are, 0 or more. Default 1. It may be used up at once for
   * the whole window, so that a client with few calls can retry one of them several times.
   */
  readonly minPerSecond?: number | undefined
  /** The time over which calls and retries are compared, from 1 second to 1 hour. Default 10 seconds. */
  readonly window?: Duration.DurationInput | undefined
}

/**
 * A share of the calls: in any window there are no more retries than `ratio` times its calls, and the floor.
 *
 * Calls are what the policies and hedges see that are given it: one for each `Effect.retry` or `Hedge.call` that is written.
 * To have it count all calls of a client, also those that nobody retries, give the client `RetryBudget.client(budget)`; of other
 * effects, `RetryBudget.track`.
 *
 * Source: the budgets of Finagle and Linkerd, which have the same defaults but for the floor.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RetryBudget, RetryPolicy, Transport } from "effect-transport"
 * import { PohService } from "./gen/poh/v1/poh_pb.js"
 *
 * const program = Effect.gen(function* () {
 *   const budget = yield* RetryBudget.make()
 *   const poh = yield* Transport.client(PohService, "peer-node:50051", { middleware: [RetryBudget.client(budget)] })
 *   const retry = RetryPolicy.exponential({ initial: "100 millis", times: 5, budget })
 *   return yield* Effect.retry(poh.prove({ slot: 7n, iterations: 1000 }), retry)
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: RetryBudgetOptions = {}): Effect.Effect<RetryBudget> =>
  Effect.sync(() =>
    fromAccount(
      Accounts.share(options.ratio ?? 0.2, options.minPerSecond ?? 1, Duration.toMillis(options.window ?? "10 seconds"))
    )
  )

/**
 * @since 0.1.0
 * @category models
 */
export interface ThrottlingOptions {
  /** What the bucket holds, more than 0 and at most 1000. Default 10. */
  readonly maxTokens?: number | undefined
  /** What a success gives back, more than 0. A failure takes 1. Default 0.1. */
  readonly tokenRatio?: number | undefined
}

/**
 * gRPC's `retryThrottling`: a bucket of tokens from which each failure takes one, and to which each success gives
 * `tokenRatio`. While it is no more than half full nothing is retried or hedged. A failure is what a policy or a hedge that has
 * the budget would make another attempt for (its `on`), also where none is left or a server says not to.
 *
 * Where the client has `RetryBudget.client(budget)`, or the effect `RetryBudget.track`, successes are those that were. Else a
 * call that a policy sees has succeeded until it fails, which is the same once calls have ended.
 *
 * Source: gRFC A6, "Throttling Retry Attempts and Hedged RPCs".
 *
 * @since 0.1.0
 * @category constructors
 */
export const throttling = (options: ThrottlingOptions = {}): Effect.Effect<RetryBudget> =>
  Effect.sync(() => fromAccount(Accounts.throttle(options.maxTokens ?? 10, options.tokenRatio ?? 0.1)))

/** What has failed is counted by what would call again, which knows what it would call again for. */
const settle = ({ account }: RetryBudget, exit: Exit.Exit<unknown, unknown>) =>
  Exit.isSuccess(exit) ? Effect.sync(account.succeeded) : Effect.void

const begin = ({ account }: RetryBudget) =>
  Effect.clockWith((clock) => Effect.sync(() => account.attempted(Time.now(clock))))

/**
 * Tells a budget of each attempt at an effect: what a policy or a hedge repeats, inside of it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const track: {
  (budget: RetryBudget): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, budget: RetryBudget): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, budget: RetryBudget): Effect.Effect<A, E, R> =>
    Effect.zipRight(
      begin(budget),
      Effect.onExit(effect, (exit) => settle(budget, exit))
    )
)

/**
 * A middleware that tells a budget of all calls of a client, streams included. It belongs last in the list, behind whatever
 * calls again.
 *
 * @since 0.1.0
 * @category middleware
 */
export const client = (budget: RetryBudget): ClientMiddleware =>
  selfContained({
    unary: (call, next) => track(next(call), budget),
    stream: (call, next) =>
      Stream.concat(
        Stream.execute(begin(budget)),
        Stream.ensuringWith(next(call), (exit) => settle(budget, exit))
      )
  })
