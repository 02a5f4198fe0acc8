import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { transportSuite } from "../suite/TransportSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

/** A listener that returns is found soon. */
const quick = { initialReconnectBackoff: "50 millis", maxReconnectBackoff: "200 millis" } as const

/** Node has an option for it that grpc-js does not pass on. */
const engine = { fewResponseFields: "http2.connect of grpc-js takes 128 fields" }

transportSuite("GrpcLive, mutual TLS", {
  layer: (options) => Layer.provide(Grpc.layer({ ...quick, ...options }), dev),
  ...engine
})

transportSuite("GrpcLive, insecure", {
  layer: (options) => Layer.provide(Grpc.layer({ ...quick, ...options }), Credentials.insecure),
  ...engine
})
