/**
 * A client of quiche that writes its secrets down, so that a test can seal 1-RTT packets with frames that quiche never
 * sends (RFC 9001, section 5).
 */
import { createCipheriv, createHmac } from "node:crypto"
import * as Dgram from "node:dgram"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import type * as QuicEngine from "../../../src/Quic/engine/QuicEngine.js"
import * as Quiche from "../../../src/Quic/engine/quiche.js"
import { eventually } from "../../suite/fixtures/expect.js"
import { directory } from "../../suite/fixtures/system.js"

/** HKDF-Expand-Label without a context, for one block of SHA-256 (RFC 8446, section 7.1). */
const expandLabel = (secret: Buffer, label: string, length: number): Buffer => {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([Buffer.of(0, length, name.length), name, Buffer.of(0, 1)])
  return createHmac("sha256", secret).update(info).digest().subarray(0, length)
}

const numberSize = 4

/** Seals packets behind all that the client itself has sent. */
const sealing = (secret: Buffer, id: Uint8Array) => {
  const [key, iv, protection] = [
    expandLabel(secret, "quic key", 16),
    expandLabel(secret, "quic iv", 12),
    expandLabel(secret, "quic hp", 16)
  ]
  let number = 10_000
  return (frames: Buffer): Buffer => {
    number += 1
    const header = Buffer.concat([Buffer.of(0x40 | (numberSize - 1)), id, Buffer.alloc(numberSize)])
    const at = header.length - numberSize
    header.writeUInt32BE(number, at)
    const nonce = Buffer.from(iv)
    nonce.writeInt32BE(nonce.readInt32BE(8) ^ number, 8)
    const cipher = createCipheriv("aes-128-gcm", key, nonce)
    const sealed = Buffer.concat([cipher.setAAD(header).update(frames), cipher.final(), cipher.getAuthTag()])
    const mask = createCipheriv("aes-128-ecb", protection, null).update(sealed.subarray(0, 16))
    header[0] = (header[0] ?? 0) ^ ((mask[0] ?? 0) & 0x1f)
    for (let i = 0; i < numberSize; i++) {
      header[at + i] = (header[at + i] ?? 0) ^ (mask[1 + i] ?? 0)
    }
    return Buffer.concat([header, sealed])
  }
}

export interface OneRtt {
  readonly state: Quiche.State
  /** Sends what quiche has to say. */
  readonly flush: () => void
  /** Sends a packet with these frames, behind quiche's back: from the first on quiche hears nothing any more. */
  readonly inject: (frames: Buffer) => void
}

/** Connects, and is done when the handshake is over. */
export const connect = (
  tls: QuicEngine.TlsSettings,
  settings: QuicEngine.ConnectionSettings,
  remote: QuicEngine.HostPort
) =>
  Effect.gen(function* () {
    const quiche = yield* Effect.promise(() => Quiche.load())
    const keys = join(yield* directory, "keys")
    const config = Quiche.configOf(quiche, tls, settings)
    config.logKeys()
    const local = { host: "127.0.0.1", port: 1 }
    const state = quiche.Connection.connect("localhost", Quiche.newId(), local, remote, config)
    state.setKeylog(keys)
    const socket = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
    yield* Effect.addFinalizer(() => Effect.sync(() => socket.close()))
    yield* Effect.promise(() => once(socket, "listening"))
    const transmit = (packet: Uint8Array) => socket.send(packet, remote.port, remote.host)
    const out = Buffer.alloc(1500)
    const flush = () => {
      for (let sent = state.send(out); sent !== null; sent = state.send(out)) {
        transmit(Buffer.from(out.subarray(0, sent[0])))
      }
    }
    let isDetached = false
    socket.on("message", (packet) => {
      if (isDetached) {
        return
      }
      try {
        state.recv(packet, { from: remote, to: local })
      } catch {
        // It was not for this.
      }
      flush()
    })
    flush()
    yield* eventually(
      Effect.sync(() => {
        if (!state.isEstablished()) {
          throw new Error("the handshake is not over")
        }
      }),
      "5 seconds"
    )
    const [, secret = ""] = /^CLIENT_TRAFFIC_SECRET_0 \S+ (\S+)$/m.exec(readFileSync(keys, "utf8")) ?? []
    const seal = sealing(Buffer.from(secret, "hex"), state.destinationId())
    const oneRtt: OneRtt = {
      state,
      flush,
      inject: (frames) => {
        isDetached = true
        transmit(seal(frames))
      }
    }
    return oneRtt
  })
