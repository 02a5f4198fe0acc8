/**
 * Circuit breakers: calls that would most likely fail, for the state that a target or a method is in, fail at once.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type ClientCall, type ClientMiddleware, selfContained } from "../Transport/Middleware/ClientMiddleware.js"
import type { CallError, Unavailable } from "../Transport/TransportError.js"
import * as Breaker from "./internal/breaker.js"
import * as Circuit from "./internal/circuit.js"
import * as Health from "./internal/health.js"

/**
 * @since 0.1.0
 * @category type ids
 */
export const TypeId: unique symbol = Symbol.for("effect-transport/CircuitBreaker")

/**
 * @since 0.1.0
 * @category type ids
 */
export type TypeId = typeof TypeId

/**
 * - `Closed`: calls are made.
 * - `Open`: calls fail at once, until that time in milliseconds since the epoch.
 * - `HalfOpen`: a few calls are made, to see.
 *
 * It is a call that makes an open one half-open: one that nobody uses stays `Open` when its time is over.
 *
 * @since 0.1.0
 * @category models
 */
export type State = Breaker.State

/**
 * @since 0.1.0
 * @category models
 */
export interface CircuitBreaker {
  readonly [TypeId]: TypeId
  /** Its state and the changes of it, to look at. */
  readonly state: SubscriptionRef.SubscriptionRef<State>
  /** @internal */
  readonly circuit: Circuit.Circuit
}

/**
 * @since 0.1.0
 * @category models
 */
export interface CircuitBreakerOptions {
  /** What its errors and log lines call it, as a target or a method. Default: they don't. */
  readonly name?: string | undefined
  /** Opens when this share of the calls in the window has failed, above 0 and up to 1. Default 0.5. */
  readonly failureRate?: number | undefined
  /** Calls in the window before a rate says anything, 1 or more. Default 20. */
  readonly minimumCalls?: number | undefined
  /** The time over which calls are counted, 1 second or more. Default 10 seconds. */
  readonly window?: Duration.DurationInput | undefined
  /** Opens when calls that took longer than `after` make up this share of those in the window. Default: no time is too long. */
  readonly slow?: { readonly after: Duration.DurationInput; readonly rate?: number | undefined } | undefined
  /** How long it stays open. Default 5 seconds. */
  readonly openFor?: Duration.DurationInput | undefined
  /** How long at most, where each time that it opens again without having been closed is twice as long. Default `openFor`. */
  readonly maxOpenFor?: Duration.DurationInput | undefined
  /** Calls that are made while it is half-open, and that have to succeed before it closes, 1 or more. Default 1. */
  readonly probes?: number | undefined
  /**
   * Which errors say that the target is not well, of an effect that took so long. A defect always does; an interruption says
   * nothing, neither for nor against it.
   *
   * Default: of this library's errors `Unavailable`, `DeadlineExceeded`, `Internal`, `Unknown`, `DataLoss` and
   * `HandshakeFailed`, and all others. A node that passes on its callers' deadlines has to look at the time: callers who
   * wait for a moment alone would have the circuit opened for all.
   */
  readonly isFailure?: ((error: unknown, took: Duration.Duration) => boolean) | undefined
}

/** An option that has to be a finite number no less than another. */
const atLeast = (least: number, value: number): number => (Number.isFinite(value) && value > least ? value : least)

