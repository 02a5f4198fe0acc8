/** Addresses inside a program, for listeners that no system keeps the addresses of. */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Scope from "effect/Scope"
import * as Peer from "../Transport/Peer.js"
import { BindError } from "../Transport/TransportError.js"
import type { ListenOptions } from "../Transport/TransportService.js"

export interface LocalAddresses<A> {
  /** What is bound to an address, or to a target, as `Peer` formats them. */
  readonly find: (address: string) => A | undefined
  /** Binds until the scope closes, to a free port where none is asked for; `AddressInUse` where another is bound there. */
  readonly bind: (options: ListenOptions, listener: A) => Effect.Effect<Peer.Address, BindError, Scope.Scope>
}

/** The first of the ports that no service is given (RFC 6335, section 6). */
const firstFreePort = 49152

/** As a client's target names it. */
const hostOf = (host: string): string => {
  const target = Peer.parseTarget(Peer.formatAddress({ host, port: 1 }))
  return Either.isRight(target) && target.right._tag === "Tcp" ? target.right.host : host
}

export const make = <A>(): LocalAddresses<A> => {
  const bound = new Map<string, A>()

  const addressOf = ({ host = "127.0.0.1", path, port = 0 }: ListenOptions): Peer.Address => {
    if (path !== undefined) {
      return { host: "", port: 0, path }
    }
    const named = hostOf(host)
    let free = port === 0 ? firstFreePort : port
    while (port === 0 && bound.has(Peer.formatAddress({ host: named, port: free }))) {
      free += 1
    }
    return { host: named, port: free }
  }

  return {
    find: (address) => bound.get(address),
    bind: (options, listener) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          const address = addressOf(options)
          const name = Peer.formatAddress(address)
          if (bound.has(name)) {
            return Effect.fail(new BindError({ reason: "AddressInUse", address: name, message: `${name} is in use` }))
          }
          bound.set(name, listener)
          return Effect.succeed(address)
        }),
        (address) => Effect.sync(() => bound.delete(Peer.formatAddress(address)))
      )
  }
}
