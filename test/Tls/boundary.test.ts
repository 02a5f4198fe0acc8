import { Duplex } from "node:stream"
import { TLSSocket } from "node:tls"
import * as Layer from "effect/Layer"
import { Credentials, Tls } from "effect-transport"
import { tcpDoors } from "../fixtures/tcpDoors.js"
import { boundarySuite, throwing } from "../suite/BoundarySuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

boundarySuite("TlsLive", {
  layer: () => Layer.provide(Tls.layer(), dev),
  doors: [
    ...tcpDoors,
    {
      title: "by the write of a socket",
      door: "socket",
      break: throwing(Duplex.prototype, "write", (socket) => socket instanceof TLSSocket)
    }
  ]
})
