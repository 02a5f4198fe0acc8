import { Metadata } from "@grpc/grpc-js"
import * as Layer from "effect/Layer"
import { Credentials, Grpc } from "effect-transport"
import { tcpDoors } from "../fixtures/tcpDoors.js"
import { boundarySuite, throwing } from "../suite/BoundarySuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

boundarySuite("GrpcLive", {
  layer: () => Layer.provide(Grpc.layer(), dev),
  doors: [
    ...tcpDoors,
    { title: "by the metadata of grpc-js", door: "engine", break: throwing(Metadata.prototype, "toJSON") }
  ]
})
