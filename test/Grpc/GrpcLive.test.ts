import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { transportSuite } from "../TransportSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

/** A listener that returns is found soon. */
const quick = { initialReconnectBackoff: "50 millis", maxReconnectBackoff: "200 millis" } as const

transportSuite("GrpcLive, mutual TLS", (options) => Layer.provide(Grpc.layer({ ...quick, ...options }), dev))

transportSuite("GrpcLive, insecure", (options) =>
  Layer.provide(Grpc.layer({ ...quick, ...options }), Credentials.insecure)
)
