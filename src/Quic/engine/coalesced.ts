/**
 * Packets that share a datagram (RFC 9000, section 12.2). quiche gives up what comes behind one that it has no keys for
 * any more, as the second half of a refusal that comes with all keys that there were.
 */

import * as Varint from "../../protocol/quic/Varint.js"

/** Fields of a long header (RFC 9000, section 17.2). */
const versionSize = 4
const version1 = 1
const initial = 0
const retry = 3

/** The integer at `at`, and where it ends. */
const varint = (bytes: Buffer, at: number) => {
  const reader = Varint.makeReader()
  const end = Varint.read(reader, bytes, at, bytes.length)
  return { value: reader.missing === 0 ? reader.value : bytes.length, end }
}

/** Where the first packet ends; the end of the datagram for all that has no length, or none that can be read. */
const endOfFirst = (bytes: Buffer): number => {
  const first = bytes[0] ?? 0
  const type = (first >> 4) & 3
  if ((first & 0x80) === 0 || bytes.length < 7 || bytes.readUInt32BE(1) !== version1 || type === retry) {
    return bytes.length
  }
  let at = 1 + versionSize
  at += 1 + (bytes[at] ?? 0)
  at += 1 + (bytes[at] ?? 0)
  const token = type === initial ? varint(bytes, at) : { value: 0, end: at }
  const length = varint(bytes, token.end + token.value)
  return Math.min(length.end + length.value, bytes.length)
}

/** The packets of a datagram, as views. */
export const split = (datagram: Buffer): ReadonlyArray<Buffer> => {
  const end = endOfFirst(datagram)
  if (end === datagram.length) {
    return [datagram]
  }
  const packets: Array<Buffer> = []
  for (let rest = datagram; rest.length > 0; ) {
    const end = endOfFirst(rest)
    packets.push(rest.subarray(0, end))
    rest = rest.subarray(end)
  }
  return packets
}
