/** Makes a connection again whenever it is lost, with back-off between the attempts. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { constTrue, constVoid } from "effect/Function"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"

/** A live connection that this can hold. */
export interface Live {
  /** Completes when it takes no more calls. Those in flight may go on. */
  readonly lost: Effect.Effect<unknown>
  /** Completes when calls on it only time out, each time that this is seen anew. */
  readonly stalled: Effect.Effect<unknown>
  /** Completes when it has ended. */
  readonly ended: Effect.Effect<unknown>
  /** Whether a call has been answered on it. */
  readonly hasServed: () => boolean
  /** Another has taken its place: closes when the calls in flight have ended. */
  readonly leave: () => void
}

/** A connection that is made again whenever it is lost. */
export interface Reconnecting<L, E> {
  /** The live connection, or why there is none; undefined while that is open, as it is for the first attempt. */
  readonly current: () => Exit.Exit<L, E> | undefined
  /** Completes when the connection has been made again, or another attempt has failed, or by `wake`. */
  readonly changed: Effect.Effect<void>
  /** Somebody waits: the next attempt comes soon, whatever the back-off. */
  readonly hurry: () => void
  readonly wake: () => void
}

export interface Backoff {
  readonly initial: Duration.Duration
  readonly max: Duration.Duration
}

/** What a connection means that was lost too early. */
export interface OnLoss<E> {
  readonly error: () => E
  /** Called with how many in a row were lost before they had lived or served a call. */
  readonly tell: (losses: number) => void
}

/** Source: "connection-backoff.md" of gRPC. */
const multiplier = 1.6
const jitter = 0.2

/** A connection that has lived so long was a good one, whether or not anybody called. */
const livedMillis = 5000

/** Attempts that somebody waits for are so far apart, or less where the back-off begins with less. */
const maxHurryMillis = 1000
const minHurryMillis = 10

/** Where somebody waits, another attempt begins beside one that takes so long: the path may have come back since it began. */
const staggerMillis = 1500
const maxAttempts = 3

const pause = ({ initial, max }: Backoff, failures: number) =>
  Effect.map(Random.nextRange(1 - jitter, 1 + jitter), (factor) =>
    Duration.times(Duration.min(max, Duration.times(initial, multiplier ** Math.min(failures, 64))), factor)
  )

/**
 * Connects, and again by itself until the scope closes. The back-off starts over only after a connection that has lived or
 * served a call: a peer that ends each connection at once is not asked again and again.
 */
