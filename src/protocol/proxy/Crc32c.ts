/** The checksum of PROXY headers: CRC-32C (Castagnoli; RFC 9260, appendix A). */

const polynomial = 0x82f6_3b78

const table = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index
  for (let bit = 0; bit < 8; bit++) {
    value = (value & 1) === 1 ? (value >>> 1) ^ polynomial : value >>> 1
  }
  return value >>> 0
})

/** Of all bytes, as if those of the checksum itself at `at` were zero; by default there is none. */
export const of = (bytes: Uint8Array, at = bytes.length): number => {
  let value = 0xffff_ffff
  for (let i = 0; i < bytes.length; i++) {
    const byte = i >= at && i < at + 4 ? 0 : (bytes[i] ?? 0)
    value = (table[(value ^ byte) & 0xff] ?? 0) ^ (value >>> 8)
  }
  return (value ^ 0xffff_ffff) >>> 0
}

/** Whether the four bytes at `at` are the checksum of all, in network order. */
export const isRight = (bytes: Uint8Array, at: number): boolean =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getUint32(at) === of(bytes, at)
