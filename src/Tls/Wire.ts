/**
 * The frames of TlsLive as bytes. The format is described in docs/wire.md.
 */
import * as Metadata from "../Transport/Metadata.js"

/** The ALPN protocol of this version. */
export const alpnProtocol = "effect-transport/1"

export const headerSize = 8
export const maxPayload = 65_535
/** The largest piece of a message, and the largest message in an OPEN or REPLY. */
export const maxPiece = 16_384
export const largePiece = 4_096
export const maxPath = 1_024
export const maxGoawayText = 1_024
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
  "Refused"
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
  readonly callWindow: number
  readonly connectionWindow: number
}

export const settingsSize = 20

/** Collects frames until they are sent in one go. */
export interface Writer {
  /** A frame's header, with room for the payload behind it; gives the position of the payload in `buffer`. */
  readonly frame: (type: number, flags: number, call: number, length: number) => number
  /** A frame whose payload is sent from where it lies. */
  readonly frameOf: (type: number, flags: number, call: number, payload: Uint8Array) => void
  buffer: Buffer
  readonly size: () => number
  /** All bytes since the last call. What it gives is not touched again. */
  readonly take: () => ReadonlyArray<Buffer>
}

const chunkSize = 64 * 1024

export const makeWriter = (): Writer => {
  let full: Array<Buffer> = []
  let fullSize = 0
  let used = 0
  /** Ends the chunk. What is left of its room serves the next frames. */
  const cut = () => {
    if (used > 0) {
      full.push(writer.buffer.subarray(0, used))
      fullSize += used
      writer.buffer = writer.buffer.subarray(used)
      used = 0
    }
  }

  const header = (type: number, flags: number, call: number, length: number, room: number) => {
    if (length > maxPayload) {
      throw new RangeError(`a frame of ${length} bytes`)
    }
    const size = headerSize + room
    if (used + size > writer.buffer.length) {
      cut()
      writer.buffer = Buffer.allocUnsafeSlow(Math.max(chunkSize, size))
    }
    const { buffer } = writer
    const at = used
    buffer[at] = type
    buffer[at + 1] = flags
    buffer[at + 2] = length >>> 8
    buffer[at + 3] = length
    buffer[at + 4] = call >>> 24
    buffer[at + 5] = call >>> 16
    buffer[at + 6] = call >>> 8
    buffer[at + 7] = call
    used += size
    return at + headerSize
  }

  const writer: Writer = {
    buffer: Buffer.alloc(0),
    frame: (type, flags, call, length) => header(type, flags, call, length, length),
    frameOf: (type, flags, call, payload) => {
      header(type, flags, call, payload.length, 0)
      cut()
      full.push(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength))
      fullSize += payload.length
    },
    size: () => fullSize + used,
    take: () => {
      cut()
      const taken = full
      full = []
      fullSize = 0
      return taken
    }
  }
  return writer
}

export const metadataSize = (metadata: Metadata.Metadata): number => {
  let size = 2
  for (const [key, value] of metadata.entries) {
    size += 3 + key.length + value.length
  }
  return size
}

/** Writes metadata and gives the position behind it. */
export const writeMetadata = (buffer: Buffer, at: number, metadata: Metadata.Metadata): number => {
  const { entries } = metadata
  let position = buffer.writeUInt16BE(entries.length, at)
  for (const [key, value] of entries) {
    position = buffer.writeUInt8(key.length, position)
    position += buffer.write(key, position, "latin1")
    position = buffer.writeUInt16BE(value.length, position)
    if (typeof value === "string") {
      position += buffer.write(value, position, "latin1")
    } else {
      buffer.set(value, position)
      position += value.length
    }
  }
  return position
}

/** The payload of a frame, read from front to back. Reading past its end is a violation. */
export interface Reader {
  readonly bytes: Buffer
  at: number
  readonly end: number
  /** Whether nothing else lies in the buffer, so that a part of it may be kept. */
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

/** A copy, unless the frame is alone in its buffer: a view would keep all that came with it for as long as the message is. */
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

export const rest = (reader: Reader): number => reader.end - reader.at

const keyPattern = /^[0-9a-z_.-]+$/
const textPattern = /^[\x20-\x7e]*$/

export const readMetadata = (reader: Reader, limit: number): Metadata.Metadata => {
  const count = readUint16(reader)
  if (count === 0) {
    return Metadata.empty
  }
  let size = 0
  const entries: Array<Metadata.Entry> = []
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
      entries.push([key, readBytes(reader, length)])
    } else {
      const value = readText(reader, length, "latin1")
      if (!textPattern.test(value)) {
        throw new Violation("ProtocolError", "a metadata value is not printable ASCII")
      }
      entries.push([key, value])
    }
  }
  return Metadata.unsafeFromEntries(entries)
}
