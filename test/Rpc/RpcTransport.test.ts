import * as Layer from "effect/Layer"
import { Credentials, Grpc, Memory, Tls } from "effect-transport"
import { rpcSuite } from "./rpcSuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

rpcSuite("MemoryLive", Memory.layer())
rpcSuite("GrpcLive", Layer.provide(Grpc.layer({ initialReconnectBackoff: "100 millis" }), dev))
rpcSuite("TlsLive", Layer.provide(Tls.layer({ initialReconnectBackoff: "100 millis" }), dev))
