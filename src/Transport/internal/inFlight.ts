import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as Runtime from "effect/Runtime"
import * as TransportMetrics from "../TransportMetrics.js"
import * as Count from "./count.js"

/** The handler fibers of one listener. They run in the listener's runtime, not in that of whoever made the call. */
export interface InFlight {
  /** Starts a handler at once, up to where it first waits, and tells how it ended. */
  readonly fork: <A, E>(
    handler: Effect.Effect<A, E>,
    context: Context.Context<never>,
    onExit: (exit: Exit.Exit<A, E>) => void
  ) => Fiber.RuntimeFiber<A, E>
  /** Completes when `drain` begins. */
  readonly draining: Effect.Effect<void>
  readonly isDraining: () => boolean
  /** Lets the handlers go on for the grace period, interrupts those left, and waits for them a little. */
  readonly drain: (gracePeriod: Duration.DurationInput) => Effect.Effect<void>
}

/** How long an interrupted handler may take to clean up before its connection is closed under it. */
const cleanupPeriod = Duration.seconds(1)

export const make: Effect.Effect<InFlight> = Effect.gen(function* () {
  const runtime = yield* Effect.runtime()
  const draining = yield* Deferred.make<void>()
  const idle = yield* Deferred.make<void>()
  const fibers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  let isDraining = false

  const settle = () => {
    if (isDraining && fibers.size === 0) {
      Deferred.unsafeDone(idle, Effect.void)
    }
  }

  const fork: InFlight["fork"] = (handler, context, onExit) => {
    const fiber = Runtime.runFork(Runtime.make({ ...runtime, context }))(handler, { immediate: true })
    fibers.add(fiber)
    Count.add(TransportMetrics.callsInFlight, 1)
    fiber.addObserver((exit) => {
      onExit(exit)
      fibers.delete(fiber)
      Count.add(TransportMetrics.callsInFlight, -1)
      settle()
    })
    return fiber
  }

  // A scope closes without interruption, which a timeout needs to end what it waits for.
  const waitIdle = (period: Duration.DurationInput) =>
    Effect.timeoutOption(Effect.interruptible(Deferred.await(idle)), period)

  const drain = (gracePeriod: Duration.DurationInput) =>
    Effect.gen(function* () {
      isDraining = true
      yield* Deferred.succeed(draining, undefined)
      settle()
      const drained = yield* waitIdle(gracePeriod)
      if (drained._tag === "None") {
        yield* Effect.logWarning(`${fibers.size} calls were still running after the grace period and are interrupted`)
        for (const fiber of fibers) {
          fiber.unsafeInterruptAsFork(FiberId.none)
        }
        yield* waitIdle(cleanupPeriod)
      }
    })

  return {
    fork,
    draining: Deferred.await(draining),
    isDraining: () => isDraining,
    drain
  }
})