/**
 * A closed circuit breaker, for whatever is well or unwell together: a target, or a method of one.
 *
 * @example
 * ```ts
 * import { Effect, Stream } from "effect"
 * import { CircuitBreaker, Transport } from "effect-transport"
 * import { PohService } from "./gen/poh/v1/poh_pb.js"
 *
 * const program = Effect.gen(function* () {
 *   const breaker = yield* CircuitBreaker.make({ name: "peer-node", openFor: "2 seconds" })
 *   yield* Effect.forkScoped(Stream.runForEach(breaker.state.changes, (state) => Effect.logInfo(state._tag)))
 *   const poh = yield* Transport.client(PohService, "peer-node:50051", { middleware: [CircuitBreaker.client(breaker)] })
 *   return yield* poh.prove({ slot: 7n, iterations: 1000 })
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: CircuitBreakerOptions = {}): Effect.Effect<CircuitBreaker> =>
  Effect.gen(function* () {
    const millis = (duration: Duration.DurationInput) => Duration.toMillis(duration)
    const openMillis = millis(options.openFor ?? "5 seconds")
    const breaker = Breaker.make(
      {
        failureRate: atLeast(Number.MIN_VALUE, options.failureRate ?? 0.5),
        minimumCalls: atLeast(1, options.minimumCalls ?? 20),
        slowerThanMillis: options.slow === undefined ? Number.POSITIVE_INFINITY : millis(options.slow.after),
        slowRate: atLeast(Number.MIN_VALUE, options.slow?.rate ?? 0.5),
        openMillis,
        maxOpenMillis: options.maxOpenFor === undefined ? openMillis : millis(options.maxOpenFor),
        probes: Math.trunc(atLeast(1, options.probes ?? 1))
      },
      atLeast(1000, millis(options.window ?? "10 seconds"))
    )
    const state = yield* SubscriptionRef.make(breaker.state())
    const { isFailure = Health.isFailure, name = "" } = options
    return { [TypeId]: TypeId, state, circuit: { state, breaker, name, isFailure } }
  })

/**
 * Runs an effect where the circuit is closed, or half-open and in need of a probe. Else it fails with `Unavailable`,
 * `processed: "no"`, whose details have the time until the circuit lets a call through again as `google.rpc.RetryInfo`: a
 * `RetryPolicy` waits for at least as long.
 *
 * @since 0.1.0
 * @category combinators
 */
export const call: {
  (breaker: CircuitBreaker): <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E | Unavailable, R>
  <A, E, R>(effect: Effect.Effect<A, E, R>, breaker: CircuitBreaker): Effect.Effect<A, E | Unavailable, R>
} = dual(
  2,
  <A, E, R>(effect: Effect.Effect<A, E, R>, breaker: CircuitBreaker): Effect.Effect<A, E | Unavailable, R> =>
    Circuit.around(breaker.circuit, effect, {})
)

/**
 * A middleware that has the calls of a client pass a circuit breaker: one for all of them, or one that is found for each. A
 * call that streams has succeeded when its first message is there.
 *
 * It belongs behind whatever calls again, so that each attempt passes it.
 *
 * @since 0.1.0
 * @category middleware
 */
export const client = (
  breaker: CircuitBreaker | ((call: ClientCall) => Effect.Effect<CircuitBreaker, CallError>)
): ClientMiddleware => {
  const find = typeof breaker === "function" ? breaker : () => Effect.succeed(breaker)
  return selfContained({
    unary: (call, next) => Effect.flatMap(find(call), ({ circuit }) => Circuit.around(circuit, next(call), call)),
    stream: (call, next) =>
      Stream.unwrap(Effect.map(find(call), ({ circuit }) => Circuit.aroundStream(circuit, next(call), call)))
  })
}

/**
 * A circuit breaker for each method of each target, made when it is first asked for, with the name of both: for `client`, and
 * to look at their states.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { CircuitBreaker, Transport } from "effect-transport"
 * import { PohService } from "./gen/poh/v1/poh_pb.js"
 *
 * const program = Effect.gen(function* () {
 *   const breakers = yield* CircuitBreaker.byMethod({ openFor: "2 seconds" })
 *   const middleware = [CircuitBreaker.client(breakers)]
 *   const poh = yield* Transport.client(PohService, "peer-node:50051", { middleware })
 *   yield* poh.prove({ slot: 7n, iterations: 1000 })
 *   const { state } = yield* breakers({ method: "/poh.v1.PohService/Prove", peer: "peer-node:50051" })
 *   return yield* state
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const byMethod = (
  options: Omit<CircuitBreakerOptions, "name"> = {}
): Effect.Effect<(call: Pick<ClientCall, "method" | "peer">) => Effect.Effect<CircuitBreaker>> =>
  Effect.sync(() => {
    const breakers = new Map<string, CircuitBreaker>()
    return ({ method, peer }) =>
      Effect.suspend(() => {
        const name = `${method} at ${peer}`
        const found = breakers.get(name)
        if (found !== undefined) {
          return Effect.succeed(found)
        }
        return Effect.map(make({ ...options, name }), (made) => {
          // Another fiber may have been faster.
          const breaker = breakers.get(name) ?? made
          breakers.set(name, breaker)
          return breaker
        })
      })
  })
