/**
 * TlsLive: calls over one mutually authenticated TCP connection, in the lean framing of docs/wire.md, for two nodes that both
 * run this library. What it has over GrpcLive: 1.14 to 1.18 times the calls of 100 bytes (bench/README.md), and calls back to
 * the node that has connected. For anything else GrpcLive does as well, and speaks to everybody.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as InFlight from "../Calls/HandlerFibers.js"
import * as SharedConnections from "../Connections/ConnectionPool.js"
import * as Renew from "../Connections/CredentialRotation.js"
import * as SharedLayer from "../Connections/SharedLayer.js"
import type * as Credentials from "../Credentials/Credentials.js"
import * as Reverification from "../Handshake/Reverification.js"
import type { CallConnection } from "../Transport/Call.js"
import type { Connection } from "../Transport/Connection.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as EventLoopDelay from "../Transport/internal/eventLoopDelay.js"
import * as Reverse from "../Transport/Reverse.js"
import { CredentialsError } from "../Transport/TransportError.js"
import * as Transport from "../Transport/TransportService.js"
import * as TlsClient from "./internal/tlsClient.js"
import * as Offers from "./internal/tlsOffers.js"
import * as TlsServer from "./internal/tlsServer.js"
import * as TlsOptions from "./TlsOptions.js"

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

const build = (
  options: TlsOptions.TlsOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<Transport.Transport | Reverse.Reverse>, CredentialsError, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = TlsOptions.withDefaults(options)
    const material = Effect.flatMap(credentials.current, (material) =>
      material._tag === "Tls" ? Effect.succeed(material) : refuseInsecure
    )
    yield* material
    // A source of credentials does not change from TLS to none.
    const current = Effect.orDie(material)
    const inFlight = yield* InFlight.make
    const boundary = yield* Boundary.make
    yield* EventLoopDelay.whileOpen(settings.metrics)
    const clock = yield* Effect.clock
    const reverification = yield* Reverification.make(credentials)
    /** The ways back over the connections of the listeners. */
    const ways = new WeakMap<CallConnection, Connection>()
    const offers = Offers.make()

    const connect = yield* SharedConnections.make((target, names) =>
      Renew.make(
        TlsClient.connect(settings, current, reverification, target, names, {
          routes: offers.to(target),
          inFlight,
          clock,
          boundary
        }),
        credentials.changes,
        settings.rehandshakeWithin,
        target
      )
    )

    return Context.make(Transport.Transport, {
      connect,
      defaultTimeout: settings.defaultTimeout,
      metrics: settings.metrics,
      description: SharedLayer.describe("TLS", credentials),
      listen: (routes, options) =>
        TlsServer.listen(settings, credentials, reverification, routes, options, ({ callConnection, connection }) =>
          ways.set(callConnection, connection)
        )
    }).pipe(
      Context.add(Reverse.Reverse, {
        over: (connection) => Option.fromNullable(ways.get(connection)),
        // The peer may call as soon as there is a connection, and until what began has ended.
        offer: (routes, target) =>
          Effect.uninterruptibleMask((restore) =>
            Effect.gen(function* () {
              const inFlight = yield* restore(InFlight.make)
              const withdraw = Effect.sync(yield* offers.add(routes, target, inFlight))
              yield* Effect.onError(restore(connect(target)), () => withdraw)
              yield* Effect.addFinalizer(() => Effect.zipRight(withdraw, inFlight.drain(settings.gracePeriod)))
            })
          )
      })
    )
  })

/**
 * The TLS transport with options. All who use one such layer with one `Credentials` value share a transport, and with it
 * the connections to each peer, and what is offered on them; with other credentials, or another call of this function, there is another.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: TlsOptions.TlsOptions = {}
): Layer.Layer<Transport.Transport | Reverse.Reverse, CredentialsError, Credentials.Credentials> =>
  SharedLayer.make((credentials) => build(options, credentials))

/**
 * The TLS transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<TlsOptions.TlsOptions>
): Layer.Layer<
  Transport.Transport | Reverse.Reverse,
  ConfigError.ConfigError | CredentialsError,
  Credentials.Credentials
> => SharedLayer.makeConfig(config, layer)

/**
 * The TLS transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const TlsLive: Layer.Layer<Transport.Transport | Reverse.Reverse, CredentialsError, Credentials.Credentials> =
  layer()
