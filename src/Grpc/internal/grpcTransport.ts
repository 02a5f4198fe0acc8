/** A gRPC transport of what its engine knows: how to reach a target, and how to listen. */

import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as SharedConnections from "../../Connections/ConnectionPool.js"
import * as Renew from "../../Connections/CredentialRotation.js"
import type { Pending } from "../../Connections/ReconnectingConnection.js"
import * as SharedLayer from "../../Connections/SharedLayer.js"
import type * as Credentials from "../../Credentials/Credentials.js"
import * as Reverification from "../../Handshake/Reverification.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import * as EventLoopDelay from "../../Transport/internal/eventLoopDelay.js"
import type * as Peer from "../../Transport/Peer.js"
import type * as Route from "../../Transport/Route.js"
import type { BindError, ConnectError } from "../../Transport/TransportError.js"
import * as Transport from "../../Transport/TransportService.js"

/** What all engines have among their settings. */
interface Settings {
  readonly defaultTimeout: Duration.Duration
  readonly metrics: boolean
  readonly rehandshakeWithin: Option.Option<Duration.Duration>
}

/** What speaks gRPC. */
export interface Engine<S, C extends Pending> {
  readonly connect: (
    settings: S,
    credentials: Credentials.CredentialsService,
    boundary: Boundary.Boundary,
    reverification: Reverification.Reverification,
    target: Peer.Target,
    names: Transport.TargetNames
  ) => Effect.Effect<C, never, Scope.Scope>
  readonly listen: (
    settings: S,
    credentials: Credentials.CredentialsService,
    reverification: Reverification.Reverification,
    routes: ReadonlyMap<string, Route.Route>,
    options: Transport.ListenOptions
  ) => Effect.Effect<Peer.Address, BindError, Scope.Scope>
}

/** A transport, and the connections that its calls run on. */
export interface GrpcTransport<C> {
  readonly context: Context.Context<Transport.Transport>
  readonly connect: (target: Peer.Target) => Effect.Effect<Renew.Renewing<C>, ConnectError, Scope.Scope>
}

export const make = <S extends Settings, C extends Pending>(
  engine: Engine<S, C>,
  settings: S,
  credentials: Credentials.CredentialsService
): Effect.Effect<GrpcTransport<C>, never, Scope.Scope> =>
  Effect.gen(function* () {
    if ((yield* credentials.current)._tag === "Insecure") {
      yield* Effect.logWarning("gRPC without TLS: peers are not authenticated and anyone on the path can read along")
    }
    const boundary = yield* Boundary.make
    yield* EventLoopDelay.whileOpen(settings.metrics)
    const reverification = yield* Reverification.make(credentials)
    const connect = yield* SharedConnections.make((target, names) =>
      Renew.make(
        engine.connect(settings, credentials, boundary, reverification, target, names),
        credentials.changes,
        settings.rehandshakeWithin,
        target
      )
    )
    const context = Context.make(Transport.Transport, {
      listen: (routes, options) => engine.listen(settings, credentials, reverification, routes, options),
      connect,
      system: "grpc",
      defaultTimeout: settings.defaultTimeout,
      metrics: settings.metrics,
      description: SharedLayer.describe("gRPC", credentials)
    })
    return { context, connect }
  })
