/** The attempts of one hedged effect: when they begin, and which of them ends it. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Fiber from "../../effect/Fiber.js"
import * as Ambient from "../../Transport/internal/ambient.js"
import * as CallDeadline from "../../Transport/internal/callDeadline.js"
import * as Time from "../../Transport/internal/time.js"
import * as Pushback from "../Pushback.js"
import type { Account } from "./accounts.js"
import * as Latencies from "./latencies.js"

export interface Plan<in E> {
  /** Attempts, the first included. */
  readonly max: number
  /** How long each attempt has before the next: milliseconds, or a quantile of what attempts take. */
  readonly after: number | { readonly quantile: number; readonly latencies: Latencies.Latencies }
  /** Whether the latencies are those of the method that is called, where one is. */
  readonly ofMethod: boolean
  readonly account: Account | undefined
  /** After which errors another attempt is made at once; any other ends the whole. */
  readonly isNonFatal: (error: E) => boolean
}

/** The longest that a server can have the next attempt wait: that of retries by default. */
const maxPushbackMillis = 120_000

interface Race {
  readonly start: () => void
  readonly cancel: Effect.Effect<unknown>
}

const make = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  plan: Plan<E>,
  fiber: Fiber.RuntimeFiber<unknown, unknown>,
  resume: (effect: Effect.Effect<A, E>) => void
): Race => {
  const now = () => Time.now(Fiber.clockOf(fiber))
  /** The attempts that run, and when each began. */
  const live = new Map<Fiber.RuntimeFiber<A, E>, number>()
  let latencies = typeof plan.after === "number" ? undefined : plan.after.latencies
  let started = 0
  let isStarting = false
  let isDone = false
  let isRefused = false
  let stopTimer: (() => void) | undefined

  const disarm = () => {
    stopTimer?.()
    stopTimer = undefined
  }

  const delay = (): number =>
    typeof plan.after === "number" ? plan.after : (latencies?.quantile(plan.after.quantile) ?? Number.POSITIVE_INFINITY)

  const isOpen = () => !isDone && !isRefused && started < plan.max

  /** Starts another attempt, where there is leave and budget for it. */
  const next = (): boolean => {
    if (!isOpen() || (plan.account !== undefined && !plan.account.take(now()))) {
      return false
    }
    start()
    return true
  }

  const arm = (millis: number) => {
    disarm()
    if (!isOpen() || millis === Number.POSITIVE_INFINITY) {
      return
    }
    if (millis <= 0) {
      next()
      return
    }
    stopTimer = CallDeadline.after(
      millis,
      () => {
        stopTimer = undefined
        next()
        settle()
      },
      fiber
    )
  }

  const finish = (exit: Effect.Effect<A, E>) => {
    isDone = true
    disarm()
    const losers = [...live.keys()]
    live.clear()
    losers.forEach(Fiber.interruptUnsafe)
    resume(exit)
  }

  let last: Exit.Exit<A, E> = Fiber.interruptedExit
  /** Ends the whole with the last failure where nothing runs and nothing will. */
  const settle = () => {
    if (!isDone && live.size === 0 && stopTimer === undefined) {
      finish(last)
    }
  }

  const succeeded = (child: Fiber.RuntimeFiber<A, E>, exit: Exit.Exit<A, E>, began: number) => {
    const time = now()
    latencies?.add(time - began)
    // It would have taken longer than this, which is long already.
    for (const since of live.values()) {
      latencies?.add(time - since)
    }
    finish(Effect.zipRight(Fiber.inheritAll(child), exit))
  }

  const failed = (exit: Exit.Exit<A, E>, error: E) => {
    try {
      if (!plan.isNonFatal(error)) {
        return finish(exit)
      }
    } catch (defect) {
      return finish(Effect.die(defect))
    }
    last = exit
    plan.account?.failed()
    const pushback = Pushback.fromError(error)
    if (pushback._tag === "Refused") {
      isRefused = true
      disarm()
    } else if (pushback.millis > 0) {
      arm(Math.min(pushback.millis, maxPushbackMillis))
    } else {
      next()
    }
    settle()
  }

  const ended = (child: Fiber.RuntimeFiber<A, E>, exit: Exit.Exit<A, E>, began: number) => {
    live.delete(child)
    if (isDone) {
      return
    }
    if (Exit.isSuccess(exit)) {
      return succeeded(child, exit, began)
    }
    const failure = Cause.failureOption(exit.cause)
    return Option.isSome(failure) ? failed(exit, failure.value) : finish(exit)
  }

  const onCall: Ambient.Attempt["onCall"] = (method) => {
    const of = plan.ofMethod ? Latencies.of(method) : latencies
    if (of !== latencies) {
      latencies = of
      const [began] = live.values()
      if (!isStarting && live.size === 1 && began !== undefined) {
        arm(Math.max(0, delay() - (now() - began)))
      }
    }
  }
  const attempt = Ambient.locally(effect, () => ({ attempt: { onCall, tried: new Set() } }))

  const start = () => {
    disarm()
    started += 1
    const began = now()
    isStarting = true
    // The references of the fiber have what it requires.
    const child = Fiber.startUnsafe(attempt as Effect.Effect<A, E>, fiber)
    isStarting = false
    const exit = Fiber.pollUnsafe(child)
    if (exit !== undefined) {
      return ended(child, exit, began)
    }
    live.set(child, began)
    child.addObserver((exit) => ended(child, exit, began))
    arm(delay())
  }

  const cancel = Effect.suspend(() => {
    isDone = true
    disarm()
    return Fiber.interruptAll([...live.keys()])
  })
  return { start, cancel }
}

/**
 * Runs an effect, and again while it has not ended, up to so many times at once: the first success is its result, and the others
 * are interrupted and not waited for.
 */
export const run = <A, E, R>(effect: Effect.Effect<A, E, R>, plan: Plan<E>): Effect.Effect<A, E, R> =>
  Effect.withFiberRuntime<A, E, R>((fiber) =>
    Effect.async((resume) => {
      plan.account?.began(Time.now(Fiber.clockOf(fiber)))
      const race = make(effect, plan, fiber, resume)
      race.start()
      return race.cancel
    })
  )
