import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { transportSuite } from "../TransportSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

transportSuite("GrpcLive, mutual TLS", (options) => Layer.provide(Grpc.layer(options), dev))

transportSuite("GrpcLive, insecure", (options) => Layer.provide(Grpc.layer(options), Credentials.insecure))
