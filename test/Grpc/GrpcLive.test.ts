import * as Layer from "effect/Layer"
import { Credentials } from "effect-transport"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { transportSuite } from "../suite/TransportSuite.js"
import { quickReconnect } from "./grpcSupport.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

for (const { layer, limits, name } of grpcEngines) {
  transportSuite(`${name}, mutual TLS`, {
    layer: (options) => Layer.provide(layer({ ...quickReconnect, ...options }), dev),
    fewResponseFields: limits.fewResponseFields
  })
}
