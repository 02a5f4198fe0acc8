import * as Layer from "effect/Layer"
import { Credentials, Quic } from "effect-transport"
import { transportSuite } from "../suite/TransportSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

transportSuite("QuicLive", { layer: (options) => Layer.provide(Quic.layer(options), dev), unixSockets: false })
