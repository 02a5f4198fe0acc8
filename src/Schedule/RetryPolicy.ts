/**
 * Retry policies: plain schedules for `Effect.retry` and `Stream.retry` at the call site. Nothing inside a transport
 * retries.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Predicate from "effect/Predicate"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as ScheduleDecision from "effect/ScheduleDecision"
import * as ScheduleInterval from "effect/ScheduleInterval"
import * as CallDeadline from "../Transport/internal/callDeadline.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import * as Time from "../Transport/internal/time.js"
import { type ClientMiddleware, selfContained } from "../Transport/Middleware/ClientMiddleware.js"
import type { CallError } from "../Transport/TransportError.js"
import * as Budgeted from "./internal/budgeted.js"
import * as Safe from "./internal/safe.js"
import * as Pushback from "./Pushback.js"
import type { RetryBudget } from "./RetryBudget.js"

/**
 * The `_tag` of an error; those of this library are suggested, any other will do.
 *
 * @since 0.1.0
 * @category models
 */
export type Tag = CallError["_tag"] | (string & Record<never, never>)

/**
 * @since 0.1.0
 * @category models
 */
export interface ExponentialOptions<in E = unknown> {
  /** The delay before the first retry. */
  readonly initial: Duration.DurationInput
  /** What each further delay is multiplied by. Default 2. */
  readonly multiplier?: number | undefined
  /** Retries, beside the first attempt. Default 5, so that nothing is retried for ever unless `Infinity` says so. */
  readonly times?: number | undefined
  /**
   * The longest delay, computed or asked for by a server: a peer can't hold a caller for longer. Default 120 seconds,
   * `MAX_BACKOFF` of gRPC's "connection-backoff.md".
   */
  readonly maxDelay?: Duration.DurationInput | undefined
  /**
   * Multiplies each computed delay, after the cap, by a random factor from 0.8 to 1.2, drawn evenly from Effect's
   * `Random`, so that callers that failed together do not return together. Default true.
   *
   * Source: gRFC A6 and "connection-backoff.md" of gRPC, `JITTER = 0.2`.
   */
  readonly jitter?: boolean | undefined
  /**
   * The tags of the errors to retry, or a predicate. Everything else passes through at once, without a delay or a log
   * line.
   *
   * Default: of this library's errors what is safe to retry, and all others. Safe is an `Unavailable` that says
   * `processed: "no"`, or whose method the contract marks as `idempotent`. With `["Unavailable"]` the calls that may have
   * run are retried too.
   */
  readonly on?: ReadonlyArray<Tag> | Predicate.Predicate<E> | undefined
  /**
   * What the calls of a client share: where it has nothing left the error passes through, without a delay and with a line for
   * debugging. Default: none.
   */
  readonly budget?: RetryBudget | undefined
}

interface State {
  readonly retries: number
  /** Delays computed since the start or the last pushback. */
  readonly backoffs: number
}

const nameOf = (error: unknown): string => {
  const name = Predicate.hasProperty(error, "_tag") ? error._tag : error instanceof Error ? error.name : undefined
  return typeof name === "string" && name !== "" ? name : "failure"
}

const annotations = (error: unknown, delay: number) => ({
  delayMs: Math.round(delay),
  ...(Predicate.hasProperty(error, "method") && typeof error.method === "string" ? { method: error.method } : {}),
  ...(Predicate.hasProperty(error, "peer") && typeof error.peer === "string" ? { target: error.peer } : {})
})

