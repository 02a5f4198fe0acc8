/**
 * QPACK (RFC 9204) with the static table alone: the dynamic table has the capacity 0 in both directions, so that no
 * section ever waits for another stream, and a peer can make this end keep nothing.
 */

import * as Huffman from "../Huffman.js"
import { type Http3Code, onConnection, onStream } from "./Http3Error.js"
import type { Field, Fields } from "./Http3Fields.js"
import { qpackTable } from "./QpackTable.js"

/** Where a name stands in the table, first alone and then with each of its values. */
interface Entry {
  readonly index: number
  readonly values: Map<string, number>
}

const entries = new Map<string, Entry>()
qpackTable.forEach(([name, value], index) => {
  const entry = entries.get(name) ?? { index, values: new Map<string, number>() }
  entry.values.set(value, index)
  entries.set(name, entry)
})

/** Fields that intermediaries must not put into a dynamic table: RFC 9204 section 7.1.3. */
const secrets = new Set(["authorization", "cookie", "proxy-authorization", "set-cookie"])

/** More than a name, a value and their lengths ever take besides their characters. */
const overhead = 12

/** The largest that the fields can become. */
export const maxEncodedSize = (fields: Fields): number => {
  let size = 2
  for (const [name, value] of fields) {
    size += overhead + name.length + value.length
  }
  return size
}

/** An integer behind the flags in its first byte: RFC 7541 section 5.1. */
const writeInteger = (buffer: Buffer, start: number, flags: number, prefix: number, value: number): number => {
  const limit = (1 << prefix) - 1
  let at = start
  if (value < limit) {
    buffer[at++] = flags | value
    return at
  }
  buffer[at++] = flags | limit
  let rest = value - limit
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
    buffer[at++] = 0x80 | (rest % 0x80)
  }
  buffer[at++] = rest
  return at
}

/** A string behind the flags in its first byte, in Huffman's code where that is shorter. */
const writeString = (buffer: Buffer, start: number, flags: number, prefix: number, text: string): number => {
  const size = Huffman.encodedSize(text)
  if (size < text.length) {
    return Huffman.write(buffer, writeInteger(buffer, start, flags | (1 << prefix), prefix, size), text)
  }
  let at = writeInteger(buffer, start, flags, prefix, text.length)
  for (let i = 0; i < text.length; i++) {
    buffer[at++] = text.charCodeAt(i)
  }
  return at
}

/** Writes field lines where there is room for them, and gives the position behind them. */
export const writeLines = (buffer: Buffer, start: number, fields: Fields): number => {
  let at = start
  for (const [name, value] of fields) {
    const entry = entries.get(name)
    const index = entry?.values.get(value)
    const never = secrets.has(name)
    if (entry === undefined) {
      at = writeString(buffer, at, never ? 0x30 : 0x20, 3, name)
      at = writeString(buffer, at, 0, 7, value)
    } else if (index === undefined || never) {
      at = writeInteger(buffer, at, never ? 0x70 : 0x50, 4, entry.index)
      at = writeString(buffer, at, 0, 7, value)
    } else {
      at = writeInteger(buffer, at, 0xc0, 6, index)
    }
  }
  return at
}

/** Field lines that many sections begin with, encoded once. */
export const encodeLines = (fields: Fields): Buffer => {
  const buffer = Buffer.allocUnsafeSlow(maxEncodedSize(fields))
  return Buffer.from(buffer.subarray(0, writeLines(buffer, 0, fields)))
}

/** The prefix of each section: it needs no entry of a dynamic table. */
export const writePrefix = (buffer: Buffer, at: number): number => buffer.writeUInt16BE(0, at)

const failed = (text: string) => onConnection("QPACK_DECOMPRESSION_FAILED", text)

/** Bytes of a section, read from front to back. */
interface Reader {
  readonly bytes: Buffer
  at: number
  readonly end: number
}

const readByte = (reader: Reader): number => {
  if (reader.at >= reader.end) {
    throw failed("a field section that ends within a field")
  }
  return reader.bytes[reader.at++] ?? 0
}

