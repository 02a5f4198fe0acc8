import * as Layer from "effect/Layer"
import { Credentials, MemoryLive, QuicLive, TlsLive } from "effect-transport"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { endToEndSuite } from "./endToEndSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

endToEndSuite("MemoryLive", MemoryLive)
for (const { layer, name } of grpcEngines) {
  endToEndSuite(name, Layer.provide(layer(), dev))
}
endToEndSuite("TlsLive", Layer.provide(TlsLive, dev))
endToEndSuite("QuicLive", Layer.provide(QuicLive, dev))
