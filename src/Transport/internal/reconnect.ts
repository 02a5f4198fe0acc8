import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"

/** A live connection that this can hold. */
export interface Live {
  /** Completes when it takes no more calls. Those in flight may go on. */
  readonly lost: Effect.Effect<unknown>
  /** Completes when it has ended. */
  readonly ended: Effect.Effect<unknown>
}

/** A connection that is made again whenever it is lost. */
export interface Reconnecting<L, E> {
  /** The live connection, or why there is none; undefined when it was just lost and may be back at once. */
  readonly current: () => Exit.Exit<L, E> | undefined
  /** Completes when the connection has been made again, or another attempt has failed, or by `wake`. */
  readonly changed: Effect.Effect<void>
  readonly wake: () => void
}

export interface Backoff {
  readonly initial: Duration.Duration
  readonly max: Duration.Duration
}

/** Source: "connection-backoff.md" of gRPC. */
const multiplier = 1.6
const jitter = 0.2

const pause = ({ initial, max }: Backoff, failures: number) =>
  Effect.map(Random.nextRange(1 - jitter, 1 + jitter), (factor) =>
    Duration.times(Duration.min(max, Duration.times(initial, multiplier ** Math.min(failures, 64))), factor)
  )

/** Connects now, failing as this first attempt does, and again by itself until the scope closes. */
export const make = <L extends Live, E>(
  connect: Effect.Effect<L, E, Scope.Scope>,
  backoff: Backoff
): Effect.Effect<Reconnecting<L, E>, E, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const waiting = new Set<() => void>()
    let current: Exit.Exit<L, E> | undefined

    const set = (next: Exit.Exit<L, E> | undefined) => {
      current = next
      wakeAll()
    }

    const wakeAll = () => {
      for (const wake of waiting) {
        wake()
      }
    }

    /** A connection in a scope of its own, which closes as soon as the connection has ended. */
    const connectOnce = Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
        const live = yield* restore(Scope.extend(connect, own)).pipe(
          Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
        )
        // A fiber forked in here could not be interrupted otherwise, and the scope would wait for it for ever.
        yield* Effect.forkIn(Effect.zipRight(Effect.interruptible(live.ended), Scope.close(own, Exit.void)), scope)
        return live
      })
    )

    const reconnect = (failures: number): Effect.Effect<L> =>
      Effect.matchEffect(connectOnce, {
        onSuccess: Effect.succeed,
        onFailure: (error) => {
          set(Exit.fail(error))
          return Effect.flatMap(pause(backoff, failures), (delay) => Effect.delay(reconnect(failures + 1), delay))
        }
      })

    const keep = (live: L): Effect.Effect<never> =>
      Effect.flatMap(live.lost, () => {
        set(undefined)
        return Effect.flatMap(reconnect(0), (next) => {
          set(Exit.succeed(next))
          return keep(next)
        })
      })

    const first = yield* connectOnce
    current = Exit.succeed(first)
    yield* Effect.forkScoped(keep(first))
    return {
      current: () => current,
      wake: wakeAll,
      changed: Effect.async<void>((resume) => {
        const wake = () => {
          waiting.delete(wake)
          resume(Effect.void)
        }
        waiting.add(wake)
        return Effect.sync(() => waiting.delete(wake))
      })
    }
  })
