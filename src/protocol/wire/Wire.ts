/**
 * The frames of TlsLive as bytes. The format is described in docs/wire.md.
 */

import * as Bytes from "../Bytes.js"
import * as Entries from "../Entries.js"

/** The ALPN protocol of this version. */
export const alpnProtocol = "effect-transport/1"

export const headerSize = 8
export const maxPayload = 65_535
/** The largest piece of a message, and the largest message in an OPEN or REPLY. */
export const maxPiece = 16_384
/** What TLS puts into one record at the most (RFC 8446, section 5.1): frames that end with one are not cut by it. */
export const recordSize = 16_384
export const maxPath = 1_024
export const maxGoawayText = 1_024
/** The longest key of metadata: its length is one byte. */
export const maxKey = 255
/** The largest metadata that this library sends or takes, as `Metadata.byteSize` counts it: a frame holds it beside the rest. */
export const maxMetadata = 32 * 1024
/** The largest details of a status. With the longest message and the largest metadata they fit into a frame. */
export const maxDetails = 16_384
/** The most that a number of 32 bits in a frame can say. */
export const maxUint32 = 0xffff_ffff
export const noTimeout = 0xffff_ffff
/** More calls than a peer can open before it reads a GOAWAY which says that it shall open no more. */
export const farAhead = 2 ** 30
/** What a MESSAGE frame counts beside its payload: about what a message that waits to be read costs in memory. */
export const messageOverhead = 128

export const Type = {
  settings: 1,
  open: 2,
  message: 3,
  halfClose: 4,
  headers: 5,
  trailers: 6,
  reply: 7,
  cancel: 8,
  credit: 9,
  ping: 10,
  goaway: 11
} as const

export const Flag = { end: 1, message: 2, more: 4, headers: 1, trailers: 2, ack: 1 } as const

/** Why a connection ends. */
export const reasons = [
  "Shutdown",
  "ProtocolError",
  "FrameTooLarge",
  "MetadataTooLarge",
  "TooManyCalls",
  "CallRate",
  "PingRate",
  "FlowControl",
  "Timeout",
  "Refused",
  "Overloaded",
  "ExcessiveLoad"
] as const

export type Reason = (typeof reasons)[number]

/** A peer broke the rules of docs/wire.md. Thrown while a frame is read and caught where the connection is closed. */
export class Violation {
  constructor(
    readonly reason: Reason,
    readonly text: string
  ) {}
}

/** What one end is ready to take. */
export interface Settings {
  readonly maxMessageSize: number
  readonly maxMetadataSize: number
  readonly maxCalls: number
  readonly streamWindow: number
  readonly connectionWindow: number
}

export const settingsSize = 20

const sizeOfValue = (value: Entries.Value): number => (typeof value === "string" ? value.length : Bytes.sizeOf(value))

/** The bytes of metadata in a frame. Throws where it can't be written, before anything is. */
export const metadataSize = (entries: Entries.Entries): number => {
  let size = 2
  for (const [key, value] of entries) {
    if (key.length > maxKey) {
      throw new RangeError(`a metadata key of ${key.length} characters`)
    }
    size += 3 + key.length + sizeOfValue(value)
  }
  return size
}

/** Writes metadata and returns the position behind it. */
export const writeMetadata = (buffer: Buffer, at: number, entries: Entries.Entries): number => {
  let position = buffer.writeUInt16BE(entries.length, at)
  for (const [key, value] of entries) {
    position = buffer.writeUInt8(key.length, position)
    position += buffer.write(key, position, "latin1")
    const size = sizeOfValue(value)
    position = buffer.writeUInt16BE(size, position)
    if (typeof value === "string") {
      buffer.write(value, position, "latin1")
    } else {
      buffer.set(value, position)
    }
    position += size
  }
  return position
}

/** The payload of a frame, read from front to back. Reading past its end is a violation. */
export interface Reader {
  readonly bytes: Buffer
  at: number
  readonly end: number
  /** Whether little else lies in the buffer, so that a part of it may be kept. */
  readonly isOwn: boolean
}

const need = (reader: Reader, size: number): number => {
  const { at } = reader
  if (at + size > reader.end) {
    throw new Violation("ProtocolError", "a frame is shorter than what it holds")
  }
  reader.at = at + size
  return at
}

export const readUint8 = (reader: Reader): number => reader.bytes.readUInt8(need(reader, 1))
export const readUint16 = (reader: Reader): number => reader.bytes.readUInt16BE(need(reader, 2))
export const readUint32 = (reader: Reader): number => reader.bytes.readUInt32BE(need(reader, 4))

export const readText = (reader: Reader, size: number, encoding: "latin1" | "utf8"): string => {
  const at = need(reader, size)
  return reader.bytes.toString(encoding, at, at + size)
}

const slabSize = 8 * 1024
let slab = new Uint8Array(slabSize)
let slabUsed = 0

/** Room for a message. Small ones share a slab, for an array of its own costs a small one eight times as much. */
export const allocate = (size: number): Uint8Array => {
  if (size > slabSize / 4) {
    return new Uint8Array(Buffer.allocUnsafeSlow(size).buffer)
  }
  if (slabUsed + size > slabSize) {
    slab = new Uint8Array(slabSize)
    slabUsed = 0
  }
  const bytes = new Uint8Array(slab.buffer, slabUsed, size)
  slabUsed += size
  return bytes
}

/** A copy, unless the frame is most of its buffer: a view would keep all that came with it for as long as the message is. */
export const readBytes = (reader: Reader, size: number): Uint8Array => {
  const at = need(reader, size)
  const { bytes } = reader
  if (reader.isOwn) {
    return new Uint8Array(bytes.buffer, bytes.byteOffset + at, size)
  }
  const out = allocate(size)
  bytes.copy(out, 0, at, at + size)
  return out
}

/** Copies the next bytes to a place in a message. */
export const readInto = (reader: Reader, message: Uint8Array, to: number, size: number): void => {
  const at = need(reader, size)
  reader.bytes.copy(message, to, at, at + size)
}

export const rest = (reader: Reader): number => reader.end - reader.at

const keyPattern = /^[0-9a-z_.-]+$/

/** Metadata of a request or a response. What belongs to one hop of HTTP is left out, as on the other wires. */
export const readMetadata = (reader: Reader, limit: number, isCustom: (key: string) => boolean): Entries.Entries => {
  const count = readUint16(reader)
  if (count === 0) {
    return Entries.none
  }
  let size = 0
  const entries: Array<Entries.Entry> = []
  for (let i = 0; i < count; i++) {
    const key = readText(reader, readUint8(reader), "latin1")
    const length = readUint16(reader)
    size += 32 + key.length + length
    if (size > limit) {
      throw new Violation("MetadataTooLarge", `metadata has more than the ${limit} bytes allowed`)
    }
    if (!keyPattern.test(key)) {
      throw new Violation("ProtocolError", "a metadata key has characters that it may not have")
    }
    if (key.endsWith("-bin")) {
      const bytes = readBytes(reader, length)
      if (isCustom(key)) {
        entries.push([key, bytes])
      }
    } else {
      const value = readText(reader, length, "latin1")
      if (!Entries.isText(value)) {
        throw new Violation("ProtocolError", "a metadata value is not printable ASCII")
      }
      if (isCustom(key)) {
        entries.push([key, value])
      }
    }
  }
  return entries
}
