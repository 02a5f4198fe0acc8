import { Duplex } from "node:stream"
import { TLSSocket } from "node:tls"
import * as Layer from "effect/Layer"
import { Credentials, Tls } from "effect-transport"
import { boundarySuite, tcpDoors, throwing } from "../suite/BoundarySuite.js"

/** One layer, so that all that a test opens trusts one CA. */
const dev = Credentials.layerDev()

boundarySuite("TlsLive", (options) => Layer.provide(Tls.layer(options), dev), [
  ...tcpDoors,
  {
    title: "by the write of a socket",
    door: "socket",
    break: throwing(Duplex.prototype, "write", (socket) => socket instanceof TLSSocket)
  }
])
