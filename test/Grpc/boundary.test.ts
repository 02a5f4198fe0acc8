import { Metadata } from "@grpc/grpc-js"
import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { boundarySuite, tcpDoors, throwing } from "../suite/BoundarySuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

boundarySuite("GrpcLive", (options) => Layer.provide(Grpc.layer(options), dev), [
  ...tcpDoors,
  { title: "by the metadata of grpc-js", door: "engine", break: throwing(Metadata.prototype, "toJSON") }
])
