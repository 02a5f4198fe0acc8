import * as Layer from "effect/Layer"
import { Credentials, Memory, Quic, Tls, type Transport } from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { connectionSuite } from "./connectionSuite.js"
import { rpcSuite } from "./rpcSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

const on = <E>(name: string, transport: Layer.Layer<Transport.Transport, E>, provesIdentity?: boolean) => {
  rpcSuite(name, transport, { provesIdentity })
  connectionSuite(name, transport)
}

for (const layer of otherWires([Memory.layer()])) {
  on("MemoryLive", layer, false)
}
for (const { layer, name } of grpcEngines) {
  on(name, Layer.provide(layer({ initialReconnectBackoff: "100 millis" }), dev))
}
for (const [name, layer] of otherWires([
  ["TlsLive", Layer.provide(Tls.layer({ initialReconnectBackoff: "100 millis" }), dev)],
  ["QuicLive", Layer.provide(Quic.layer({ initialReconnectBackoff: "100 millis" }), dev)]
] as const)) {
  on(name, layer)
}
