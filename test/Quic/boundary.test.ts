import * as Layer from "effect/Layer"
import { Credentials, Quic } from "effect-transport"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import { boundarySuite, throwing } from "../suite/BoundarySuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

const state = Reflect.get((await Quiche.load()).Connection, "prototype")

boundarySuite("QuicLive", {
  layer: () => Layer.provide(Quic.layer(), dev),
  doors: [
    { title: "by the engine where it takes a packet", door: "packet", break: throwing(state, "pathEventNext") },
    { title: "by the engine where it reads", door: "engine", break: throwing(state, "isReadable") },
    { title: "by the engine where it arms its timer", door: "engine", break: throwing(state, "timeout") }
  ]
})
