/**
 * QuicLive: gRPC over HTTP/3 (gRFC G2) on QUIC, mutually authenticated. Streams that don't wait for each other's lost
 * packets, and connections that are set up in one round trip after the address is proved.
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
import { CredentialsError } from "../Transport/TransportError.js"
import * as Transport from "../Transport.js"
import * as Quiche from "./internal/quiche.js"
import * as QuicheEngine from "./internal/quicheEngine.js"
import * as QuicOptions from "./QuicOptions.js"
import { QuicUnavailable } from "./QuicUnavailable.js"
import * as QuicClient from "./quicClient.js"
import * as QuicServer from "./quicServer.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  QuicOptions
} from "./QuicOptions.js"
export {
  /**
   * @since 0.1.0
   * @category errors
   */
  QuicUnavailable
} from "./QuicUnavailable.js"

const refuseInsecure = new CredentialsError({
  reason: "Insecure",
  part: "credentials",
  message: "QUIC does not run without TLS; GrpcLive and MemoryLive do"
})

const loadEngine = Effect.map(
  Effect.tryPromise({
    try: Quiche.load,
    catch: (cause) =>
      new QuicUnavailable({
        packageName: Quiche.packageName,
        platform: Quiche.platformName,
        message: `QUIC needs the package ${Quiche.packageName} with a binary for ${Quiche.platformName}`,
        cause
      })
  }),
  QuicheEngine.make
)

/**
 * The QUIC transport with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: QuicOptions.QuicOptions = {}
): Layer.Layer<Transport.Transport, CredentialsError | QuicUnavailable, Credentials.Credentials> =>
  Layer.scoped(
    Transport.Transport,
    Effect.gen(function* () {
      const settings = QuicOptions.withDefaults(options)
      const engine = yield* loadEngine
      const credentials = yield* Credentials.Credentials
      const material = Effect.flatMap(credentials.current, (material) =>
        material._tag === "Tls" ? Effect.succeed(material) : refuseInsecure
      )
      yield* material
      // A source of credentials does not change from TLS to none.
      const current = Effect.orDie(material)
      const connect = yield* SharedConnections.make((target) =>
        Renew.make(
          QuicClient.connect(engine, settings, current, target),
          credentials.changes,
          settings.rehandshakeWithin,
          target
        )
      )
      return {
        connect,
        defaultTimeout: settings.defaultTimeout,
        listen: (routes, options) =>
          Effect.flatMap(current, (initial) =>
            QuicServer.listen(engine, settings, credentials, initial, routes, options)
          )
      }
    })
  )

/**
 * The QUIC transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<QuicOptions.QuicOptions>
): Layer.Layer<
  Transport.Transport,
  ConfigError.ConfigError | CredentialsError | QuicUnavailable,
  Credentials.Credentials
> => Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

/**
 * The QUIC transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const QuicLive: Layer.Layer<Transport.Transport, CredentialsError | QuicUnavailable, Credentials.Credentials> =
  layer()
