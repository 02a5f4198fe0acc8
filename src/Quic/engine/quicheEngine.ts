/** The engine on quiche: sockets, and which packet belongs to which connection. */
import { hkdfSync, randomBytes } from "node:crypto"
import * as Admission from "../../Handshake/Admission.js"
import * as Peer from "../../Transport/Peer.js"
import {
  type Connection,
  type ConnectOptions,
  type Events,
  type HostPort,
  type Listener,
  type ListenOptions,
  type QuicEngine,
  tooMuch
} from "./QuicEngine.js"
import * as Quiche from "./quiche.js"
import * as QuicheConnection from "./quicheConnection.js"
import * as Refusal from "./refusal.js"
import * as RetryToken from "./retryToken.js"
import * as UdpSocket from "./udpSocket.js"
import * as UdpSockets from "./udpSockets.js"

/** Clients have to fill up the packet that begins a connection (RFC 9000, section 14.1). */
const minInitialSize = 1200

/** The shortest packet that is answered with a reset, and the length of that (RFC 9000, section 10.3). */
const minResettable = 43
const resetSize = 42

/** Ids of handshakes that were refused, for as long as they could come again. */
const maxRefused = 65_536

/** Retries and resets that go out in a second to all together, so that forged addresses get no more of them. */
const maxStatelessRate = 20_000

const version1 = 1

/** RFC 9000, section 20.1. */
const noError = 0x0
const connectionRefused = 0x2

/** The reason for a client for which there is no room, or which has to make room. */
const tooMany = "too many connections"

/** Limits events of each key to so many in a second. */
const makeRate = (limit: number) => {
  let since = 0
  const counts = new Map<string, number>()
  return (key: "version" | "retry" | "reset"): boolean => {
    const now = performance.now()
    if (now - since >= 1000) {
      since = now
      counts.clear()
    }
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    return count <= limit
  }
}

const isLong = (packet: Buffer) => ((packet[0] ?? 0) & 0x80) !== 0

/** The connection id that a packet is for, as the key of a map; undefined where it can't be one of this side. */
const keyOf = (packet: Buffer): string | undefined => {
  if (!isLong(packet)) {
    return packet.length > Quiche.idLength ? packet.toString("latin1", 1, 1 + Quiche.idLength) : undefined
  }
  return packet[5] === Quiche.idLength ? packet.toString("latin1", 6, 6 + Quiche.idLength) : undefined
}

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

/** How long a peer from whose address a refusal came may be silent. */
const unreachablePeriod = 500

interface Handshake {
  readonly place: Admission.Place
  /** What has come for it. */
  bytes: number
}

/** A connection of a listener, which stays on the socket that it began on. */
interface Accepted {
  readonly driver: QuicheConnection.Driver
  readonly socket: UdpSocket.UdpSocket
}

