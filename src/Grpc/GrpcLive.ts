/**
 * GrpcLive: standard gRPC over HTTP/2, mutually authenticated.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as HttpClients from "../Calls/HttpClients.js"
import * as HttpMounts from "../Calls/HttpMounts.js"
import * as Addresses from "../Connections/Addresses.js"
import * as SharedLayer from "../Connections/SharedLayer.js"
import type * as Credentials from "../Credentials/Credentials.js"
import * as OptionalPackage from "../Transport/internal/optionalPackage.js"
import type { MissingPackage } from "../Transport/TransportError.js"
import type * as Transport from "../Transport/TransportService.js"
import type * as GrpcJsOptions from "./GrpcJsOptions.js"
import * as GrpcOptions from "./GrpcOptions.js"
import * as Http2 from "./Http2.js"
import { connect as connectTo } from "./internal/grpcClient.js"
import { listen } from "./internal/grpcServer.js"
import * as GrpcTransport from "./internal/grpcTransport.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  GrpcJsOptions
} from "./GrpcJsOptions.js"
export type {
  /**
   * @since 0.1.0
   * @category models
   */
  GrpcOptions
} from "./GrpcOptions.js"

const loadGrpcJs = OptionalPackage.load(
  "Grpc.layerGrpcJs",
  "@grpc/grpc-js",
  false,
  () => import("./internal/grpcJs/grpcJsTransport.js")
)

const makeGrpcJs = (
  options: GrpcJsOptions.GrpcJsOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<Transport.Transport>, MissingPackage, Scope.Scope> =>
  Effect.flatMap(loadGrpcJs, ({ make }) => make(options, credentials))

/**
 * What `GrpcLive` provides: calls, and ordinary HTTP/2 beside them.
 *
 * @since 0.1.0
 * @category models
 */
export type GrpcServices = Transport.Transport | Http2.Http2

const make = (
  options: GrpcOptions.GrpcOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<GrpcServices>, never, Scope.Scope> => {
  const mounts = HttpMounts.make()
  return Effect.gen(function* () {
    const { connect, context } = yield* GrpcTransport.make(
      { connect: connectTo, listen: (...args) => listen(mounts, ...args) },
      GrpcOptions.withDefaults(options),
      credentials
    )
    // A source of credentials does not change from TLS to none.
    const scheme = (yield* credentials.current)._tag === "Insecure" ? "http" : "https"
    return Context.add(context, Http2.Http2, {
      connect: (target) =>
        Effect.map(connect(target), (connection) => ({
          origin: `${scheme}://${Addresses.authorityFor(target, {})}`,
          send: HttpClients.over(connection, ({ send }) => send)
        })),
      mount: mounts.mount
    })
  })
}

/**
 * The gRPC transport with options. All who use one such layer with one `Credentials` value share a transport, and with it
 * the connections to each peer and what is mounted for HTTP/2; with other credentials, or another call of this function,
 * there is another.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: GrpcOptions.GrpcOptions = {}
): Layer.Layer<GrpcServices, never, Credentials.Credentials> =>
  SharedLayer.make((credentials) => make(options, credentials))

/**
 * The gRPC transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<GrpcOptions.GrpcOptions>
): Layer.Layer<GrpcServices, ConfigError.ConfigError, Credentials.Credentials> => SharedLayer.makeConfig(config, layer)

/**
 * The gRPC transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const GrpcLive: Layer.Layer<GrpcServices, never, Credentials.Credentials> = layer()

/**
 * The gRPC transport on the engine of `@grpc/grpc-js`, which is imported when this layer is built. It is shared as that of
 * `layer` is, and answers calls alone. docs/security.md says what a peer can do that this engine does not bound.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerGrpcJs = (
  options: GrpcJsOptions.GrpcJsOptions = {}
): Layer.Layer<Transport.Transport, MissingPackage, Credentials.Credentials> =>
  SharedLayer.make((credentials) => makeGrpcJs(options, credentials))

/**
 * The same with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerGrpcJsConfig = (
  config: Config.Config.Wrap<GrpcJsOptions.GrpcJsOptions>
): Layer.Layer<Transport.Transport, ConfigError.ConfigError | MissingPackage, Credentials.Credentials> =>
  SharedLayer.makeConfig(config, layerGrpcJs)
