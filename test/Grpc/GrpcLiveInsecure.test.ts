import * as Layer from "effect/Layer"
import { Credentials } from "effect-transport"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { transportSuite } from "../suite/TransportSuite.js"
import { quickReconnect } from "./grpcSupport.js"

for (const { layer, limits, name } of grpcEngines) {
  transportSuite(`${name}, insecure`, {
    layer: (options) => Layer.provide(layer({ ...quickReconnect, ...options }), Credentials.insecure),
    fewResponseFields: limits.fewResponseFields
  })
}
