import * as Layer from "effect/Layer"
import { Credentials } from "effect-transport"
import { transportSuite } from "../suite/TransportSuite.js"
import { fewResponseFields, layer } from "./grpcSupport.js"

transportSuite("GrpcLive, insecure", {
  layer: (options) => Layer.provide(layer(options), Credentials.insecure),
  fewResponseFields
})
