import * as Layer from "effect/Layer"
import { Credentials, GrpcLive, MemoryLive, QuicLive, TlsLive } from "effect-transport"
import { endToEndSuite } from "./endToEndSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

endToEndSuite("MemoryLive", MemoryLive)
endToEndSuite("GrpcLive", Layer.provide(GrpcLive, dev))
endToEndSuite("TlsLive", Layer.provide(TlsLive, dev))
endToEndSuite("QuicLive", Layer.provide(QuicLive, dev))
