import * as Layer from "effect/Layer"
import { Credentials } from "effect-transport"
import { transportSuite } from "../suite/TransportSuite.js"
import { fewResponseFields, layer } from "./grpcSupport.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

transportSuite("GrpcLive, mutual TLS", {
  layer: (options) => Layer.provide(layer(options), dev),
  fewResponseFields
})
