/** What this end offers on the connections that it makes, by target: each part of a program its own, and no path twice. */
import * as Either from "effect/Either"
import type { InFlight } from "../../Calls/HandlerFibers.js"
import type { Served } from "../../Calls/ServerCalls.js"
import * as Peer from "../../Transport/Peer.js"
import type { Route } from "../../Transport/Route.js"
import { InvalidArgument } from "../../Transport/TransportError.js"

/** The offers of one transport. */
export interface Offers {
  /** All that is offered to a target at this moment: what connections to it look calls up in. */
  readonly to: (target: Peer.Target) => ReadonlyMap<string, Served>
  /**
   * Offers routes to a target, whose handlers run in these fibers: all of them, or none where one is offered already, which is
   * `InvalidArgument`. Gives what withdraws them: no further calls are taken, those that began go on, and the paths are free to
   * be offered again.
   */
  readonly add: (
    routes: ReadonlyMap<string, Route>,
    target: Peer.Target,
    inFlight: InFlight
  ) => Either.Either<() => void, InvalidArgument>
}

export const make = (): Offers => {
  const targets = new Map<string, Map<string, Served>>()

  const to = (target: Peer.Target) => {
    const name = Peer.formatTarget(target)
    const offered = targets.get(name) ?? new Map<string, Served>()
    targets.set(name, offered)
    return offered
  }

  return {
    to,
    add: (routes, target, inFlight) => {
      const offered = to(target)
      for (const path of routes.keys()) {
        if (offered.has(path)) {
          const peer = Peer.formatTarget(target)
          return Either.left(
            new InvalidArgument({ message: `${path} is offered to ${peer} already`, peer, method: path })
          )
        }
      }
      for (const [path, route] of routes) {
        offered.set(path, { ...route, inFlight })
      }
      return Either.right(() => {
        for (const path of routes.keys()) {
          // Somebody else may have offered it since.
          if (offered.get(path)?.inFlight === inFlight) {
            offered.delete(path)
          }
        }
      })
    }
  }
}
