import * as Layer from "effect/Layer"
import { Credentials, Tls } from "effect-transport"
import { transportSuite } from "../suite/TransportSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

transportSuite("TlsLive", { layer: (options) => Layer.provide(Tls.layer(options), dev) })
