/**
 * MemoryLive: calls inside one process, with what a wire does to them: serialization, limits, deadlines, cancellation
 * and backpressure. For tests, and for programs whose nodes share a process.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as HandlerFibers from "../Calls/HandlerFibers.js"
import * as ConnectionPool from "../Connections/ConnectionPool.js"
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as Authorizer from "../Transport/Authorizer.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as Peer from "../Transport/Peer.js"
import type * as Route from "../Transport/Route.js"
import { BindError } from "../Transport/TransportError.js"
import * as Transport from "../Transport/TransportService.js"
import * as MemoryConnection from "./internal/memoryConnection.js"
import * as Networks from "./internal/network.js"

/**
 * What clients reach in memory: the listeners of all layers that have it.
 *
 * @since 0.1.0
 * @category models
 */
export interface Network {
  readonly [TypeId]: Networks.Network
}

const TypeId: unique symbol = Symbol.for("effect-transport/Memory/Network")

/**
 * A network of its own, for listeners that others must not see or take the ports of.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeNetwork = (): Network => ({ [TypeId]: Networks.make() })

/** That of all layers that name none: like the loopback interface, there is one in a process. */
const shared = makeNetwork()

/**
 * @since 0.1.0
 * @category models
 */
export interface MemoryOptions extends TransportOptions.TransportOptions {
  /** Where listeners are found. Default: a network that all layers of the process share. */
  readonly network?: Network | undefined
}

/** As a client's target names it. */
const hostOf = (host: string | undefined): string | undefined => {
  const target = host === undefined ? undefined : Peer.parseTarget(Peer.formatAddress({ host, port: 1 }))
  return target !== undefined && Either.isRight(target) && target.right._tag === "Tcp" ? target.right.host : host
}

const address = (network: Networks.Network, options: Transport.ListenOptions): Peer.Address => {
  if (options.path !== undefined) {
    return { host: "", port: 0, path: options.path }
  }
  const host = options.host ?? "127.0.0.1"
  let port = options.port ?? 0
  if (port === 0) {
    port = firstFreePort
    while (network.find(Peer.formatAddress({ host, port })) !== undefined) {
      port += 1
    }
  }
  return { host, port }
}

/** The first of the ports that no service is given (RFC 6335, section 6). */
const firstFreePort = 49152

const listen = (
  network: Networks.Network,
  settings: Networks.Settings,
  routes: ReadonlyMap<string, Route.Route>,
  options: Transport.ListenOptions
): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const inFlight = yield* HandlerFibers.make
    const boundary = yield* Boundary.make
    const clock = yield* Effect.clock
    const links: Networks.Listening["links"] = new Set()
    const listening: Networks.Listening = {
      authorize: options.authorize ?? Authorizer.any,
      settings,
      server: { routes, inFlight, clock, boundary },
      links
    }
    const forEachLink = (f: (link: Networks.ListenerLink) => void) =>
      Effect.sync(() => {
        for (const link of [...links]) {
          f(link)
        }
      })
    return yield* Effect.acquireRelease(
      Effect.suspend(() => {
        const bound = address(network, { ...options, host: hostOf(options.host) })
        const name = Peer.formatAddress(bound)
        return network.add(name, listening)
          ? Effect.succeed(bound)
          : Effect.fail(new BindError({ reason: "AddressInUse", address: name, message: `${name} is in use` }))
      }),
      (bound) =>
        Effect.gen(function* () {
          network.remove(Peer.formatAddress(bound))
          yield* forEachLink(({ goAway }) => goAway())
          yield* inFlight.drain(options.gracePeriod ?? settings.gracePeriod)
          yield* forEachLink(({ end }) => end())
        })
    )
  })

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ network, ...options }: MemoryOptions = {}): Layer.Layer<Transport.Transport> =>
  Layer.scoped(
    Transport.Transport,
    Effect.gen(function* () {
      const settings = TransportOptions.withDefaults(options)
      const { [TypeId]: listeners } = network ?? shared
      return {
        connect: yield* ConnectionPool.make((target) => MemoryConnection.connect(listeners, settings, target)),
        listen: (routes, options) => listen(listeners, settings, routes, options),
        defaultTimeout: settings.defaultTimeout,
        description: Effect.succeed("in memory")
      }
    })
  )

/**
 * Calls inside this process. Listeners are found by host and port, as on a network; a program can have several.
 *
 * @since 0.1.0
 * @category layers
 */
export const MemoryLive: Layer.Layer<Transport.Transport> = layer()

/**
 * The transport in memory with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<TransportOptions.TransportOptions>
): Layer.Layer<Transport.Transport, ConfigError.ConfigError> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), (options) => layer(options)))
