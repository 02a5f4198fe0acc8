/** An admission as a service: its options can be replaced while listeners ask it. */
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { AdmissionError, type AdmissionOptions } from "../../../Transport/AdmissionRules.js"
import type { AdmissionService } from "../../../Transport/AdmissionService.js"
import * as Boundary from "../../../Transport/internal/boundary.js"
import { Limiter } from "../../Limiter.js"
import * as Gate from "./gate.js"
import * as Leases from "./leases.js"
import * as Match from "./match.js"
import * as Policy from "./policy.js"
import * as Pressure from "./pressure.js"

const compile = (options: AdmissionOptions): Effect.Effect<Policy.Policy, AdmissionError> =>
  Effect.suspend(() => {
    const policy = Policy.compile(options)
    return policy instanceof AdmissionError ? Effect.fail(policy) : Effect.succeed(policy)
  })

const compileMatch = (match: Parameters<typeof Match.compile>[0]): Effect.Effect<Match.Compiled, AdmissionError> =>
  Effect.try({
    try: () => Match.compile(match),
    catch: (cause) =>
      new AdmissionError({
        message: cause instanceof Match.Malformed ? cause.message : `the match can't be read: ${String(cause)}`,
        reason: "Malformed"
      })
  })

/** The same with measures of its own. */
export const makeWith = (
  options: AdmissionOptions,
  measures: Pressure.Measures
): Effect.Effect<AdmissionService, AdmissionError, Scope.Scope> =>
  Effect.gen(function* () {
    const policy = yield* compile(options)
    const boundary = yield* Boundary.make
    const clock = yield* Effect.clock
    const limiter = yield* Effect.serviceOption(Limiter)
    const run = yield* FiberSet.makeRuntime()
    const admission = Gate.make(
      policy,
      boundary,
      clock,
      Option.isSome(limiter) ? (now) => Leases.make(limiter.value, run, boundary, now) : undefined
    )
    const current = yield* SubscriptionRef.make(options)
    yield* measures(admission.measured)
    return {
      inspect: Effect.sync(admission.snapshot),
      options: SubscriptionRef.get(current),
      changes: current.changes,
      update: (next) =>
        Effect.flatMap(compile(next), (policy) =>
          Effect.zipRight(
            Effect.sync(() => admission.change(policy)),
            SubscriptionRef.set(current, next)
          )
        ),
      drop: (match) => Effect.map(compileMatch(match), admission.drop),
      gate: admission.gate
    }
  })

export const make = (options: AdmissionOptions = {}): Effect.Effect<AdmissionService, AdmissionError, Scope.Scope> =>
  makeWith(options, Pressure.live)