const listen = async (
  quiche: Quiche.Quiche,
  interfaces: UdpSockets.Interfaces,
  options: ListenOptions
): Promise<Listener> => {
  const { admission, settings } = options
  const retryKey = randomBytes(32)
  const { certificate } = options.tls()
  // A listener that comes back with the same key can tell the peers of the one before that it knows them no more.
  const resetKey = Buffer.from(
    hkdfSync("sha256", certificate?.key ?? retryKey, "", "effect-transport stateless reset", 32)
  )
  const connections = new Map<string, Accepted>()
  /** Those that have not ended. */
  const handshakes = new Map<string, Handshake>()
  let handshakeBytes = 0
  /** Ids whose handshakes took too much: what else comes for them, as long as the Retry's token is good, begins none. */
  const refused = new Set<string>()
  const mayAnswer = makeRate(maxStatelessRate)
  const out = Buffer.allocUnsafeSlow(1500)
  let isRefusing = false

  const reply = (bytes: Buffer, to: HostPort, socket: UdpSocket.UdpSocket) => socket.send(bytes, 0, bytes.length, to)

  /** Tells a peer that its connection is not known here any more. Shorter than what it answers, so that two ends can't loop. */
  const reset = (packet: Buffer, from: HostPort, socket: UdpSocket.UdpSocket) => {
    if (packet.length >= minResettable && mayAnswer("reset")) {
      const bytes = randomBytes(resetSize)
      bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40
      Quiche.resetToken(resetKey, packet.subarray(1, 1 + Quiche.idLength)).copy(bytes, resetSize - 16)
      reply(bytes, from, socket)
    }
  }

  /** Undefined where it can't be read. */
  const headerOf = (packet: Buffer) => {
    try {
      return quiche.Header.fromSlice(packet, Quiche.idLength)
    } catch {
      return undefined
    }
  }

  const accept = (packet: Buffer, from: HostPort, socket: UdpSocket.UdpSocket) => {
    if (packet.length < minInitialSize) {
      return
    }
    const header = headerOf(packet)
    if (header === undefined) {
      return
    }
    const copy = (length: number) => Buffer.from(out.subarray(0, length))
    if (!quiche.versionIsSupported(header.version)) {
      if (mayAnswer("version")) {
        reply(copy(quiche.negotiateVersion(header.scid, header.dcid, out)), from, socket)
      }
      return
    }
    if (header.ty !== quiche.Type.Initial) {
      return
    }
    const source = Admission.sourceOf(from.host)
    if (admission.isBoxed(source)) {
      return admission.report("PenaltyBox", Peer.formatAddress(from))
    }
    const token = header.token ?? new Uint8Array(0)
    if (token.length === 0) {
      if (mayAnswer("retry")) {
        const id = Quiche.newId()
        const issued = RetryToken.make(retryKey, from, id, header.dcid, Date.now())
        reply(copy(quiche.retry(header.scid, header.dcid, id, issued, version1, out)), from, socket)
      }
      return
    }
    const id = Buffer.from(header.dcid)
    const original = RetryToken.read(retryKey, from, id, token, Date.now())
    if (original === undefined || id.length !== Quiche.idLength || refused.has(id.toString("latin1"))) {
      return
    }
    if (admission.delay(source, 0) === undefined) {
      return admission.report("HandshakeRate", Peer.formatAddress(from))
    }
    if (admission.totalDelay(0) === undefined) {
      return admission.report("TotalHandshakeRate", Peer.formatAddress(from))
    }
    if (isRefusing || isFull()) {
      if (!isRefusing) {
        admission.report("TooManyConnections", Peer.formatAddress(from))
      }
      const why = isRefusing ? "going away" : tooMany
      return reply(Refusal.make(id, header.scid, connectionRefused, why), from, socket)
    }
    begin(packet, from, id, original, socket)
  }

  const isFull = () => connections.size - handshakes.size >= options.maxConnections

  const endHandshake = (key: string) => {
    const handshake = handshakes.get(key)
    if (handshake !== undefined) {
      handshakeBytes -= handshake.bytes
      handshakes.delete(key)
      handshake.place.leave()
    }
  }

  /** Counts what comes before the end of a handshake, and gives up the largest where that is too much for all. */
  const countHandshake = (key: string, size: number) => {
    const handshake = handshakes.get(key)
    if (handshake === undefined) {
      return
    }
    if (handshake.bytes > 0) {
      handshake.place.speak()
    }
    handshake.bytes += size
    handshakeBytes += size
    if (handshakeBytes > options.maxTotalHandshakeBytes) {
      let [largest, bytes] = [key, 0]
      for (const [each, handshake] of handshakes) {
        if (handshake.bytes > bytes) {
          ;[largest, bytes] = [each, handshake.bytes]
        }
      }
      endHandshake(largest)
      connections.get(largest)?.driver.refuse()
    }
  }

  const begin = (packet: Buffer, from: HostPort, id: Buffer, original: Buffer, socket: UdpSocket.UdpSocket) => {
    const key = id.toString("latin1")
    const paths = { local: socket.local(), remote: from }
    const driver = QuicheConnection.make({
      quiche,
      state: Quiche.accept(
        quiche,
        { id, original, resetToken: Quiche.resetToken(resetKey, id) },
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
              admission.report("TooManyConnections", Peer.formatAddress(from))
              return connection.close(false, connectionRefused, tooMany)
            }
            endHandshake(key)
            events.onEstablished()
          },
          onClosed: (close) => {
            if (close._tag === "Closed" && close.text === tooMuch) {
              if (refused.size >= maxRefused) {
                refused.clear()
              }
              refused.add(key)
            }
            events.onClosed(close)
          }
        }
      },
      onThrown: options.onThrown,
      onGone: () => {
        connections.delete(key)
        endHandshake(key)
      }
    })
    connections.set(key, { driver, socket })
    const place = admission.enter(Admission.sourceOf(from.host), (reason) => {
      admission.report(reason, Peer.formatAddress(from))
      endHandshake(key)
      driver.connection.close(false, connectionRefused, tooMany)
    })
    handshakes.set(key, { place, bytes: 0 })
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
        if (handshakes.size > 0 && key !== undefined) {
          countHandshake(key, packet.length)
        }
        known.driver.receive(packet)
      }
      return
    }
    if (isLong(packet)) {
      accept(packet, from, socket)
    } else {
      reset(packet, from, socket)
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

export const make = (quiche: Quiche.Quiche, interfaces = UdpSockets.system): QuicEngine => ({
  check: (tls, settings) => {
    Quiche.configOf(quiche, tls, settings)
  },
  connect: (options, events) => connect(quiche, options, events),
  listen: (options) => listen(quiche, interfaces, options)
})
