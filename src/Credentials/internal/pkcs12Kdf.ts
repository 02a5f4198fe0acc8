/** The key derivation of PKCS#12 (RFC 7292, appendix B.2). */
import { hash as digestOf } from "node:crypto"

/** The hashes of PKCS#12, with the sizes of their blocks in bytes. */
const hashes = { sha1: 64, sha224: 64, sha256: 64, sha384: 128, sha512: 128 } as const

/** The name of one of them. */
export type Hash = keyof typeof hashes

/** The uses of a key, by the number that sets them apart. */
const purposes = { key: 1, iv: 2, mac: 3 } as const

/** UTF-16 with a zero at its end, or nothing at all (appendix B.1). */
const encode = (passphrase: string | null): Buffer =>
  passphrase === null ? Buffer.alloc(0) : Buffer.from(`${passphrase}\0`, "utf16le").swap16()

/** Repeats the bytes until they fill whole blocks. */
const fill = (bytes: Uint8Array, block: number): Buffer => Buffer.alloc(Math.ceil(bytes.length / block) * block, bytes)

/** Sets `a` to `a + b + 1`, as a number of as many bytes as `a` has. */
const add = (a: Buffer, b: Buffer): void => {
  let carry = 1
  for (let at = a.length - 1; at >= 0; at -= 1) {
    carry += a.readUInt8(at) + b.readUInt8(at)
    a.writeUInt8(carry & 0xff, at)
    carry >>= 8
  }
}

/** The size of a digest in bytes. */
export const sizeOf = (hash: Hash): number => digestOf(hash, "", "buffer").length

/** How often the hash runs for a key of the size and each iteration. */
export const roundsFor = (hash: Hash, size: number): number => Math.ceil(size / sizeOf(hash))

/** Rounds, each of which takes about a microsecond, before it yields to other work. */
const roundsBetweenYields = 500

/** Derives a key of so many bytes; null is no passphrase at all. The caller has bounded the iterations. */
export const derive = async (
  hash: Hash,
  purpose: keyof typeof purposes,
  passphrase: string | null,
  salt: Uint8Array,
  iterations: number,
  size: number
): Promise<Buffer> => {
  const block = hashes[hash]
  const diversifier = Buffer.alloc(block, purposes[purpose])
  const secret = encode(passphrase)
  const input = Buffer.concat([
    salt.length === 0 ? salt : fill(salt, block),
    secret.length === 0 ? secret : fill(secret, block)
  ])
  const key: Array<Buffer> = []
  for (let left = roundsFor(hash, size); left > 0; left -= 1) {
    let digest = digestOf(hash, Buffer.concat([diversifier, input]), "buffer")
    for (let n = 1; n < iterations; n += 1) {
      digest = digestOf(hash, digest, "buffer")
      if (n % roundsBetweenYields === 0) {
        await new Promise((resolve) => setImmediate(resolve))
      }
    }
    key.push(digest)
    const addend = fill(digest, block).subarray(0, block)
    for (let at = 0; at < input.length; at += block) {
      add(input.subarray(at, at + block), addend)
    }
  }
  return Buffer.concat(key).subarray(0, size)
}
