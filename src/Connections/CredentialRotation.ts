/** Replaces connections whose credentials have changed. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { escapeText } from "../Transport/internal/boundary.js"
import * as Peer from "../Transport/Peer.js"
import * as Idle from "./Idle.js"
import type { Pending } from "./ReconnectingConnection.js"

/**
 * Waits before a connection is replaced: a random part of the first half of `within`, so that not all are replaced at
 * once and calls have time to end.
 */
export const pause = (within: Duration.Duration): Effect.Effect<void> =>
  Effect.flatMap(Random.nextRange(0, Math.min(Duration.toMillis(within) / 2, maxPauseMillis)), Effect.sleep)

/** Replacing connections begins within an hour, however long it may take, even if it may take for ever. */
const maxPauseMillis = 3_600_000

/**
 * Runs `renew` after each change but the first, which is what connections begin with. Does nothing without `within`.
 */
export const onChange = (
  changes: Stream.Stream<unknown>,
  within: Option.Option<Duration.Duration>,
  renew: (within: Duration.Duration) => Effect.Effect<void>
): Effect.Effect<void, never, Scope.Scope> =>
  Option.match(within, {
    onNone: () => Effect.void,
    onSome: (within) =>
      Effect.asVoid(
        Effect.forkScoped(Stream.runForEach(Stream.drop(changes, 1), () => Effect.forkScoped(renew(within))))
      )
  })

/** A connection, its scope and a count of its calls. */
interface Counted<C> {
  readonly connection: C
  readonly scope: Scope.CloseableScope
  readonly begin: Effect.Effect<void>
  readonly end: Effect.Effect<void>
  /** Completes when it has no calls. */
  readonly idle: Effect.Effect<void>
}

const counted = <C>(connection: C, scope: Scope.CloseableScope): Counted<C> => {
  let calls = 0
  const idle = Idle.make(() => calls === 0)
  return {
    connection,
    scope,
    begin: Effect.sync(() => {
      calls += 1
    }),
    end: Effect.sync(() => {
      calls -= 1
      idle.check()
    }),
    idle: idle.reached
  }
}

/** A connection that stays when the one below it is replaced. */
export interface Renewing<C> extends Pending {
  /** The one that new calls run on. */
  readonly current: () => C
}

/**
 * A connection that is made again after each change. New calls run on the new one as soon as it is up; those on the old
 * one, of either end, have `within` to end. If no new one can be made, the old one stays, with a warning. Fails as the
 * first `connect` does.
 */
export const make = <C extends Pending, E extends Error>(
  connect: Effect.Effect<C, E, Scope.Scope>,
  changes: Stream.Stream<unknown>,
  within: Option.Option<Duration.Duration>,
  target: Peer.Target
): Effect.Effect<Renewing<C>, E, Scope.Scope> =>
  Option.match(within, {
    onNone: () => Effect.map(connect, (only) => ({ ...only, current: () => only })),
    onSome: (within) => renewing(connect, changes, within, target)
  })

const renewing = <C extends Pending, E extends Error>(
  connect: Effect.Effect<C, E, Scope.Scope>,
  changes: Stream.Stream<unknown>,
  within: Duration.Duration,
  target: Peer.Target
): Effect.Effect<Renewing<C>, E, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const open = <E2>(check: (connection: C) => Effect.Effect<void, E2>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.gen(function* () {
          const own = yield* Scope.fork(scope, ExecutionStrategy.sequential)
          const connection = yield* restore(Effect.tap(Scope.extend(connect, own), check)).pipe(
            Effect.onError((cause) => Scope.close(own, Exit.failCause(cause)))
          )
          return counted(connection, own)
        })
      )
    let current = yield* open(() => Effect.void)
    const listeners = new Set<() => void>()
    const tell = () => {
      for (const listener of [...listeners]) {
        listener()
      }
    }
    let unhook = current.connection.status?.onChange(tell)

    /** Uninterruptible: a scope whose closing is interrupted never closes, and its connection would stay open. */
    const retire = ({ connection, idle, scope }: Counted<C>) =>
      Effect.uninterruptibleMask((restore) =>
        Effect.zipRight(
          // The peer is asked after the calls of this end have ended: their handlers may call back until then.
          restore(Effect.timeoutOption(Effect.zipRight(idle, connection.drainPeer ?? Effect.void), within)),
          Scope.close(scope, Exit.void)
        )
      )

    const renew = Effect.gen(function* () {
      yield* pause(within)
      const old = current
      current = yield* open(({ ready }) => ready(false))
      unhook?.()
      unhook = current.connection.status?.onChange(tell)
      tell()
      yield* Effect.forkIn(retire(old), scope)
    }).pipe(
      Effect.catchAll((error) =>
        Effect.logWarning(
          `can't connect to ${Peer.formatTarget(target)} with the new credentials; keeping the previous connection: ${escapeText(error.message)}`
        )
      )
    )
    yield* onChange(changes, Option.some(within), () => renew)

    return {
      current: () => current.connection,
      status: {
        current: () => current.connection.status?.current() ?? { _tag: "Ready" },
        onChange: (listener) => {
          listeners.add(listener)
          return () => {
            listeners.delete(listener)
          }
        },
        hurry: () => current.connection.status?.hurry()
      },
      ready: (waitForReady) => Effect.suspend(() => current.connection.ready(waitForReady)),
      unary: (method, request, call) =>
        Effect.suspend(() => {
          const { begin, connection, end } = current
          return Effect.acquireUseRelease(
            begin,
            () => connection.unary(method, request, call),
            () => end
          )
        }),
      stream: (method, requests, call) =>
        Stream.unwrapScoped(
          Effect.suspend(() => {
            const { begin, connection, end } = current
            return Effect.as(
              Effect.acquireRelease(begin, () => end),
              connection.stream(method, requests, call)
            )
          })
        )
    }
  })
