/** The gRPC transport on `@grpc/grpc-js`: the one module of this folder that is imported, when a layer that needs it is built. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Credentials from "../../../Credentials/Credentials.js"
import type * as Transport from "../../../Transport/TransportService.js"
import * as GrpcJsOptions from "../../GrpcJsOptions.js"
import * as GrpcTransport from "../grpcTransport.js"
import { connect } from "./grpcClient.js"
import { listen } from "./grpcServer.js"

export const make = (
  options: GrpcJsOptions.GrpcJsOptions,
  credentials: Credentials.CredentialsService
): Effect.Effect<Context.Context<Transport.Transport>, never, Scope.Scope> =>
  Effect.map(
    GrpcTransport.make({ connect, listen }, GrpcJsOptions.withDefaults(options), credentials),
    ({ context }) => context
  )
