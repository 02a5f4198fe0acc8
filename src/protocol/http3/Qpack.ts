/**
 * QPACK (RFC 9204) with the static table alone: the dynamic table has the capacity 0 in both directions, so that no
 * section ever waits for another stream, and a peer can make this end keep nothing.
 */

import { type Field, type Fields, secrets, sizeOf } from "../Fields.js"
import {
  maxOverhead,
  type Reader,
  readByte,
  readInteger,
  readString,
  writeInteger,
  writeString
} from "../Primitives.js"
import * as StaticTable from "../StaticTable.js"
import { type Http3Code, onConnection, onStream } from "./Http3Error.js"
import { qpackTable } from "./QpackTable.js"

const table = StaticTable.make(qpackTable, 0)

/** The largest that the fields can become. */
export const maxEncodedSize = (fields: Fields): number => {
  let size = 2
  for (const [name, value] of fields) {
    size += maxOverhead + name.length + value.length
  }
  return size
}

/** Writes field lines where there is room for them, and gives the position behind them. */
export const writeLines = (buffer: Buffer, start: number, fields: Fields): number => {
  let at = start
  for (const [name, value] of fields) {
    const entry = table.get(name)
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
  const reader: Reader = { bytes, at: start, end, violation: failed }
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
    size += sizeOf(field)
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
