/** Attacks of those who have not proved who they are. */
import * as Net from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import * as NodeTls from "node:tls"
import type * as QuicEngine from "../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"
import type { Certificates } from "../contestant.js"
import type { Attack, Target } from "./protocol.js"
import * as Wires from "./wires.js"

/** One connection that is given up at the latest when it ends. */
type Connect = (target: Target, onEnd: () => void) => () => void

/** A handshake with a certificate that the listener does not trust: all of it, from the signature to the refusal. */
const shakeTls =
  (alpn: string, { cert, key }: Certificates): Connect =>
  ({ host, port }, onEnd) => {
    const socket = NodeTls.connect({ host, port, cert, key, rejectUnauthorized: false, ALPNProtocols: [alpn] })
    socket.on("error", () => {}).resume()
    socket.once("close", onEnd)
    return () => socket.destroy()
  }

const silent: Connect = ({ host, port }, onEnd) => {
  const socket = Net.connect({ host, port })
  socket.on("error", () => {}).resume()
  socket.once("close", onEnd)
  return () => socket.destroy()
}

const settings: QuicEngine.ConnectionSettings = {
  alpnProtocol: "h3",
  maxUdpPayload: 1350,
  connectionWindow: 1024 * 1024,
  streamWindow: 1024 * 1024,
  maxBidiStreams: 0,
  maxUniStreams: 3,
  maxDatagrams: 0,
  keepaliveTime: 30_000,
  keepaliveTimeout: 10_000,
  maxHandshakeBytes: 128 * 1024,
  handshakeTimeout: 3000,
  maxPacketRate: 1_000_000,
  maxIdlePacketRate: 10_000,
  maxIdleBytes: 4 * 1024 * 1024
}

const shakeQuic = async ({ ca, cert, key }: Certificates): Promise<Connect> => {
  const engine = QuicheEngine.make(await Quiche.load())
  return ({ host, port }, onEnd) => {
    const connection = engine.connect(
      {
        remote: { host, port },
        serverName: "localhost",
        tls: { ca: [ca], certificate: { chain: cert, key }, verifyChain: false, asksCertificate: true },
        settings
      },
      () => ({
        onEstablished: () => {},
        onConfirmed: () => {},
        onStream: () => ({ onReadable: () => {}, onDrain: () => {}, onStopped: () => {} }),
        onDatagram: () => {},
        onOverflow: () => {},
        onStreamsAvailable: () => {},
        onClosed: onEnd
      })
    )
    return () => connection.close(false, 0, "")
  }
}

const handshake = (wire: Wires.Name, certificates: Certificates) =>
  wire === "QuicLive" ? shakeQuic(certificates) : shakeTls(Wires.alpn[wire], certificates)

/** So many at a time, each replaced when it has ended. */
const flood = async (connect: Connect, target: Target, millis: number, atATime: number): Promise<number> => {
  const open = new Set<() => void>()
  const until = performance.now() + millis
  let begun = 0
  const next = () => {
    if (performance.now() >= until) {
      return
    }
    begun += 1
    const close = connect(target, () => {
      open.delete(close)
      setImmediate(next)
    })
    open.add(close)
  }
  for (let i = 0; i < atATime; i++) {
    next()
  }
  await sleep(millis)
  for (const close of [...open]) {
    close()
  }
  return begun
}

export const handshakes: Attack = async (wire, certificates, target) => {
  const connect = await handshake(wire, certificates)
  return async (millis) => `${await flood(connect, target, millis, 64)} handshakes begun`
}

/** On QUIC nobody who is silent has a connection: each asks for one, and then goes on with the next. */
export const silence: Attack = async (wire, certificates, target) => {
  if (wire !== "QuicLive") {
    return async (millis) => `${await flood(silent, target, millis, 2000)} silent connections`
  }
  const connect = await shakeQuic(certificates)
  return async (millis) => {
    const until = performance.now() + millis
    let begun = 0
    while (performance.now() < until) {
      for (let i = 0; i < 20; i++) {
        begun += 1
        setTimeout(
          connect(target, () => {}),
          2
        )
      }
      await sleep(5)
    }
    return `${begun} first packets`
  }
}