export const make = <L extends Live, E>(
  connect: Effect.Effect<L, E, Scope.Scope>,
  backoff: Backoff,
  onLoss: OnLoss<E>
): Effect.Effect<Reconnecting<L, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const waiting = new Set<() => void>()
    const hurryMillis = Math.max(minHurryMillis, Math.min(maxHurryMillis, Duration.toMillis(backoff.initial)))
    let current: Exit.Exit<L, E> | undefined
    let attemptedAt = Number.NEGATIVE_INFINITY
    let onHurry = constVoid

    const set = (next: Exit.Exit<L, E> | undefined) => {
      current = next
      wakeAll()
    }

    const wakeAll = () => {
      const woken = [...waiting]
      waiting.clear()
      for (const wake of woken) {
        wake()
      }
    }

    /** A connection in a scope of its own, which closes as soon as the connection has ended, or at once where it isn't taken. */
    const connectOnce = (take: (live: L) => boolean): Effect.Effect<L, E> =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          attemptedAt = performance.now()
          const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
          const live = yield* restore(Scope.extend(connect, own)).pipe(
            Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
          )
          // A fiber forked in here could not be interrupted otherwise, and the scope would wait for it for ever.
          const ended = take(live) ? Effect.interruptible(live.ended) : Effect.void
          yield* Effect.forkIn(Effect.zipRight(ended, Scope.close(own, Exit.void)), scope)
          return live
        })
      )

    const asked = Effect.async<void>((resume) => {
      if (waiting.size > 0) {
        resume(Effect.void)
        return
      }
      onHurry = () => resume(Effect.void)
      return Effect.sync(() => {
        onHurry = constVoid
      })
    })

    /** Somebody waits, and the latest attempt is so old. */
    const hurried = (millis: number) =>
      Effect.zipRight(
        asked,
        Effect.suspend(() => Effect.sleep(Math.max(0, attemptedAt + millis - performance.now())))
      )

    /** The pause after so many failures in a row, cut short where somebody waits. */
    const backOff = (failures: number) =>
      failures === 0
        ? Effect.void
        : Effect.flatMap(pause(backoff, failures - 1), (delay) =>
            Effect.raceFirst(Effect.sleep(delay), hurried(hurryMillis))
          )

    /** Attempts until one succeeds, several beside each other where somebody waits. */
    const reconnect = (failures: number): Effect.Effect<L> =>
      Effect.gen(function* () {
        const attempts = new Set<Fiber.RuntimeFiber<unknown>>()
        const over = Effect.unsafeMakeLatch()
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
                set(Exit.failCause(cause))
              }
            })
        )
        while (winner === undefined) {
          over.unsafeClose()
          const next =
            attempts.size === 0
              ? backOff(failed)
              : attempts.size < maxAttempts
                ? hurried(Math.max(staggerMillis, hurryMillis))
                : Effect.never
          if (yield* Effect.raceFirst(Effect.as(next, true), Effect.as(over.await, false))) {
            const fiber = yield* Effect.forkIn(attempt, scope)
            attempts.add(fiber)
            fiber.addObserver(() => {
              attempts.delete(fiber)
              failed += attempts.size === 0 ? 1 : 0
              over.unsafeOpen()
            })
          }
        }
        for (const fiber of attempts) {
          yield* Fiber.interruptFork(fiber)
        }
        return winner
      })

    /** A connection that only lets calls time out stays until there is another: its peer may just be slow. */
    const replace = (live: L, failures: number): Effect.Effect<L> =>
      Effect.zipRight(
        Effect.raceFirst(backOff(failures), live.lost),
        Effect.match(connectOnce(constTrue), {
          onSuccess: (next) => {
            set(Exit.succeed(next))
            live.leave()
            return next
          },
          onFailure: () => live
        })
      )

    /**
     * `spent` connections in a row, before this one, have neither lived nor served, and so many attempts have failed to
     * replace it.
     */
    const keep = (live: L, spent: number, failed = 0): Effect.Effect<never> =>
      Effect.suspend(() => {
        const since = performance.now()
        const ends = Effect.raceFirst(Effect.as(live.lost, "lost"), Effect.as(live.stalled, "stalled"))
        return Effect.flatMap(ends, (end) => {
          const isGood = live.hasServed() || (end === "lost" && performance.now() - since >= livedMillis)
          const losses = isGood ? 0 : spent + 1
          // The first attempt after one loss comes at once.
          const failures = Math.max(0, losses - 1) + failed
          if (end === "stalled") {
            return Effect.flatMap(replace(live, failures), (next) =>
              next === live ? keep(live, spent, failed + 1) : keep(next, losses)
            )
          }
          set(failures === 0 ? undefined : Exit.fail(onLoss.error()))
          if (losses > 0) {
            onLoss.tell(losses)
          }
          return Effect.flatMap(reconnect(failures), (next) => {
            set(Exit.succeed(next))
            return keep(next, losses)
          })
        })
      })

    yield* Effect.flatMap(reconnect(0), (live) => {
      set(Exit.succeed(live))
      return keep(live, 0)
    }).pipe(Effect.interruptible, Effect.forkScoped)

    return {
      current: () => current,
      wake: wakeAll,
      hurry: () => onHurry(),
      changed: Effect.async<void>((resume) => {
        const wake = () => resume(Effect.void)
        waiting.add(wake)
        return Effect.sync(() => waiting.delete(wake))
      })
    }
  })
