/** A listener on quiche: who may begin a connection, and which packet belongs to which one. */
import * as Admission from "../../Handshake/HandshakeAdmission.js"
import * as Peer from "../../Transport/Peer.js"
import * as Handshakes from "./handshakes.js"
import { type HostPort, type Listener, type ListenOptions, tooMuch } from "./QuicEngine.js"
import * as Quiche from "./quiche.js"
import * as QuicheConnection from "./quicheConnection.js"
import * as StatelessAnswers from "./statelessAnswers.js"
import type * as UdpSocket from "./udpSocket.js"
import * as UdpSockets from "./udpSockets.js"

/** RFC 9000, section 20.1. */
const noError = 0x0
const connectionRefused = 0x2
/** CRYPTO_ERROR with the alert access_denied (RFC 9001, section 4.8). */
const accessDenied = 0x131

/** The reasons for a client for which there is no room, or which has to make room. */
const tooMany = "too many connections"
const tooManyOfSource = "too many connections of this network"

/** What a client is told that is refused by its address alone; others are not answered. */
const toldAtOnce: { readonly [reason in Admission.Reason]?: readonly [code: number, why: string] } = {
  Denied: [accessDenied, "NotAuthorized"],
  Overloaded: [connectionRefused, "overloaded"]
}

const hasLongHeader = (packet: Buffer) => ((packet[0] ?? 0) & 0x80) !== 0

/** The connection id that a packet is for, as the key of a map; undefined where it can't be one of this side. */
const keyOf = (packet: Buffer): string | undefined => {
  if (!hasLongHeader(packet)) {
    return packet.length > Quiche.idLength ? packet.toString("latin1", 1, 1 + Quiche.idLength) : undefined
  }
  return packet[5] === Quiche.idLength ? packet.toString("latin1", 6, 6 + Quiche.idLength) : undefined
}

/** A connection of a listener, which stays on the socket that it began on. */
interface Accepted {
  readonly driver: QuicheConnection.Driver
  readonly socket: UdpSocket.UdpSocket
}

