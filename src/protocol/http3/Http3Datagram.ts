/**
 * HTTP datagrams: RFC 9297. Each belongs to a request stream, whose number stands before the payload.
 */

import * as Varint from "../quic/Varint.js"
import { onConnection } from "./Http3Error.js"

export interface Http3Datagram {
  /** The request stream that it belongs to. */
  readonly streamId: number
  /** A view of what was received. */
  readonly payload: Buffer
}

/** Bytes that the number of a stream takes from what a QUIC datagram holds. */
export const overhead = (streamId: number): number => Varint.size(streamId / 4)

export const encode = (streamId: number, payload: Uint8Array): Buffer => {
  const size = overhead(streamId)
  const bytes = Buffer.allocUnsafe(size + payload.length)
  Varint.write(bytes, 0, streamId / 4)
  bytes.set(payload, size)
  return bytes
}

export const decode = (bytes: Buffer): Http3Datagram => {
  const reader = Varint.makeReader()
  const at = Varint.read(reader, bytes, 0, bytes.length)
  // Stream numbers have 62 bits, of which the lower two say who opened it.
  const isTooLarge = at === 8 && bytes.readUInt8(0) >= 0xd0
  if (reader.missing !== 0 || isTooLarge) {
    throw onConnection("H3_DATAGRAM_ERROR", "a datagram without the number of a stream")
  }
  return { streamId: reader.value * 4, payload: bytes.subarray(at) }
}
