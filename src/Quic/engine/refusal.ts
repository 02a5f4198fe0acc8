/**
 * The packet that refuses a connection before there is one: CONNECTION_CLOSE in an Initial packet, protected by keys that
 * follow from the connection id alone (RFC 9001, section 5.2). It costs a listener no state and no signature.
 */
import { createCipheriv, createHmac } from "node:crypto"

/** RFC 9001, section 5.2. */
const initialSalt = Buffer.from("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "hex")

const tagSize = 16

/** HKDF-Expand-Label without a context, for no more than one block of SHA-256 (RFC 8446, section 7.1). */
const expandLabel = (secret: Buffer, label: string, length: number): Buffer => {
  const name = Buffer.from(`tls13 ${label}`)
  const info = Buffer.concat([Buffer.of(0, length, name.length), name, Buffer.of(0, 1)])
  return createHmac("sha256", secret).update(info).digest().subarray(0, length)
}

/** A variable-length integer in two bytes. */
const twoBytes = (value: number): Buffer => Buffer.of(0x40 | (value >> 8), value & 0xff)

const numberSize = 4

/** An Initial packet, not as large as it has to be from a client. */
export interface Initial {
  readonly by: "client" | "server"
  /** The connection id that the keys follow from: what the client sent its first packet to, after a Retry. */
  readonly keyId: Uint8Array
  readonly to: Uint8Array
  readonly from: Uint8Array
  /** Shorter than 64 bytes. */
  readonly token: Uint8Array
  readonly number: number
  readonly frames: Uint8Array
}

/** Seals an Initial packet (RFC 9001, section 5). */
export const seal = ({ by, frames, from, keyId, number, to, token }: Initial): Buffer => {
  const initial = createHmac("sha256", initialSalt).update(keyId).digest()
  const secret = expandLabel(initial, `${by} in`, 32)
  const packetNumber = Buffer.alloc(numberSize)
  packetNumber.writeUInt32BE(number)
  const header = Buffer.concat([
    Buffer.of(0xc0 | (numberSize - 1), 0, 0, 0, 1, to.length),
    to,
    Buffer.of(from.length),
    from,
    Buffer.of(token.length),
    token,
    twoBytes(numberSize + frames.length + tagSize),
    packetNumber
  ])
  const nonce = Buffer.from(expandLabel(secret, "quic iv", 12))
  nonce.writeInt32BE(nonce.readInt32BE(8) ^ number, 8)
  const cipher = createCipheriv("aes-128-gcm", expandLabel(secret, "quic key", 16), nonce)
  const sealed = Buffer.concat([cipher.setAAD(header).update(frames), cipher.final(), cipher.getAuthTag()])
  // Header protection takes its sample where the payload begins behind the longest packet number.
  const mask = createCipheriv("aes-128-ecb", expandLabel(secret, "quic hp", 16), null).update(sealed.subarray(0, 16))
  const at = header.length - numberSize
  header[0] = (header[0] ?? 0) ^ ((mask[0] ?? 0) & 0x0f)
  for (let i = 0; i < numberSize; i++) {
    header[at + i] = (header[at + i] ?? 0) ^ (mask[1 + i] ?? 0)
  }
  return Buffer.concat([header, sealed])
}

/**
 * For a packet of the client that came for `id` and from `from`, with a code below 2^14 (RFC 9000, section 20.1) and a short
 * text.
 */
export const make = (id: Uint8Array, from: Uint8Array, code: number, text: string): Buffer =>
  seal({
    by: "server",
    keyId: id,
    to: from,
    from: id,
    token: Buffer.alloc(0),
    number: 0,
    frames: Buffer.concat([Buffer.of(0x1c), twoBytes(code), Buffer.of(0, text.length), Buffer.from(text)])
  })
