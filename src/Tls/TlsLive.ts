/**
 * TlsLive: calls over one mutually authenticated TCP connection, in the lean framing of docs/wire.md. The fastest
 * transport between two nodes that both run this library.
 *
 * @since 0.1.0
 */
import * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as InFlight from "../Transport/internal/inFlight.js"
import * as SharedConnections from "../Transport/internal/sharedConnections.js"
import { CredentialsError } from "../Transport/TransportError.js"
import * as Transport from "../Transport.js"
import * as Credentials from "./Credentials.js"
import * as TlsClient from "./tlsClient.js"
import * as TlsOptions from "./TlsOptions.js"
import * as TlsServer from "./tlsServer.js"

export type {
  /**
   * @since 0.1.0
   * @category models
   */
  TlsOptions
} from "./TlsOptions.js"

const refuseInsecure = new CredentialsError({
  reason: "Insecure",
  part: "credentials",
  message: "TlsLive does not run without TLS; GrpcLive and MemoryLive do"
})

/**
 * The TLS transport with options.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: TlsOptions.TlsOptions = {}
): Layer.Layer<Transport.Transport, CredentialsError, Credentials.Credentials> =>
  Layer.scoped(
    Transport.Transport,
    Effect.gen(function* () {
      const settings = TlsOptions.withDefaults(options)
      const credentials = yield* Credentials.Credentials
      const material = Effect.flatMap(credentials.current, (material) =>
        material._tag === "Tls" ? Effect.succeed(material) : refuseInsecure
      )
      yield* material
      // A source of credentials does not change from TLS to none.
      const current = Effect.orDie(material)
      const nobody = { routes: new Map(), inFlight: yield* InFlight.make, clock: yield* Effect.clock }
      return {
        listen: (routes, options) =>
          Effect.flatMap(current, (material) => TlsServer.listen(settings, material, routes, options)),
        connect: yield* SharedConnections.make((target) => TlsClient.connect(settings, current, target, nobody)),
        defaultTimeout: settings.defaultTimeout
      }
    })
  )

/**
 * The TLS transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<TlsOptions.TlsOptions>
): Layer.Layer<Transport.Transport, ConfigError.ConfigError | CredentialsError, Credentials.Credentials> =>
  Layer.unwrapEffect(Effect.map(Config.unwrap(config), layer))

/**
 * The TLS transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const TlsLive: Layer.Layer<Transport.Transport, CredentialsError, Credentials.Credentials> = layer()
