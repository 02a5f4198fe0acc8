/**
 * GrpcLive: standard gRPC over HTTP/2 on `@grpc/grpc-js`, mutually authenticated.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as SharedConnections from "../Connections/ConnectionPool.js"
import * as Renew from "../Connections/CredentialRotation.js"
import * as SharedLayer from "../Connections/SharedLayer.js"
import type * as Credentials from "../Credentials/Credentials.js"
import * as Reverification from "../Handshake/Reverification.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as Transport from "../Transport/TransportService.js"
import * as GrpcOptions from "./GrpcOptions.js"
import * as GrpcClient from "./internal/grpcJs/grpcClient.js"
import * as GrpcServer from "./internal/grpcJs/grpcServer.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  GrpcOptions
} from "./GrpcOptions.js"

const build = (
  options: GrpcOptions.GrpcOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<Transport.Transport>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = GrpcOptions.withDefaults(options)
    if ((yield* credentials.current)._tag === "Insecure") {
      yield* Effect.logWarning("gRPC without TLS: peers are not authenticated and anyone on the path can read along")
    }
    const boundary = yield* Boundary.make
    const reverification = yield* Reverification.make(credentials)
    return Context.make(Transport.Transport, {
      listen: (routes, options) => GrpcServer.listen(settings, credentials, reverification, routes, options),
      connect: yield* SharedConnections.make((target) =>
        Renew.make(
          GrpcClient.connect(settings, credentials, boundary, reverification, target),
          credentials.changes,
          settings.rehandshakeWithin,
          target
        )
      ),
      defaultTimeout: settings.defaultTimeout,
      description: SharedLayer.describe("gRPC", credentials)
    })
  })

/**
 * The gRPC transport with options. All who use one such layer with one `Credentials` value share a transport, and with it
 * the connections to each peer; with other credentials, or another call of this function, there is another.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: GrpcOptions.GrpcOptions = {}
): Layer.Layer<Transport.Transport, never, Credentials.Credentials> =>
  SharedLayer.make((credentials) => build(options, credentials))

/**
 * The gRPC transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<GrpcOptions.GrpcOptions>
): Layer.Layer<Transport.Transport, ConfigError.ConfigError, Credentials.Credentials> =>
  SharedLayer.makeConfig(config, layer)

/**
 * The gRPC transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const GrpcLive: Layer.Layer<Transport.Transport, never, Credentials.Credentials> = layer()
