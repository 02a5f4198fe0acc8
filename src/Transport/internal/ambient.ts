/** What is said around calls, of all that are made inside: one service, so that a call looks for one alone. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Fiber from "../../effect/Fiber.js"
import type * as Method from "../Method.js"

/** Of several attempts at one thing, which may run at the same time. Calls made in one have to be repeatable. */
export interface Attempt {
  /** Hears of each call that is made, before it is. */
  readonly onCall: (method: Method.Any) => void
  /** Where the attempts have gone so far, for whoever chooses among several endpoints. */
  readonly tried: Set<object>
}

export interface Ambient {
  /** When calls end at the latest, in milliseconds since the epoch. */
  readonly deadline: number
  readonly attempt: Attempt | undefined
}

export class CurrentAmbient extends Context.Tag("effect-transport/Transport/internal/Ambient")<
  CurrentAmbient,
  Ambient
>() {}

const nothing: Ambient = { deadline: Number.POSITIVE_INFINITY, attempt: undefined }

const inContext = (context: Context.Context<never>): Ambient | undefined =>
  Option.getOrUndefined(Context.getOption(context, CurrentAmbient))

export const of = (fiber: Fiber.RuntimeFiber<unknown, unknown>): Ambient | undefined =>
  inContext(Fiber.contextOf(fiber))

/** Changes what is said around the calls inside of an effect. */
export const locally = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  change: (ambient: Ambient) => Partial<Ambient>
): Effect.Effect<A, E, R> =>
  Effect.mapInputContext(effect, (context: Context.Context<R>) => {
    const before = inContext(context as Context.Context<never>) ?? nothing
    return Context.add(context, CurrentAmbient, { ...before, ...change(before) })
  })

/** A context that outlives what is said around its making. */
export const without = <R>(context: Context.Context<R>): Context.Context<R> =>
  Context.omit(CurrentAmbient)(context as Context.Context<R | CurrentAmbient>) as Context.Context<R>