export const listen = async (
  quiche: Quiche.Quiche,
  interfaces: UdpSockets.Interfaces,
  options: ListenOptions
): Promise<Listener> => {
  const { admission, settings } = options
  const connections = new Map<string, Accepted>()
  const handshakes = Handshakes.make(options.maxTotalHandshakeBytes)
  const answers = StatelessAnswers.make(quiche, options.tls().certificate?.key)
  let isRefusing = false

  const isFull = () => connections.size - handshakes.size() >= options.maxConnections

  const report = (reason: Admission.Reason, from: HostPort) => admission.report(reason, Peer.formatAddress(from))

  /** Which rate a client exceeds that has proved its address. */
  const exceededRate = (source: string): Admission.Reason | undefined =>
    admission.isTooFast(source)
      ? "ConnectionRate"
      : admission.delay(source, 0) === undefined
        ? "HandshakeRate"
        : admission.totalDelay(0) === undefined
          ? "TotalHandshakeRate"
          : undefined

  const accept = (packet: Buffer, from: HostPort, socket: UdpSocket.UdpSocket) => {
    const source = Admission.sourceOf(from.host)
    const initial = answers.initial(packet, from, socket, (refuse) => {
      const reason = admission.refusal(from.host)
      if (reason !== undefined) {
        report(reason, from)
        const told = toldAtOnce[reason]
        if (told !== undefined) {
          refuse(...told)
        }
      }
      return reason === undefined
    })
    if (initial === undefined || handshakes.isRefused(initial.id.toString("latin1"))) {
      return
    }
    const reason = exceededRate(source)
    if (reason !== undefined) {
      return report(reason, from)
    }
    if (isRefusing) {
      return answers.refuse(initial, from, socket, connectionRefused, "going away")
    }
    if (isFull()) {
      report("TooManyConnections", from)
      return answers.refuse(initial, from, socket, connectionRefused, tooMany)
    }
    if (admission.isFull(source)) {
      report("TooManyOfSource", from)
      return answers.refuse(initial, from, socket, connectionRefused, tooManyOfSource)
    }
    begin(packet, from, initial, socket)
  }

  /** Counts what comes before the end of a handshake, and gives up the largest where that is too much for all. */
  const countHandshake = (key: string, size: number) => {
    const largest = handshakes.count(key, size)
    if (largest !== undefined) {
      connections.get(largest)?.driver.refuse()
    }
  }

  const begin = (
    packet: Buffer,
    from: HostPort,
    { id, original }: StatelessAnswers.Initial,
    socket: UdpSocket.UdpSocket
  ) => {
    const key = id.toString("latin1")
    const paths = { local: socket.local(), remote: from }
    let leave: (() => void) | undefined
    const driver = QuicheConnection.make({
      quiche,
      state: Quiche.accept(
        quiche,
        { id, original, resetToken: answers.resetToken(id) },
        paths,
        options.tls(),
        settings
      ),
      paths,
      role: "server",
      settings,
      transmit: socket.send,
      events: (connection) => {
        const events = options.onConnection(connection)
        return {
          ...events,
          onEstablished: () => {
            if (isFull()) {
              report("TooManyConnections", from)
              return connection.close(false, connectionRefused, tooMany)
            }
            leave = admission.join(from.host, () => connection.close(false, accessDenied, "NotAuthorized"))
            if (leave === undefined) {
              report("TooManyOfSource", from)
              return connection.close(false, connectionRefused, tooManyOfSource)
            }
            handshakes.end(key)
            events.onEstablished()
          },
          onClosed: (close) => {
            if (close._tag === "Closed" && close.text === tooMuch) {
              handshakes.refuse(key)
            }
            events.onClosed(close)
          }
        }
      },
      onThrown: options.onThrown,
      onGone: () => {
        connections.delete(key)
        handshakes.end(key)
        leave?.()
      }
    })
    connections.set(key, { driver, socket })
    const place = admission.enter(Admission.sourceOf(from.host), (reason) => {
      report(reason, from)
      handshakes.end(key)
      driver.connection.close(false, connectionRefused, tooMany)
    })
    handshakes.begin(key, place)
    countHandshake(key, packet.length)
    driver.receive(packet)
  }

  const onPacket = (packet: Buffer, from: HostPort, socket: UdpSocket.UdpSocket) => {
    try {
      take(packet, from, socket)
    } catch (cause) {
      options.onThrown?.("packet", from, cause)
    }
  }

  const take = (packet: Buffer, from: HostPort, socket: UdpSocket.UdpSocket) => {
    const key = keyOf(packet)
    const known = key === undefined ? undefined : connections.get(key)
    if (known !== undefined) {
      const { host, port } = known.driver.connection.remote
      // A connection stays where it began: moving is what several of quiche's known holes are about.
      if (port === from.port && host === from.host && socket === known.socket) {
        if (handshakes.size() > 0 && key !== undefined) {
          countHandshake(key, packet.length)
        }
        known.driver.receive(packet)
      }
      return
    }
    if (hasLongHeader(packet)) {
      accept(packet, from, socket)
    } else {
      answers.reset(packet, from, socket)
    }
  }

  const onGone = (socket: UdpSocket.UdpSocket) => {
    for (const { driver, socket: its } of [...connections.values()]) {
      if (its === socket) {
        driver.lose({ _tag: "Lost", why: "Unreachable", cause: new Error("the address of this end is no more") })
      }
    }
  }

  const sockets = await UdpSockets.bind(
    options.local,
    { onPacket, onGone, onError: options.onError },
    interfaces,
    options.otherHosts
  )
  return {
    local: sockets.local,
    refuse: () => {
      isRefusing = true
    },
    close: () => {
      for (const { driver } of [...connections.values()]) {
        driver.connection.close(false, noError, "")
        driver.lose({ _tag: "Lost", why: "Silent" })
      }
      return sockets.close()
    }
  }
}
