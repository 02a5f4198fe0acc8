/** The engine on quiche. */
import type { Connection, ConnectOptions, Events, QuicEngine } from "./QuicEngine.js"
import * as Quiche from "./quiche.js"
import * as QuicheConnection from "./quicheConnection.js"
import * as QuicheListener from "./quicheListener.js"
import * as UdpSocket from "./udpSocket.js"
import * as UdpSockets from "./udpSockets.js"

/** How long a peer from whose address a refusal came may be silent. */
const unreachablePeriod = 500

const connect = (
  quiche: Quiche.Quiche,
  { onThrown, remote, serverName, settings, tls }: ConnectOptions,
  events: (connection: Connection) => Events
): Connection => {
  let socket: UdpSocket.UdpSocket | undefined
  let refused: NodeJS.Timeout | undefined
  // The packets of one socket come all from one address: which one of its own it uses is of no interest to quiche.
  const paths = { local: { host: remote.host, port: 1 }, remote }
  const driver = QuicheConnection.make({
    quiche,
    state: Quiche.connect(quiche, serverName, paths, tls, settings),
    paths,
    role: "client",
    settings,
    transmit: (slab, offset, length, to) => socket?.send(slab, offset, length, to),
    events,
    onThrown,
    onGone: () => {
      clearTimeout(refused)
      udp.close()
    }
  })
  const udp = UdpSocket.connect(
    remote,
    (ready) => {
      socket = ready
      driver.start()
    },
    (packet) => {
      clearTimeout(refused)
      refused = undefined
      driver.receive(packet)
    },
    (cause) => {
      // Anyone could send the ICMP message behind this: a peer that is there has time to prove it.
      refused ??= setTimeout(
        () => driver.lose({ _tag: "Lost", why: "Unreachable", cause }),
        driver.connection.isEstablished() ? unreachablePeriod : 0
      )
    }
  )
  return driver.connection
}

export const make = (quiche: Quiche.Quiche, interfaces = UdpSockets.system): QuicEngine => ({
  check: (tls, settings) => {
    Quiche.configOf(quiche, tls, settings)
  },
  connect: (options, events) => connect(quiche, options, events),
  listen: (options) => QuicheListener.listen(quiche, interfaces, options)
})
