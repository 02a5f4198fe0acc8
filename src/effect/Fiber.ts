/** `Fiber` with the names of Effect 4, and all that is read of the insides of fibers and runtimes. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import * as Runtime from "effect/Runtime"
import * as Tracer from "effect/Tracer"

export * from "effect/Fiber"

type AnyFiber = Fiber.RuntimeFiber<unknown, unknown>

/** Interrupts a fiber, if there is one, without waiting for its end. */
export const interruptUnsafe = (fiber: AnyFiber | undefined): void => fiber?.unsafeInterruptAsFork(FiberId.none)

/** How a fiber has ended, or undefined if it still runs. */
export const pollUnsafe = <A, E>(fiber: Fiber.RuntimeFiber<A, E>): Exit.Exit<A, E> | undefined =>
  fiber.unsafePoll() ?? undefined

/** How what was interrupted by nobody in particular has ended. */
export const interruptedExit: Exit.Exit<never> = Exit.interrupt(FiberId.none)

export const contextOf = (fiber: AnyFiber): Context.Context<never> => fiber.getFiberRef(FiberRef.currentContext)

export const clockOf = (fiber: AnyFiber): Clock.Clock =>
  Context.get(fiber.getFiberRef(DefaultServices.currentServices), Clock.Clock)

export const tracerOf = (fiber: AnyFiber): Tracer.Tracer =>
  Context.get(fiber.getFiberRef(DefaultServices.currentServices), Tracer.Tracer)

/** What a program has that installs nothing else. */
export const liveClock: Clock.Clock = Context.get(DefaultServices.liveServices, Clock.Clock)

export const liveTracer: Tracer.Tracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** An effect with a context alone, and nothing of the one around it. */
export const withContextAlone = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  context: Context.Context<never>
): Effect.Effect<A, E, R> => Effect.locally(effect, FiberRef.currentContext, context)

/** The services of a context, as `Runner.fork` takes them. */
export const servicesOf = (context: Context.Context<never>): ReadonlyArray<readonly [string, unknown]> => [
  ...context.unsafeMap
]

/** Runs effects outside of the fiber that made it, with that fiber's references. */
export interface Runner {
  /** Starts an effect at once, with these services and no others. */
  readonly fork: <A, E>(effect: Effect.Effect<A, E>, services: Map<string, unknown>) => Fiber.RuntimeFiber<A, E>
  readonly runCallback: <A, E>(effect: Effect.Effect<A, E>, onExit: (exit: Exit.Exit<A, E>) => void) => void
}

export const makeRunner: Effect.Effect<Runner> = Effect.map(Effect.runtime(), (runtime) => {
  // `runFork` by itself forks and compares all of the refs for each fiber. From an array a `Map` is made several times as
  // fast as from another one.
  const refs = [...FiberRefs.forkAs(runtime.fiberRefs, FiberId.unsafeMake()).locals]
  const bare = Runtime.make({ ...runtime, fiberRefs: FiberRefs.empty() })
  return {
    fork: (effect, services) => {
      const context = Context.unsafeMake(services)
      return Runtime.runFork(bare, effect, {
        immediate: true,
        updateRefs: (_, id) => FiberRefs.unsafeMake(new Map(refs).set(FiberRef.currentContext, [[id, context]]))
      })
    },
    runCallback: (effect, onExit) => void Runtime.runCallback(runtime)(effect, { onExit })
  }
})

const bare = Runtime.make({
  context: Context.empty(),
  runtimeFlags: Runtime.defaultRuntime.runtimeFlags,
  fiberRefs: FiberRefs.empty()
})

/** Starts an effect at once, with all that a fiber refers to, and without ending with that. */
export const startUnsafe = <A, E>(effect: Effect.Effect<A, E>, like: AnyFiber): Fiber.RuntimeFiber<A, E> => {
  const refs = like.getFiberRefs()
  return Runtime.runFork(bare, effect, { immediate: true, updateRefs: () => refs })
}
