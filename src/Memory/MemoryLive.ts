/**
 * MemoryLive: calls inside one process, with what a wire does to them: serialization, limits, deadlines, cancellation
 * and backpressure. For tests, and for programs whose nodes share a process.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as WireTransport from "../Calls/WireTransport.js"
import * as TransportOptions from "../Connections/TransportOptions.js"
import * as HandshakeAdmission from "../Handshake/HandshakeAdmission.js"
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

/**
 * @since 0.1.0
 * @category layers
 */
export const layer = ({ network, ...options }: MemoryOptions = {}): Layer.Layer<Transport.Transport> =>
  Layer.scoped(
    Transport.Transport,
    Effect.suspend(() => {
      const settings = TransportOptions.withDefaults(options)
      const { [TypeId]: listeners } = network ?? shared
      return WireTransport.make(settings, {
        connect: (target) => MemoryConnection.connect(listeners, settings, target),
        listen: (listening, options) =>
          Effect.zipRight(
            HandshakeAdmission.check(options, { readsProxyHeaders: false }),
            listeners.bind(options, { ...listening, settings })
          ),
        description: "in memory"
      })
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
