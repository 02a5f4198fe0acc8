/** The gRPC transport on `@grpc/grpc-js`: the one module of this folder that is imported, when a layer that needs it is built. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as SharedConnections from "../../../Connections/ConnectionPool.js"
import * as Renew from "../../../Connections/CredentialRotation.js"
import * as SharedLayer from "../../../Connections/SharedLayer.js"
import type * as Credentials from "../../../Credentials/Credentials.js"
import * as Reverification from "../../../Handshake/Reverification.js"
import * as Boundary from "../../../Transport/internal/boundary.js"
import * as Transport from "../../../Transport/TransportService.js"
import * as GrpcJsOptions from "../../GrpcJsOptions.js"
import * as GrpcClient from "./grpcClient.js"
import * as GrpcServer from "./grpcServer.js"

export const make = (
  options: GrpcJsOptions.GrpcJsOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<Transport.Transport>, never, Scope.Scope> =>
  Effect.gen(function* () {
    const settings = GrpcJsOptions.withDefaults(options)
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
