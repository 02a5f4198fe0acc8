/** The scope that a handler's resources live in for one call. */
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as LogLevel from "effect/LogLevel"
import { pipeArguments } from "effect/Pipeable"
import * as Scope from "effect/Scope"
import type { IncomingCall } from "../Transport/IncomingCall.js"
import { Internal, type StatusError } from "../Transport/TransportError.js"

/**
 * The scope of one call, which is made when something is first acquired in it: most calls acquire nothing, and
 * `Effect.scoped` costs more than they do.
 */
export interface CallScope extends Scope.Scope {
  /** The scope that was made. Who made this closes it. */
  readonly made: () => Scope.CloseableScope | undefined
}

export const make = (): CallScope => {
  let scope: Scope.CloseableScope | undefined
  const use = <A>(f: (scope: Scope.CloseableScope) => Effect.Effect<A>) =>
    Effect.suspend(() =>
      scope === undefined
        ? Effect.flatMap(Scope.make(), (made) => {
            scope = made
            return f(made)
          })
        : f(scope)
    )
  // The types of Effect leave out `fork` and `addFinalizer`.
  const lazy = {
    [Scope.ScopeTypeId]: Scope.ScopeTypeId as Scope.ScopeTypeId,
    strategy: ExecutionStrategy.sequential,
    fork: (strategy: ExecutionStrategy.ExecutionStrategy) => use((scope) => Scope.fork(scope, strategy)),
    addFinalizer: (finalizer: Scope.Scope.Finalizer) => use((scope) => Scope.addFinalizerExit(scope, finalizer)),
    pipe() {
      // biome-ignore lint/complexity/noArguments: the way of Pipeable
      return pipeArguments(this, arguments)
    },
    made: () => scope
  }
  return lazy
}

/** Releases what a call acquired, and gives the end of the call: a handler that can't release is at fault. */
export const close = <A>(
  scope: Scope.CloseableScope,
  exit: Exit.Exit<A, StatusError>,
  { boundary, method, peer }: IncomingCall
): Effect.Effect<Exit.Exit<A, StatusError>> =>
  Effect.matchCauseEffect(Scope.close(scope, exit), {
    onFailure: (cause) =>
      Effect.sync(() => {
        boundary.log(
          LogLevel.Error,
          `release of ${method}`,
          "what a handler acquired could not be released",
          { method, peer: peer.address },
          cause
        )
        return Exit.isSuccess(exit) ? Exit.fail(new Internal({ message: "internal error" })) : exit
      }),
    onSuccess: () => Effect.succeed(exit)
  })
