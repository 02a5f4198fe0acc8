/** `@effect/rpc` over the transports of this library. */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Credentials from "effect-transport/Credentials"
import * as RpcTransport from "effect-transport/RpcTransport"
import * as Transport from "effect-transport/Transport"
import type { Certificates, Contestant } from "./contestant.js"
import { host } from "./echo.js"
import * as Rpc from "./rpc.js"

export const make = <R, E>(transport: Layer.Layer<Transport.Transport | R, E, Credentials.Credentials>): Contestant => {
  const secured = (certificates: Certificates) => Layer.provide(transport, Credentials.layerPem(certificates))
  return Rpc.make({
    server: (certificates) => Layer.provide(RpcTransport.layerProtocolServer({ host }), secured(certificates)),
    port: (context) => Context.get(context, Transport.Listener).address.port,
    client: (certificates, port) =>
      Layer.provide(RpcTransport.layerProtocolClient(`${host}:${port}`), secured(certificates))
  })
}