/** Nothing in a section is larger, nor needs more bytes. */
const maxInteger = 0xffff_ffff

const readInteger = (reader: Reader, first: number, prefix: number): number => {
  const limit = (1 << prefix) - 1
  let value = first & limit
  if (value < limit) {
    return value
  }
  for (let factor = 1; ; factor *= 0x80) {
    const byte = readByte(reader)
    value += (byte & 0x7f) * factor
    if (value > maxInteger || factor > maxInteger) {
      throw failed("an integer that is too large")
    }
    if (byte < 0x80) {
      return value
    }
  }
}

const readString = (reader: Reader, first: number, prefix: number): string => {
  const size = readInteger(reader, first, prefix)
  const { at, bytes } = reader
  const end = at + size
  if (end > reader.end) {
    throw failed("a string that is longer than its field section")
  }
  reader.at = end
  if ((first & (1 << prefix)) === 0) {
    return bytes.toString("latin1", at, end)
  }
  const text = Huffman.read(bytes, at, end)
  if (text === undefined) {
    throw failed("a string that is not in Huffman's code")
  }
  return text
}

const fromTable = (index: number): Field => {
  const field = qpackTable[index]
  if (field === undefined) {
    throw failed(`entry ${index}, which the static table does not have`)
  }
  return field
}

const readLine = (reader: Reader): Field => {
  const first = readByte(reader)
  if ((first & 0xc0) === 0xc0) {
    return fromTable(readInteger(reader, first, 6))
  }
  if ((first & 0xd0) === 0x50) {
    const [name] = fromTable(readInteger(reader, first, 4))
    return [name, readString(reader, readByte(reader), 7)]
  }
  if ((first & 0xe0) === 0x20) {
    const name = readString(reader, first, 3)
    return [name, readString(reader, readByte(reader), 7)]
  }
  throw failed("a reference to the dynamic table, which has no entries")
}

/**
 * Decodes a field section. One that is larger than `maxSize`, counted as RFC 9114 section 4.2.2 does, ends its stream
 * with H3_EXCESSIVE_LOAD; one that breaks RFC 9204 the connection.
 */
export const decode = (bytes: Buffer, start: number, end: number, maxSize: number): Fields => {
  const reader = { bytes, at: start, end }
  const required = readInteger(reader, readByte(reader), 8)
  const base = readByte(reader)
  readInteger(reader, base, 7)
  if (required !== 0 || base >= 0x80) {
    throw failed("a field section that needs the dynamic table")
  }
  const fields: Array<Field> = []
  let size = 0
  while (reader.at < end) {
    const field = readLine(reader)
    size += 32 + field[0].length + field[1].length
    if (size > maxSize) {
      throw onStream("H3_EXCESSIVE_LOAD", `a field section of more than ${maxSize} bytes`)
    }
    fields.push(field)
  }
  return fields
}

/** Checks what a peer's encoder says: nothing but that the capacity is the 0 that it is. */
export const checkEncoderStream = (chunk: Uint8Array): void => {
  if (chunk.some((byte) => byte !== 0x20)) {
    throw onConnection("QPACK_ENCODER_STREAM_ERROR", "an instruction for a dynamic table of capacity 0")
  }
}

/** Checks what a peer's decoder says: nothing but that it gave up streams, whose numbers matter to nobody here. */
export const makeDecoderStream = (): ((chunk: Uint8Array) => void) => {
  const code: Http3Code = "QPACK_DECODER_STREAM_ERROR"
  /** Bytes of a number so far, of which there are at most ten. */
  let size = 0
  return (chunk) => {
    for (const byte of chunk) {
      if (size > 0) {
        size = byte < 0x80 ? 0 : size + 1
      } else if ((byte & 0xc0) === 0x40) {
        size = byte === 0x7f ? 1 : 0
      } else {
        throw onConnection(code, "an acknowledgement of what was not sent")
      }
      if (size > 10) {
        throw onConnection(code, "a stream number that is too large")
      }
    }
  }
}
