/** The frames of HTTP/2 (RFC 9113 sections 4 and 6): what each must be, and a function that writes it. */

import * as Bytes from "../Bytes.js"
import type { ByteWriter } from "../ByteWriter.js"
import * as Text from "../Text.js"
import { codes, type Http2Code, Http2Violation, protocolError } from "./Http2Error.js"

/** What a client sends first: RFC 9113 section 3.4. */
export const preface: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1")

export const headerSize = 9

/** The largest payload that this library takes: SETTINGS_MAX_FRAME_SIZE stays what it is by default. */
export const maxPayload = 16_384

/** What TLS puts into one record at the most (RFC 8446 section 5.1): frames that end with one are not cut by it. */
export const recordSize = 16_384

export const maxStreamId = 0x7fff_ffff

/** RFC 9113 section 6.9.1. */
export const maxWindow = 0x7fff_ffff

/** What of a GOAWAY's debug data is read, and written. */
export const maxDebugData = 1024

export const Type = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9
} as const

export const Flag = { ack: 0x1, endStream: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const

const frameSizeError = (text: string) => new Http2Violation("FRAME_SIZE_ERROR", text)

/** What each frame says of the stream that it belongs to. */
const checkStream = (type: number, isConnection: boolean) => {
  switch (type) {
    case Type.data:
    case Type.headers:
    case Type.priority:
    case Type.rstStream:
    case Type.pushPromise:
    case Type.continuation:
      if (isConnection) {
        throw protocolError(`a frame of type ${type} without a stream`)
      }
      return
    case Type.settings:
    case Type.ping:
    case Type.goaway:
      if (!isConnection) {
        throw protocolError(`a frame of type ${type} on a stream`)
      }
  }
}

const checkLength = (type: number, flags: number, length: number) => {
  switch (type) {
    case Type.settings:
      if ((flags & Flag.ack) === 0 ? length % 6 !== 0 : length !== 0) {
        throw frameSizeError(`SETTINGS of ${length} bytes`)
      }
      return
    case Type.priority:
      if (length !== 5) {
        throw frameSizeError(`PRIORITY of ${length} bytes`)
      }
      return
    case Type.ping:
      if (length !== 8) {
        throw frameSizeError(`PING of ${length} bytes`)
      }
      return
    case Type.goaway:
      if (length < 8) {
        throw frameSizeError(`GOAWAY of ${length} bytes`)
      }
      return
    case Type.rstStream:
    case Type.windowUpdate:
      if (length !== 4) {
        throw frameSizeError(`a frame of type ${type} of ${length} bytes`)
      }
  }
}

/**
 * Checks the header of a frame before anything of its payload is kept. All errors of size end the connection, which RFC 9113
 * section 4.2 asks for where the state of the connection is concerned and allows everywhere else.
 */
export const check = (type: number, flags: number, id: number, length: number): void => {
  if (length > maxPayload) {
    throw frameSizeError(`a frame of ${length} bytes`)
  }
  checkStream(type, id === 0)
  checkLength(type, flags, length)
}

/** Writes the header of a frame. */
export const putHeader = (
  buffer: Buffer,
  at: number,
  length: number,
  type: number,
  flags: number,
  id: number
): void => {
  buffer[at] = length >>> 16
  buffer[at + 1] = length >>> 8
  buffer[at + 2] = length
  buffer[at + 3] = type
  buffer[at + 4] = flags
  buffer[at + 5] = id >>> 24
  buffer[at + 6] = id >>> 16
  buffer[at + 7] = id >>> 8
  buffer[at + 8] = id
}

/** Reserves a frame and writes its header; returns the position of the payload. */
const begin = (writer: ByteWriter, length: number, type: number, flags: number, id: number): number => {
  const at = writer.reserve(headerSize + length)
  putHeader(writer.buffer, at, length, type, flags, id)
  return at + headerSize
}

export const writeSettings = (
  writer: ByteWriter,
  entries: ReadonlyArray<readonly [id: number, value: number]>
): void => {
  let at = begin(writer, 6 * entries.length, Type.settings, 0, 0)
  for (const [id, value] of entries) {
    at = writer.buffer.writeUInt16BE(id, at)
    at = writer.buffer.writeUInt32BE(value, at)
  }
  writer.commit(at)
}

export const writeSettingsAck = (writer: ByteWriter): void => {
  writer.commit(begin(writer, 0, Type.settings, Flag.ack, 0))
}

export const writeWindowUpdate = (writer: ByteWriter, id: number, size: number): void => {
  const at = begin(writer, 4, Type.windowUpdate, 0, id)
  writer.commit(writer.buffer.writeUInt32BE(size, at))
}

export const writeReset = (writer: ByteWriter, id: number, code: Http2Code): void => {
  const at = begin(writer, 4, Type.rstStream, 0, id)
  writer.commit(writer.buffer.writeUInt32BE(codes[code], at))
}

/** The payload in two halves, so that answering a PING makes no bigint. */
export const writePing = (writer: ByteWriter, flags: number, high: number, low: number): void => {
  let at = begin(writer, 8, Type.ping, flags, 0)
  at = writer.buffer.writeUInt32BE(high, at)
  writer.commit(writer.buffer.writeUInt32BE(low, at))
}

export const writeGoaway = (writer: ByteWriter, lastStreamId: number, code: Http2Code, text: string): void => {
  const bytes = Buffer.from(Text.cut(text, maxDebugData))
  let at = begin(writer, 8 + bytes.length, Type.goaway, 0, 0)
  at = writer.buffer.writeUInt32BE(lastStreamId, at)
  at = writer.buffer.writeUInt32BE(codes[code], at)
  writer.buffer.set(bytes, at)
  writer.commit(at + bytes.length)
}

/** Where there is no length prefix before a message. */
export const noPrefix = -1

/** The size of a length prefix: a byte of flags and the length. */
const prefixSize = 5

/** The bytes that a message takes with its prefix. */
export const sizeWith = (prefix: number, length: number): number => (prefix === noPrefix ? length : length + prefixSize)

/** Copies bytes that were there. Where they no longer are (their memory was given away), zeros take their place. */
const put = (buffer: Buffer, at: number, data: Uint8Array, offset: number, size: number) => {
  const left = Bytes.sizeOf(data)
  if (left < offset + size) {
    buffer.fill(0, at, at + size)
  } else {
    buffer.set(size === left ? data : Bytes.part(data, offset, size), at)
  }
}

/** A DATA frame with `size` bytes of a message of `length` bytes and its prefix, from `offset` on. */
export const writeData = (
  writer: ByteWriter,
  id: number,
  flags: number,
  prefix: number,
  data: Uint8Array,
  length: number,
  offset: number,
  size: number
): void => {
  const start = begin(writer, size, Type.data, flags, id)
  const end = start + size
  const { buffer } = writer
  let at = start
  let from = offset
  if (prefix !== noPrefix) {
    for (; from < prefixSize && at < end; from++) {
      buffer[at] = from === 0 ? prefix : length >>> (8 * (4 - from))
      at += 1
    }
    from -= prefixSize
  }
  if (at < end) {
    put(buffer, at, data, from, end - at)
  }
  writer.commit(end)
}
