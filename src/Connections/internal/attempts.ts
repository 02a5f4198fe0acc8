/** Attempts to connect: how long apart they are, how many run beside each other, and which one wins. */

import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Latch from "../../effect/Latch.js"

/** How long to wait between attempts. */
export interface Backoff {
  readonly initial: Duration.Duration
  readonly max: Duration.Duration
}

/** Source: "connection-backoff.md" of gRPC. */
const multiplier = 1.6
const jitter = 0.2

/** Attempts that a call waits for are so far apart, or less if the back-off begins with less. */
const maxHurryMillis = 1000
const minHurryMillis = 10

/**
 * While a call waits, another attempt begins beside one that takes so long: the path may have come back since that one
 * began.
 */
const staggerMillis = 1500
const maxAttempts = 3

const delayAfter = ({ initial, max }: Backoff, failures: number) =>
  Effect.map(Random.nextRange(1 - jitter, 1 + jitter), (factor) =>
    Duration.times(Duration.min(max, Duration.times(initial, multiplier ** Math.min(failures, 64))), factor)
  )

/** What attempts need to know of the connection that they are for. */
export interface Options<L, E> {
  readonly connect: Effect.Effect<L, E, Scope.Scope>
  /** Completes when a connection has ended, which closes its scope. */
  readonly endOf: (live: L) => Effect.Effect<unknown>
  readonly backoff: Backoff
  /** Where attempts run and connections live. */
  readonly scope: Scope.Scope
  /** Completes when a call waits. */
  readonly wanted: Effect.Effect<void>
  /** Called when an attempt has failed and none has succeeded. */
  readonly onFailed: (cause: Cause.Cause<E>) => void
}

/** The attempts of one connection. */
export interface Attempts<L, E> {
  /** One attempt. Its connection is closed at once unless `take` wants it, and otherwise when it has ended. */
  readonly connectOnce: (take: (live: L) => boolean) => Effect.Effect<L, E>
  /** Waits as long as so many failures in a row demand, or less if a call waits. */
  readonly backOff: (failures: number) => Effect.Effect<void>
  /** Attempts until one succeeds, after so many failures in a row; several beside each other while a call waits. */
  readonly untilConnected: (failures: number) => Effect.Effect<L>
}

/** Attempts that have not begun. */
export const make = <L, E>({ backoff, connect, endOf, onFailed, scope, wanted }: Options<L, E>): Attempts<L, E> => {
  const hurryMillis = Math.max(minHurryMillis, Math.min(maxHurryMillis, Duration.toMillis(backoff.initial)))
  let attemptedAt = Number.NEGATIVE_INFINITY

  const connectOnce: Attempts<L, E>["connectOnce"] = (take) =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        attemptedAt = performance.now()
        const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        const live = yield* restore(Scope.extend(connect, own)).pipe(
          Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
        )
        // A fiber forked in here could not be interrupted otherwise, and the scope would wait for it for ever.
        const ended = take(live) ? Effect.interruptible(endOf(live)) : Effect.void
        yield* Effect.forkIn(Effect.zipRight(ended, Scope.close(own, Exit.void)), scope)
        return live
      })
    )

  /** Completes when a call waits and the latest attempt is so old. */
  const hurried = (millis: number) =>
    Effect.zipRight(
      wanted,
      Effect.suspend(() => Effect.sleep(Math.max(0, attemptedAt + millis - performance.now())))
    )

  const backOff = (failures: number) =>
    failures === 0
      ? Effect.void
      : Effect.flatMap(delayAfter(backoff, failures - 1), (delay) =>
          Effect.raceFirst(Effect.sleep(delay), hurried(hurryMillis))
        )

  /** Completes when the next attempt may begin beside so many others. */
  const nextAttempt = (running: number, failures: number): Effect.Effect<void> =>
    running === 0
      ? backOff(failures)
      : running < maxAttempts
        ? hurried(Math.max(staggerMillis, hurryMillis))
        : Effect.never

  const untilConnected = (failures: number): Effect.Effect<L> =>
    Effect.gen(function* () {
      const running = new Set<Fiber.RuntimeFiber<unknown>>()
      const over = Latch.makeUnsafe()
      let failed = failures
      let winner: L | undefined
      const attempt = Effect.catchAllCause(
        connectOnce((live) => {
          const isFirst = winner === undefined
          winner ??= live
          return isFirst
        }),
        (cause) =>
          Effect.sync(() => {
            if (winner === undefined && !Cause.isInterruptedOnly(cause)) {
              onFailed(cause)
            }
          })
      )
      while (winner === undefined) {
        over.unsafeClose()
        const next = nextAttempt(running.size, failed)
        if (yield* Effect.raceFirst(Effect.as(next, true), Effect.as(over.await, false))) {
          const fiber = yield* Effect.forkIn(attempt, scope)
          running.add(fiber)
          fiber.addObserver(() => {
            running.delete(fiber)
            failed += running.size === 0 ? 1 : 0
            over.unsafeOpen()
          })
        }
      }
      for (const fiber of [...running]) {
        yield* Fiber.interruptFork(fiber)
      }
      return winner
    })

  return { connectOnce, backOff, untilConnected }
}
