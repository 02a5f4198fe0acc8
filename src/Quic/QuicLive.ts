/**
 * QuicLive: gRPC over HTTP/3 (gRFC G2) on QUIC, mutually authenticated. Streams that don't wait for each other's lost
 * packets, and connections that are set up in one round trip after the address is proved.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as HttpClients from "../Calls/HttpClients.js"
import * as HttpMounts from "../Calls/HttpMounts.js"
import * as SharedConnections from "../Connections/ConnectionPool.js"
import * as Renew from "../Connections/CredentialRotation.js"
import * as SharedLayer from "../Connections/SharedLayer.js"
import type * as Credentials from "../Credentials/Credentials.js"
import * as ServerName from "../Credentials/ServerName.js"
import * as Reverification from "../Handshake/Reverification.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as EventLoopDelay from "../Transport/internal/eventLoopDelay.js"
import * as OptionalPackage from "../Transport/internal/optionalPackage.js"
import * as Peer from "../Transport/Peer.js"
import {
  type ConnectError,
  CredentialsError,
  InvalidArgument,
  type MissingPackage
} from "../Transport/TransportError.js"
import * as Transport from "../Transport/TransportService.js"
import * as Datagrams from "./Datagrams.js"
import * as Quiche from "./engine/quiche.js"
import * as QuicheEngine from "./engine/quicheEngine.js"
import * as Http3 from "./Http3.js"
import * as DatagramChannel from "./internal/datagramChannel.js"
import * as Http3Client from "./internal/http3Client.js"
import * as KeyTypes from "./internal/keyTypes.js"
import * as QuicClient from "./internal/quicClient.js"
import * as QuicPresented from "./internal/quicPresented.js"
import * as QuicServer from "./internal/quicServer.js"
import * as QuicOptions from "./QuicOptions.js"

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

const loadEngine = Effect.map(OptionalPackage.load("QUIC", Quiche.packageName, true, Quiche.load), QuicheEngine.make)

/**
 * What QUIC provides: calls, datagrams, and ordinary HTTP/3.
 *
 * @since 0.1.0
 * @category models
 */
export type QuicServices = Transport.Transport | Datagrams.Datagrams | Http3.Http3

const build = (
  options: QuicOptions.QuicOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<QuicServices>, CredentialsError | MissingPackage, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = QuicOptions.withDefaults(options)
    const engine = yield* loadEngine
    const material = Effect.flatMap(credentials.current, (material) =>
      material._tag === "Tls" ? Effect.succeed(material) : refuseInsecure
    )
    yield* Effect.flatMap(material, KeyTypes.check)
    // A source of credentials does not change from TLS to none.
    const current = Effect.orDie(material)
    const boundary = yield* Boundary.make
    yield* EventLoopDelay.whileOpen(settings.metrics)
    const reverification = yield* Reverification.make(credentials)
    const channels = yield* DatagramChannel.makeChannels
    const mounts = HttpMounts.make()
    const connect = yield* SharedConnections.make((target, names) =>
      Renew.make(
        QuicClient.connect(engine, settings, boundary, reverification, current, target, names),
        credentials.changes,
        settings.rehandshakeWithin,
        target
      )
    )
    const datagrams = yield* SharedConnections.make((target) =>
      Effect.flatMap(connect(target), (connection) =>
        Effect.map(
          DatagramChannel.connect(
            Effect.sync(connection.current),
            settings,
            Duration.toMillis(settings.defaultTimeout)
          ),
          (channel) => ({ channel, ready: () => Effect.void })
        )
      )
    )

    return Context.make(Transport.Transport, {
      connect,
      system: "grpc",
      defaultTimeout: settings.defaultTimeout,
      metrics: settings.metrics,
      description: SharedLayer.describe("QUIC", credentials),
      listen: (routes, options) =>
        Effect.flatMap(current, (initial) =>
          QuicServer.listen(
            engine,
            settings,
            credentials,
            reverification,
            initial,
            routes,
            { channels, handler: mounts.current },
            options
          )
        )
    }).pipe(
      Context.add(Datagrams.Datagrams, {
        over: channels.over,
        channels: channels.all,
        connect: (target) => Effect.map(datagrams(target), ({ channel }) => channel)
      }),
      Context.add(Http3.Http3, {
        connect: (target) =>
          Effect.map(connect(target), (connection) =>
            HttpClients.over(
              connection,
              ({ link }) =>
                (request, url, signal) =>
                  Http3Client.send(link, request, url, signal)
            )
          ),
        mount: mounts.mount
      })
    )
  })

/**
 * The QUIC transport with options. All who use one such layer with one `Credentials` value share a transport, and with it
 * the connections to each peer, their datagrams, and what is mounted for HTTP/3; with other credentials, or another call of this function, there is another.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: QuicOptions.QuicOptions = {}
): Layer.Layer<QuicServices, CredentialsError | MissingPackage, Credentials.Credentials> =>
  SharedLayer.make((credentials) => build(options, credentials))

/**
 * The QUIC transport with options from the environment.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  config: Config.Config.Wrap<QuicOptions.QuicOptions>
): Layer.Layer<QuicServices, ConfigError.ConfigError | CredentialsError | MissingPackage, Credentials.Credentials> =>
  SharedLayer.makeConfig(config, layer)

/**
 * The QUIC transport with safe defaults.
 *
 * @since 0.1.0
 * @category layers
 */
export const QuicLive: Layer.Layer<QuicServices, CredentialsError | MissingPackage, Credentials.Credentials> = layer()

/**
 * The options of `presented`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PresentedOptions {
  /** The name to ask for. Default: the host of the target. */
  readonly serverName?: string | undefined
  /** How long to wait. Default 5 seconds. */
  readonly connectTimeout?: Duration.DurationInput | undefined
}

/**
 * The certificates that a node presents, for tools that show them: DER, the leaf first. Nothing is verified, by this side
 * or of it, and nothing is sent; `Verification.verify` says what this library would say to the chain.
 *
 * Fails with `Unavailable` or `DeadlineExceeded` where there is no node, with `InvalidArgument` for a target that can't be read
 * or is a unix socket, and with `MissingPackage` without the engine.
 *
 * @since 0.1.0
 * @category client
 */
export const presented = (
  target: string,
  options: PresentedOptions = {}
): Effect.Effect<ReadonlyArray<Uint8Array>, ConnectError | MissingPackage> =>
  Effect.gen(function* () {
    const engine = yield* loadEngine
    const invalid = (message: string) => new InvalidArgument({ message, peer: target })
    const parsed = yield* Either.match(Peer.parseTarget(target), {
      onLeft: (problem) => Effect.fail(invalid(problem)),
      onRight: (parsed) =>
        parsed._tag === "Unix" ? Effect.fail(invalid("QUIC does not run on unix sockets")) : Effect.succeed(parsed)
    })
    const name = ServerName.wanted(options.serverName, parsed)
    return yield* QuicPresented.presented(engine, QuicOptions.withDefaults(options), name, parsed)
  })
