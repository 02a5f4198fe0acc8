/**
 * GrpcLive: standard gRPC over HTTP/2 on `@grpc/grpc-js`, mutually authenticated.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Credentials from "../Tls/Credentials.js"
import * as Renew from "../Transport/internal/renew.js"
import * as SharedConnections from "../Transport/internal/sharedConnections.js"
import * as Transport from "../Transport.js"
import * as GrpcOptions from "./GrpcOptions.js"
import * as GrpcClient from "./grpcClient.js"
import * as GrpcServer from "./grpcServer.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  GrpcOptions
} from "./GrpcOptions.js"

/**
 * The gRPC transport with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: GrpcOptions.GrpcOptions = {}
): Layer.Layer<Transport.Transport, never, Credentials.Credentials> =>
  Layer.scoped(
    Transport.Transport,
    Effect.gen(function* () {
      const settings = GrpcOptions.withDefaults(options)
      const credentials = yield* Credentials.Credentials
      if ((yield* credentials.current)._tag === "Insecure") {
        yield* Effect.logWarning("gRPC without TLS: peers are not authenticated and anyone on the path can read along")
      }
      return {
        listen: (routes, options) => GrpcServer.listen(settings, credentials, routes, options),
        connect: yield* SharedConnections.make((target) =>
          Renew.make(
            GrpcClient.connect(settings, credentials, target),
            credentials.changes,
            settings.rehandshakeWithin,
            target
          )
        ),
        defaultTimeout: settings.defaultTimeout
      }
    })
  )

/**
 * The gRPC transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<GrpcOptions.GrpcOptions>
): Layer.Layer<Transport.Transport, ConfigError.ConfigError, Credentials.Credentials> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

/**
 * The gRPC transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const GrpcLive: Layer.Layer<Transport.Transport, never, Credentials.Credentials> = layer()
