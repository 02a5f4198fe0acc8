/**
 * Tokens of Retry packets: they prove that a client receives at the address that it sends from, before a listener keeps
 * anything of it (RFC 9000, section 8.1). The listener keeps nothing either: the token holds what it needs.
 */
import { createHmac, timingSafeEqual } from "node:crypto"
import type { HostPort } from "./QuicEngine.js"

/** How long a client may take to come back. */
const lifetimeMillis = 10_000

const timeSize = 6
const macSize = 32

const mac = (key: Buffer, { host, port }: HostPort, id: Uint8Array, body: Uint8Array): Buffer =>
  createHmac("sha256", key).update(`${host} ${port} ${id.length} `).update(id).update(body).digest()

/** `original` is the connection id that the client chose, `id` the one that it has to come back with. */
export const make = (key: Buffer, remote: HostPort, id: Uint8Array, original: Uint8Array, now: number): Buffer => {
  const body = Buffer.alloc(timeSize + original.length)
  body.writeUIntBE(now, 0, timeSize)
  body.set(original, timeSize)
  return Buffer.concat([body, mac(key, remote, id, body)])
}

/** The original connection id, where the token is one of ours for this address and id, and not too old. */
export const read = (
  key: Buffer,
  remote: HostPort,
  id: Uint8Array,
  token: Uint8Array,
  now: number
): Buffer | undefined => {
  const bytes = Buffer.from(token.buffer, token.byteOffset, token.byteLength)
  const end = bytes.length - macSize
  if (end < timeSize) {
    return undefined
  }
  const body = bytes.subarray(0, end)
  if (!timingSafeEqual(bytes.subarray(end), mac(key, remote, id, body))) {
    return undefined
  }
  const age = now - body.readUIntBE(0, timeSize)
  return age >= 0 && age <= lifetimeMillis ? Buffer.from(body.subarray(timeSize)) : undefined
}
