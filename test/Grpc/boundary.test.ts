import { Metadata } from "@grpc/grpc-js"
import * as Layer from "effect/Layer"
import { Credentials } from "effect-transport"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { tcpDoors } from "../fixtures/tcpDoors.js"
import { boundarySuite, type Door, throwing } from "../suite/BoundarySuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

const doors: Record<string, ReadonlyArray<Door>> = {
  GrpcLive: tcpDoors,
  "Grpc.layerGrpcJs": [
    ...tcpDoors,
    { title: "by the metadata of grpc-js", door: "engine", break: throwing(Metadata.prototype, "toJSON") }
  ]
}

for (const { layer, name } of grpcEngines) {
  boundarySuite(name, { layer: () => Layer.provide(layer(), dev), doors: doors[name] ?? [] })
}
