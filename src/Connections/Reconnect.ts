/** Makes a connection again whenever it is lost, with back-off between the attempts. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Attempts from "./internal/attempts.js"
import * as ConnectionState from "./internal/connectionState.js"

/** A connection that is up. */
export interface Live {
  /** Completes when it takes no more calls. Those in flight may go on. */
  readonly lost: Effect.Effect<unknown>
  /** Completes when its calls only time out, each time that this is noticed anew. */
  readonly stalled: Effect.Effect<unknown>
  /** Completes when it has ended. */
  readonly ended: Effect.Effect<unknown>
  /** Whether a call has been answered on it. */
  readonly hasServed: () => boolean
  /** Closes it when the calls in flight have ended: another connection has taken its place. */
  readonly leave: () => void
}

/** A connection that is made again whenever it is lost. */
export type Reconnecting<L, E> = Pick<
  ConnectionState.ConnectionState<L, E>,
  "changed" | "current" | "hurry" | "onChange"
>

/** How long to wait between attempts. */
export type Backoff = Attempts.Backoff

/** What it means that a connection was lost too early. */
export interface OnLoss<E> {
  readonly error: () => E
  /** Called with the number of connections in a row that were lost before they had lived or served a call. */
  readonly tell: (losses: number) => void
}

/** A connection that has lived so long was a good one, whether or not it was used. */
const goodAfterMillis = 5000

/**
 * Connects, and again whenever the connection is lost, until the scope closes. The back-off starts over only after a
 * connection that has lived or served a call: a peer that ends each connection at once is not asked again and again.
 * Never fails: the error of an attempt is in the state.
 */
export const make = <L extends Live, E>(
  connect: Effect.Effect<L, E, Scope.Scope>,
  backoff: Backoff,
  onLoss: OnLoss<E>
): Effect.Effect<Reconnecting<L, E>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const state = ConnectionState.make<L, E>()
    const { backOff, connectOnce, untilConnected } = Attempts.make<L, E>({
      connect,
      endOf: ({ ended }) => ended,
      backoff,
      scope: yield* Effect.scope,
      wanted: state.wanted,
      onFailed: (cause) => state.set({ _tag: "Failed", cause })
    })

    /** A connection whose calls only time out stays until there is another: its peer may just be slow. */
    const replace = (live: L, failures: number): Effect.Effect<L> =>
      Effect.zipRight(
        Effect.raceFirst(backOff(failures), live.lost),
        Effect.match(connectOnce(constTrue), {
          onSuccess: (next) => {
            state.set({ _tag: "Connected", live: next })
            live.leave()
            return next
          },
          onFailure: () => live
        })
      )

    /**
     * Waits for the end of a connection, and goes on with the next one. `spent` connections in a row before this one
     * have neither lived nor served, and so many attempts have failed to replace it.
     */
    const keep = (live: L, spent: number, failedAttempts = 0): Effect.Effect<never> =>
      Effect.suspend(() => {
        const since = performance.now()
        const ends = Effect.raceFirst(Effect.as(live.lost, "lost"), Effect.as(live.stalled, "stalled"))
        return Effect.flatMap(ends, (end) => {
          const isGood = live.hasServed() || (end === "lost" && performance.now() - since >= goodAfterMillis)
          const losses = isGood ? 0 : spent + 1
          // The first attempt after one loss comes at once.
          const failures = Math.max(0, losses - 1) + failedAttempts
          if (end === "stalled") {
            return Effect.flatMap(replace(live, failures), (next) =>
              next === live ? keep(live, spent, failedAttempts + 1) : keep(next, losses)
            )
          }
          state.set(failures === 0 ? { _tag: "Connecting" } : { _tag: "Failed", cause: Cause.fail(onLoss.error()) })
          if (losses > 0) {
            onLoss.tell(losses)
          }
          return connected(failures, losses)
        })
      })

    const connected = (failures: number, spent: number): Effect.Effect<never> =>
      Effect.flatMap(untilConnected(failures), (live) => {
        state.set({ _tag: "Connected", live })
        return keep(live, spent)
      })

    yield* Effect.forkScoped(Effect.interruptible(connected(0, 0)))
    yield* Effect.addFinalizer(() => Effect.sync(() => state.set({ _tag: "Closed" })))
    return state
  })
