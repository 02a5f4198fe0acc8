import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { transportSuite } from "../suite/TransportSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

/** A listener that returns is found soon. */
const quick = { initialReconnectBackoff: "50 millis", maxReconnectBackoff: "200 millis" } as const

/** What Node has no option for that grpc-js passes on: a client takes 128 fields of a response. */
const engine = { manyResponseFields: false }

transportSuite("GrpcLive, mutual TLS", {
  layer: (options) => Layer.provide(Grpc.layer({ ...quick, ...options }), dev),
  ...engine
})

transportSuite("GrpcLive, insecure", {
  layer: (options) => Layer.provide(Grpc.layer({ ...quick, ...options }), Credentials.insecure),
  ...engine
})
