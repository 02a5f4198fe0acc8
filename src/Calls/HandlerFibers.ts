/** The fibers that run the handlers of one listener, and how they are interrupted when it drains. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Deferred from "../effect/Deferred.js"
import * as Fiber from "../effect/Fiber.js"
import { CurrentCall } from "../Transport/Call.js"
import type { IncomingCall } from "../Transport/IncomingCall.js"
import * as Count from "../Transport/internal/gauge.js"
import * as Metadata from "../Transport/Metadata.js"
import { Internal, type StatusError } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import * as CallScope from "./CallScope.js"

/** The handler fibers of one listener. They run in the listener's runtime, not in that of whoever made the call. */
export interface InFlight {
  /**
   * Starts the handler of a call at once, up to where it first waits, and tells how it ended: with a defect as
   * `Internal`. It has a scope of its own, or what it acquires would be held for as long as the listener. Where `onExit`
   * throws it is called once more, with `Internal` and without response metadata; where it throws again the connection
   * ends.
   */
  readonly fork: <A>(
    handler: Effect.Effect<A, StatusError>,
    context: Context.Context<never>,
    call: IncomingCall,
    onExit: (exit: Exit.Exit<A, StatusError>) => void
  ) => Fiber.RuntimeFiber<A, StatusError>
  /** Completes when `drain` begins. */
  readonly draining: Effect.Effect<void>
  readonly isDraining: () => boolean
  /** Lets the handlers go on for the grace period, interrupts those left, and waits for them a little. */
  readonly drain: (gracePeriod: Duration.DurationInput) => Effect.Effect<void>
}

/** How long an interrupted handler may take to clean up before its connection is closed under it. */
const cleanupPeriod = Duration.seconds(1)

const internal = Exit.fail(new Internal({ message: "internal error" }))

/** How a handler ended. What is thrown around it, as by a tracer, did not go through the route. */
export const settled = <A>(
  exit: Exit.Exit<A, StatusError>,
  { boundary, method }: IncomingCall
): Exit.Exit<A, StatusError> => {
  if (Exit.isSuccess(exit) || Cause.isInterruptedOnly(exit.cause) || Option.isSome(Cause.failureOption(exit.cause))) {
    return exit
  }
  boundary.caught("handler", method, Cause.squash(exit.cause))
  return internal
}

const tell = <A>(
  call: IncomingCall,
  exit: Exit.Exit<A, StatusError>,
  onExit: (exit: Exit.Exit<A, StatusError>) => void
): void => {
  const { boundary, method, response } = call
  try {
    onExit(settled(exit, call))
    return
  } catch (cause) {
    boundary.caught("handler", method, cause)
  }
  try {
    response.headers = Metadata.empty
    response.trailers = Metadata.empty
    onExit(internal)
  } catch (cause) {
    boundary.guard("handler", method, () => call.endConnection(cause), constVoid)
  }
}

export const make: Effect.Effect<InFlight> = Effect.gen(function* () {
  const runner = yield* Fiber.makeRunner
  const draining = yield* Deferred.make<void>()
  const idle = yield* Deferred.make<void>()
  const fibers = new Set<Fiber.RuntimeFiber<unknown, unknown>>()
  let isDraining = false

  const settle = () => {
    if (isDraining && fibers.size === 0) {
      Deferred.doneUnsafe(idle, Effect.void)
    }
  }

  const services = new WeakMap<Context.Context<never>, ReadonlyArray<readonly [string, unknown]>>()
  const servicesOf = (context: Context.Context<never>) => {
    const before = services.get(context)
    if (before !== undefined) {
      return before
    }
    const entries = Fiber.servicesOf(context)
    services.set(context, entries)
    return entries
  }

  const fork = <A>(
    handler: Effect.Effect<A, StatusError>,
    context: Context.Context<never>,
    call: IncomingCall,
    onExit: (exit: Exit.Exit<A, StatusError>) => void
  ): Fiber.RuntimeFiber<A, StatusError> => {
    const scope = CallScope.make()
    const own = new Map(servicesOf(context)).set(CurrentCall.key, call).set(Scope.Scope.key, scope)
    const fiber = runner.fork(handler, own)
    const ended = Fiber.pollUnsafe(fiber)
    // Most have, and a `Set` of short-lived entries is slow to live with (`IdTable`).
    if (ended !== undefined && scope.made() === undefined) {
      tell(call, ended, onExit)
      return fiber
    }
    fibers.add(fiber)
    Count.add(TransportMetrics.callsInFlight, 1)
    const end = (exit: Exit.Exit<A, StatusError>) => {
      tell(call, exit, onExit)
      fibers.delete(fiber)
      Count.add(TransportMetrics.callsInFlight, -1)
      settle()
    }
    fiber.addObserver((exit) => {
      const made = scope.made()
      if (made === undefined) {
        return end(exit)
      }
      runner.runCallback(CallScope.close(made, exit, call), (closed) => end(Exit.flatten(closed)))
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
          Fiber.interruptUnsafe(fiber)
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
