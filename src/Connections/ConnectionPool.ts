/** Keeps one connection for each target, shared by all its clients. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import * as Peer from "../Transport/Peer.js"
import type { ConnectError } from "../Transport/TransportError.js"
import type { ConnectOptions, TargetNames } from "../Transport/TransportService.js"
import type { Pending } from "./ReconnectingConnection.js"

/** What else is known of a target. */
export type Names = TargetNames

const noNames: Names = {}

/** Connections differ by the names that they are verified against. No target begins with a NUL. */
const keyOf = (target: Peer.Target, names: Names): string =>
  names === noNames
    ? Peer.formatTarget(target)
    : `\0${JSON.stringify([
        Peer.formatTarget(target),
        names.serverName ?? null,
        names.hostName ?? null,
        (names.alternatives ?? []).map(Peer.formatTarget)
      ])}`

const parse = (text: string): Peer.Target => Either.getOrThrow(Peer.parseTarget(text))

const isTexts = (value: unknown): value is [string, string | null, string | null, ReadonlyArray<string>] =>
  Array.isArray(value)

const parseKey = (key: string): readonly [Peer.Target, Names] => {
  const parsed: unknown = key.startsWith("\0") ? JSON.parse(key.slice(1)) : undefined
  if (!isTexts(parsed)) {
    return [parse(key), noNames]
  }
  const [target, serverName, hostName, alternatives] = parsed
  return [
    parse(target),
    {
      serverName: serverName ?? undefined,
      hostName: hostName ?? undefined,
      alternatives: alternatives.map(parse)
    }
  ]
}

/**
 * Shares one connection among all clients of a target; it closes with the last of them. Getting it fails with what
 * `connect` or its `ready` fails with.
 */
export const make = <C extends Pick<Pending, "ready">, E>(
  connect: (target: Peer.Target, names: Names) => Effect.Effect<C, E, Scope.Scope>
): Effect.Effect<
  (target: Peer.Target, options?: ConnectOptions) => Effect.Effect<C, E | ConnectError, Scope.Scope>,
  never,
  Scope.Scope
> =>
  Effect.map(
    RcMap.make({ lookup: (key: string) => connect(...parseKey(key)) }),
    (connections) =>
      (target, { background = false, names = noNames, waitForReady = false } = {}) =>
        // A failed lookup stays in the map while its scope is open. Closing that scope at once lets the next attempt
        // connect.
        Effect.uninterruptibleMask((restore) =>
          Effect.gen(function* () {
            const scope = yield* Effect.flatMap(Effect.scope, (parent) =>
              Scope.fork(parent, ExecutionStrategy.sequential)
            )
            return yield* restore(
              Effect.tap(Scope.extend(RcMap.get(connections, keyOf(target, names)), scope), ({ ready }) =>
                background ? Effect.void : ready(waitForReady)
              )
            ).pipe(Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause))))
          })
        )
  )
