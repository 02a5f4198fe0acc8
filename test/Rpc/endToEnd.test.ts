import * as Layer from "effect/Layer"
import { Credentials, MemoryLive, QuicLive, TlsLive } from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { endToEndSuite } from "./endToEndSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

for (const { layer, name } of grpcEngines) {
  endToEndSuite(name, Layer.provide(layer(), dev))
}
for (const [name, layer] of otherWires([
  ["MemoryLive", MemoryLive],
  ["TlsLive", TlsLive],
  ["QuicLive", QuicLive]
] as const)) {
  endToEndSuite(name, Layer.provide(layer, dev))
}