/**
 * Retries after delays that grow exponentially: the n-th is `initial * multiplier ** (n - 1)`, at most `maxDelay`, with
 * jitter. Works with errors of any kind; the caller gets the last one untouched. The output is the delay. Without `on` no
 * call is repeated that may have run, unless its contract says that it may be (`Method.idempotency`).
 *
 * A server's pushback goes before the formula, is capped by `maxDelay`, and counts against `times`:
 *
 * - `grpc-retry-pushback-ms` in the error's `metadata` is the exact delay, after which the formula starts again from
 *   `initial`. A negative or unreadable value ends the retries.
 * - `google.rpc.RetryInfo` in the error's `details` is the least delay.
 *
 * Each retry logs `retry: caught Unavailable (1/5)` as a warning, annotated with `delayMs` and, where the error has
 * them, `method` and `target`: the error's `_tag`, else the name of an `Error`, else `failure`. The line is written when the policy
 * decides, so prefer `times` and `on` to limits that are composed around it.
 *
 * The policy holds no state but its budget's: one value may serve any number of programs at once. `Stream.retry` starts it
 * again with each element that arrives, each of which is a call to a budget.
 *
 * Source: gRFC A6, "Exponential Backoff" and "Pushback".
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RetryPolicy, Unavailable } from "effect-transport"
 *
 * const call = Effect.fail(new Unavailable({ message: "the node restarts" }))
 *
 * const retried = Effect.retry(
 *   call,
 *   RetryPolicy.exponential({ initial: "100 millis", times: 5, on: ["Unavailable"] })
 * )
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const exponential = <E = unknown>(options: ExponentialOptions<E>): Schedule.Schedule<Duration.Duration, E> => {
  const { budget, jitter = true, multiplier = 2, on, times = 5 } = options
  const initial = Duration.toMillis(options.initial)
  const maxDelay = Duration.toMillis(options.maxDelay ?? "120 seconds")
  const matches = Safe.matching(on)

  const backoff = (n: number) => {
    // The power is kept finite: an infinite one times an `initial` of 0 would be NaN.
    const delay = Math.min(initial * Math.min(multiplier ** n, Number.MAX_VALUE), maxDelay)
    return jitter ? Effect.map(Random.nextRange(0.8, 1.2), (factor) => delay * factor) : Effect.succeed(delay)
  }

  const done = (state: State) => [state, Duration.zero, ScheduleDecision.done] as const

  const step = Effect.fnUntraced(function* (now: number, error: E, state: State) {
    const isFirst = state.retries === 0
    if (!matches(error)) {
      return done(state)
    }
    const pushback = Pushback.fromError(error)
    const mayRetry = pushback._tag !== "Refused" && state.retries < times
    if (budget !== undefined) {
      const time = Time.now(yield* Effect.clock)
      Budgeted.failed(budget.account, time, isFirst ? state : undefined)
      if (mayRetry && !budget.account.take(time)) {
        yield* Effect.logDebug(`retry: no budget left to retry ${nameOf(error)}`).pipe(
          Effect.annotateLogs(annotations(error, 0))
        )
        return done(state)
      }
    }
    if (!mayRetry) {
      return done(state)
    }
    const asked = Math.min(pushback.millis, maxDelay)
    const exact = pushback._tag === "Exactly"
    const delay = exact ? asked : Math.max(asked, yield* backoff(state.backoffs))
    const retries = state.retries + 1
    CallMetrics.retried(error)
    yield* Effect.logWarning(`retry: caught ${nameOf(error)} (${retries}/${times})`).pipe(
      Effect.annotateLogs(annotations(error, delay))
    )
    return [
      { retries, backoffs: exact ? 0 : state.backoffs + 1 },
      Duration.millis(delay),
      ScheduleDecision.continueWith(ScheduleInterval.after(now + delay))
    ] as const
  })

  const initialState = (): State => ({ retries: 0, backoffs: 0 })
  const schedule = Schedule.makeWithState<State, E, Duration.Duration>(initialState(), step)
  return budget === undefined ? schedule : Budgeted.counting(schedule, budget.account, initialState)
}

/**
 * A middleware that retries the unary calls of a client as `Effect.retry` with `exponential` would, up to their deadline.
 * Calls that stream pass: one that failed after some answers would begin again.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { RetryPolicy, Transport } from "effect-transport"
 * import { PohService } from "./gen/poh/v1/poh_pb.js"
 *
 * const program = Transport.client(PohService, "peer-node:50051", {
 *   middleware: [RetryPolicy.client({ initial: "100 millis" })]
 * })
 * ```
 *
 * @since 0.1.0
 * @category middleware
 */
export const client = (options: ExponentialOptions<CallError>): ClientMiddleware => {
  const policy = exponential(options)
  return selfContained({
    unary: (call, next) => CallDeadline.until(Effect.retry(next(call), policy), call),
    stream: (call, next) => next(call)
  })
}
