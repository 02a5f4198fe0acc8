/**
 * `@effect/cluster` over any transport: its runners talk through whichever `Transport` is provided, so that shards,
 * entities and singletons have mutual TLS. `@effect/cluster` is loaded when the layer is built.
 *
 * @since 0.1.0
 */
import type { MessageStorage, RunnerHealth, RunnerStorage, Runners, Sharding, ShardingConfig } from "@effect/cluster"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as OptionalPackage from "../Transport/internal/optionalPackage.js"
import type { Behind, ServerList, ServerMiddleware } from "../Transport/Middleware.js"
import * as Peer from "../Transport/Peer.js"
import type { BindError, MissingPackage } from "../Transport/TransportError.js"
import * as Transport from "../Transport.js"
import * as Carrier from "./internal/carrier.js"
import * as Frames from "./internal/frames.js"
import * as ProtocolClient from "./internal/protocolClient.js"
import * as RpcTransport from "./RpcTransport.js"

export {
  /**
   * @since 0.1.0
   * @category errors
   */
  MissingPackage
} from "../Transport/TransportError.js"

const load = OptionalPackage.load("ClusterTransport", "@effect/cluster", false, () => import("@effect/cluster"))

const name = "Runner"

/** A peer that is down is tried again for as long as it is asked for: the cluster decides who lives. */
const layerClientProtocol = (
  { Runners }: typeof import("@effect/cluster"),
  limits: RpcTransport.ProtocolOptions = {}
) =>
  Layer.effect(
    Runners.RpcClientProtocol,
    Effect.gen(function* () {
      const transport = yield* Transport.Transport
      const serialization = yield* RpcSerialization.RpcSerialization
      return (address) => {
        const peer = Peer.formatAddress(address)
        return ProtocolClient.make(peer, Transport.client(Carrier.service(name), peer), Frames.limitsOf(limits)).pipe(
          Effect.provideService(Transport.Transport, transport),
          Effect.provideService(RpcSerialization.RpcSerialization, serialization)
        )
      }
    })
  )

/**
 * Where a runner listens, and what else it serves there.
 *
 * @since 0.1.0
 * @category models
 */
export type RunnerOptions<
  H extends ReadonlyArray<Transport.Handlers<unknown>>,
  M extends ServerList = ReadonlyArray<ServerMiddleware>
> = Omit<RpcTransport.ServerOptions<H, M>, "name">

/**
 * A runner: it takes shards, and talks to the other runners. `ShardingConfig.runnerAddress` is where the others reach it,
 * `ShardingConfig.runnerListenAddress`, or else that same address, is where it listens, unless the options say otherwise.
 * With mutual TLS, `authorize` says who of those whom the transport trusts is a runner.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = <
  const H extends ReadonlyArray<Transport.Handlers<unknown>> = readonly [],
  const M extends ServerList = readonly []
>(
  options: RunnerOptions<H, M> = {}
): Layer.Layer<
  Sharding.Sharding | Runners.Runners,
  BindError | MissingPackage,
  | Transport.Transport
  | ShardingConfig.ShardingConfig
  | MessageStorage.MessageStorage
  | RunnerStorage.RunnerStorage
  | RunnerHealth.RunnerHealth
  | Behind<M, Transport.RequirementsOf<H>>
> =>
  Layer.unwrapEffect(
    Effect.map(load, (cluster) => {
      const server = Layer.unwrapEffect(
        Effect.map(cluster.ShardingConfig.ShardingConfig, ({ runnerAddress, runnerListenAddress }) => {
          const { host, port } = Option.getOrElse(
            Option.orElse(runnerListenAddress, () => runnerAddress),
            () => ({ host: undefined, port: undefined })
          )
          return RpcTransport.layerProtocolServer<H, M>({ host, port, ...options, name })
        })
      )
      return cluster.RunnerServer.layerWithClients.pipe(
        Layer.provide([server, layerClientProtocol(cluster, options)]),
        Layer.provide(RpcSerialization.layerMsgPack)
      )
    })
  )

/**
 * Whether a runner lives, by asking it over the transport. Shards of one that does not answer go to others as soon as its
 * locks allow, instead of when its last sign of life has expired.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunnerHealth: Layer.Layer<
  RunnerHealth.RunnerHealth,
  MissingPackage,
  Transport.Transport | ShardingConfig.ShardingConfig | MessageStorage.MessageStorage
> = Layer.unwrapEffect(
  Effect.map(load, (cluster) =>
    cluster.RunnerHealth.layerPing.pipe(
      Layer.provide(cluster.Runners.layerRpc),
      Layer.provide(layerClientProtocol(cluster)),
      Layer.provide(RpcSerialization.layerMsgPack)
    )
  )
)

/**
 * Talks to the runners, and takes no shards itself.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClientOnly: Layer.Layer<
  Sharding.Sharding | Runners.Runners,
  MissingPackage,
  Transport.Transport | ShardingConfig.ShardingConfig | MessageStorage.MessageStorage | RunnerStorage.RunnerStorage
> = Layer.unwrapEffect(
  Effect.map(load, (cluster) =>
    cluster.RunnerServer.layerClientOnly.pipe(
      Layer.provide(layerClientProtocol(cluster)),
      Layer.provide(RpcSerialization.layerMsgPack)
    )
  )
)
