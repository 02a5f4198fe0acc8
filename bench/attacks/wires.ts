/** The wires that are attacked, for both sides. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Scope from "effect/Scope"
import * as Credentials from "effect-transport/Credentials"
import * as Grpc from "effect-transport/Grpc"
import * as Quic from "effect-transport/Quic"
import * as Tls from "effect-transport/Tls"
import * as Transport from "effect-transport/Transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import type { Certificates } from "../contestant.js"

export const names = ["GrpcLive", "TlsLive", "QuicLive"] as const

export type Name = (typeof names)[number]

const options = { serverName: "localhost", connectTimeout: "10 seconds" } as const

type Transports = Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>

const layers: { readonly [name in Name]: () => Transports } = {
  GrpcLive: () => Grpc.layer(options),
  TlsLive: () => Tls.layer(options),
  QuicLive: () => Quic.layer(options)
}

export const alpn: { readonly [name in Name]: string } = {
  GrpcLive: "h2",
  TlsLive: "effect-transport/1",
  QuicLive: "h3"
}

/** A transport of its own, with what closes it. Nothing is logged: a listener under attack says a line a second. */
export const open = async (wire: Name, certificates: Certificates) => {
  const scope = Effect.runSync(Scope.make())
  const transport = Layer.provide(Layer.fresh(layers[wire]()), Credentials.layerPem(certificates))
  const quiet = Logger.remove(Logger.defaultLogger)
  const context = await Effect.runPromise(
    Effect.provide(Layer.buildWithScope(Layer.orDie(Layer.merge(transport, quiet)), scope), quiet)
  )
  return {
    run: <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>): Promise<A> =>
      Effect.runPromise(Effect.provide(effect, Context.add(context, Scope.Scope, scope)).pipe(Effect.provide(quiet))),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/** A client on a connection of its own. */
export const connect = async (wire: Name, certificates: Certificates, target: string) => {
  const { close, run } = await open(wire, certificates)
  return { client: await run(Transport.client(EchoService, target)), close }
}

export type Client = Awaited<ReturnType<typeof connect>>["client"]
