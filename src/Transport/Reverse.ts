/**
 * Calls against the direction in which a connection was made: a node that only connects out, behind NAT for one, is
 * called back over its own connection. Not every transport can; programs that need it require `Reverse`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { CallConnection } from "./Call.js"
import type { Connection } from "./Connection.js"
import type { Target } from "./Peer.js"
import type { Route } from "./Route.js"
import type { ConnectError } from "./TransportError.js"

/**
 * The ability to be called back. `TlsLive` provides it.
 *
 * @since 0.1.0
 * @category tags
 */
export class Reverse extends Context.Tag("effect-transport/Transport/Reverse")<Reverse, ReverseService>() {}

/**
 * What a transport implements. Programs use `Transport.reverse` and `Transport.offer` instead.
 *
 * @since 0.1.0
 * @category models
 */
export interface ReverseService {
  /** The way back over a connection; none when it was not this transport's. */
  readonly over: (connection: CallConnection) => Option.Option<Connection>
  /**
   * Serves routes on the connection that this end makes to the target until the scope closes; then drains, for no longer than
   * the grace period. `InvalidArgument` where one of the paths is offered to that target already.
   */
  readonly offer: (routes: ReadonlyMap<string, Route>, target: Target) => Effect.Effect<void, ConnectError, Scope.Scope>
}
