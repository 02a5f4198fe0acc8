/** Keeps one connection for each target, shared by all its clients. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Peer from "../Transport/Peer.js"
import type { ConnectError } from "../Transport/TransportError.js"
import type { Pending } from "./ReconnectingConnection.js"

/** The options of a client's connection. */
export interface ConnectOptions {
  /** Whether calls wait for a connection that can't be made now. Default false: connecting fails. */
  readonly waitForReady?: boolean | undefined
}

/**
 * Shares one connection among all clients of a target; it closes with the last of them. Getting it fails with what
 * `connect` or its `ready` fails with.
 */
export const make = <C extends Pick<Pending, "ready">, E>(
  connect: (target: Peer.Target) => Effect.Effect<C, E, Scope.Scope>
): Effect.Effect<
  (target: Peer.Target, options?: ConnectOptions) => Effect.Effect<C, E | ConnectError, Scope.Scope>,
  never,
  Scope.Scope
> =>
  Effect.map(
    RcMap.make({ lookup: (key: string) => connect(Either.getOrThrow(Peer.parseTarget(key))) }),
    (connections) =>
      (target, { waitForReady = false } = {}) =>
        // A failed lookup stays in the map while its scope is open. Closing that scope at once lets the next attempt
        // connect.
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const scope = yield* Effect.flatMap(Effect.scope, (parent) =>
              Scope.fork(parent, ExecutionStrategy.sequential)
            )
            return yield* restore(
              Effect.tap(Scope.extend(RcMap.get(connections, Peer.formatTarget(target)), scope), ({ ready }) =>
                ready(waitForReady)
              )
            ).pipe(Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))))
          })
        )
  )
