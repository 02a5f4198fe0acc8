/** What a listener decides when a connection comes, by where it comes from and before anything is spent on it. */
import type * as Net from "node:net"
import { constVoid } from "effect/Function"
import * as Count from "../../Transport/internal/gauge.js"
import { lingeringClose } from "../../Transport/internal/lingeringClose.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import * as Admission from "../HandshakeAdmission.js"
import * as Arrivals from "./arrivals.js"
import type { ProxyHeaders } from "./proxyHeaders.js"
import type { ReadyConnections } from "./readyConnections.js"

/** Connections that are told at a time why their network may not connect: a flood of them costs no more. */
const maxTold = 100

/** What becomes of the connections of a listener. */
export interface Options {
  readonly admission: Admission.Admission
  readonly arrivals: Arrivals.Arrivals
  readonly headers: ProxyHeaders
  readonly ready: ReadyConnections
  /** All that are open. */
  readonly sockets: Set<Net.Socket>
  readonly begin: (arrival: Arrivals.Arrival) => void
  /** What a peer reads whose network may not connect. */
  readonly denial: Uint8Array
}

/** Accepts connections: those that there is a place for begin. */
export const make = ({
  admission,
  arrivals,
  begin,
  denial,
  headers,
  ready,
  sockets
}: Options): ((socket: Net.Socket) => void) => {
  let told = 0

  const turnAway = (reason: Admission.Reason, socket: Net.Socket, address: string) => {
    admission.report(reason, address)
    if (reason !== "Denied" || told >= maxTold) {
      return socket.destroy()
    }
    told += 1
    socket.once("close", () => {
      told -= 1
    })
    lingeringClose(socket, denial)
  }

  const enter = (socket: Net.Socket, origin: Arrivals.Origin) => {
    const source = Admission.sourceOf(origin.host)
    const refusal =
      admission.refusal(origin.host) ??
      (admission.isTooFast(source)
        ? "ConnectionRate"
        : ready.isFull()
          ? "TooManyConnections"
          : admission.isFull(source)
            ? "TooManyOfSource"
            : undefined)
    if (refusal !== undefined) {
      return turnAway(refusal, socket, origin.address)
    }
    begin(arrivals.add(socket, origin))
  }

  /** A proxy's connection begins when it has said whose that is. */
  const enterBehind = (socket: Net.Socket, proxy: Arrivals.Origin) =>
    headers.read(
      socket,
      proxy.address,
      admission.rules().headerMillis,
      (peer) =>
        ready.isClosing()
          ? socket.destroy()
          : enter(socket, peer === undefined ? proxy : Arrivals.originAt(peer.host, peer.port)),
      () => turnAway("ProxyHeader", socket, proxy.address)
    )

  return (socket: Net.Socket) => {
    sockets.add(socket)
    Count.add(TransportMetrics.connectionsAccepted, 1)
    socket.once("close", () => {
      sockets.delete(socket)
      Count.add(TransportMetrics.connectionsAccepted, -1)
    })
    socket.on("error", constVoid)
    const origin = Arrivals.originOf(socket)
    if (admission.rules().isProxy(origin.host)) {
      enterBehind(socket, origin)
    } else {
      enter(socket, origin)
    }
  }
}
