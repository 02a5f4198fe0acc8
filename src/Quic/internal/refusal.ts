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

/**
 * For a packet of the client that came for `id` and from `from`, with a code below 64 (RFC 9000, section 20.1) and a short
 * text.
 */
export const make = (id: Uint8Array, from: Uint8Array, code: number, text: string): Buffer => {
  const initial = createHmac("sha256", initialSalt).update(id).digest()
  const secret = expandLabel(initial, "server in", 32)
  const frame = Buffer.concat([Buffer.of(0x1c, code, 0, text.length), Buffer.from(text)])
  // Packet number 0 in one byte: the nonce is the IV as it is.
  const header = Buffer.concat([
    Buffer.of(0xc0, 0, 0, 0, 1, from.length),
    from,
    Buffer.of(id.length),
    id,
    Buffer.of(0),
    twoBytes(1 + frame.length + tagSize),
    Buffer.of(0)
  ])
  const cipher = createCipheriv("aes-128-gcm", expandLabel(secret, "quic key", 16), expandLabel(secret, "quic iv", 12))
  const sealed = Buffer.concat([cipher.setAAD(header).update(frame), cipher.final(), cipher.getAuthTag()])
  // Header protection takes its sample where the payload would begin behind the longest packet number.
  const mask = createCipheriv("aes-128-ecb", expandLabel(secret, "quic hp", 16), null).update(sealed.subarray(3, 19))
  const last = header.length - 1
  header[0] = (header[0] ?? 0) ^ ((mask[0] ?? 0) & 0x0f)
  header[last] = (header[last] ?? 0) ^ (mask[1] ?? 0)
  return Buffer.concat([header, sealed])
}
