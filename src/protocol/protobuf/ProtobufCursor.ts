/** A place in the bytes of protobuf messages, with what has been counted up to there. It stops where that is malformed, or too much. */
import { WireType } from "@bufbuild/protobuf/wire"

/** As deep as protobuf-es decodes, and protobuf's other implementations. */
export const maxDepth = 100

/** Past every end: each loop stops. */
export const stopped = Number.POSITIVE_INFINITY

/** The bytes of a scalar: how many there are, or how that is found. */
export type Size = "varint" | "lengthDelimited" | 4 | 8

export interface Cursor {
  readonly bytes: Uint8Array
  readonly limit: number
  pos: number
  count: number
  isMalformed: boolean
}

export const make = (bytes: Uint8Array, limit: number): Cursor => ({
  bytes,
  limit,
  pos: 0,
  count: 0,
  isMalformed: false
})

export const malformed = (cursor: Cursor): void => {
  if (cursor.pos !== stopped) {
    cursor.isMalformed = true
    cursor.pos = stopped
  }
}

/** Counts so many elements. */
export const add = (cursor: Cursor, elements: number): void => {
  cursor.count += elements
  if (cursor.count > cursor.limit) {
    cursor.pos = stopped
  }
}

const advance = (cursor: Cursor, length: number) => {
  if (cursor.pos + length > cursor.bytes.length) {
    malformed(cursor)
  } else {
    cursor.pos += length
  }
}

/** Reads a varint's lower 32 bits. */
export const uint32 = (cursor: Cursor): number => {
  const { bytes } = cursor
  let value = 0
  for (let length = 0; length < 10; length++) {
    const byte = bytes[cursor.pos++]
    if (byte === undefined) {
      malformed(cursor)
      return 0
    }
    if (length < 5) {
      value |= (byte & 0x7f) << (7 * length)
    }
    if (byte < 0x80) {
      return value >>> 0
    }
  }
  malformed(cursor)
  return 0
}

/** Reads a field's number and wire type in one: zero where there is none. */
export const tag = (cursor: Cursor): number => {
  const start = cursor.pos
  const value = uint32(cursor)
  const length = cursor.pos - start
  if (
    length > 5 ||
    (length === 5 && (cursor.bytes[cursor.pos - 1] ?? 0) > 0x0f) ||
    value >>> 3 === 0 ||
    (value & 7) > 5
  ) {
    malformed(cursor)
  }
  return value
}

export const skipScalar = (cursor: Cursor, size: Size): void => {
  if (size === "varint") {
    uint32(cursor)
  } else {
    advance(cursor, size === "lengthDelimited" ? uint32(cursor) : size)
  }
}

/** Goes past a packed list, and counts its numbers but for one: the field itself has been counted. */
export const skipPacked = (cursor: Cursor, size: Size): void => {
  const length = uint32(cursor)
  if (typeof size === "number") {
    const elements = Math.ceil(length / size)
    advance(cursor, elements * size)
    add(cursor, Math.max(0, elements - 1))
    return
  }
  const end = cursor.pos + length
  for (let isFirst = true; cursor.pos < end; isFirst = false) {
    uint32(cursor)
    add(cursor, isFirst ? 0 : 1)
  }
}

/** The fields of a group up to its end. */
const skipGroup = (cursor: Cursor, fieldNo: number, depth: number) => {
  if (depth >= maxDepth) {
    malformed(cursor)
  }
  while (cursor.pos !== stopped) {
    const inner = tag(cursor)
    if ((inner & 7) === WireType.EndGroup) {
      if (inner >>> 3 !== fieldNo) {
        malformed(cursor)
      }
      break
    }
    add(cursor, 1)
    skipUnknown(cursor, inner, depth + 1)
  }
}

/** Goes past the value of a field that the type does not have, and counts the fields of groups. */
export const skipUnknown = (cursor: Cursor, tagged: number, depth: number): void => {
  switch (tagged & 7) {
    case WireType.Varint:
      // Of any length, as protobuf-es skips it.
      while ((cursor.bytes[cursor.pos] ?? 0) >= 0x80) {
        cursor.pos++
      }
      advance(cursor, 1)
      break
    case WireType.Bit64:
      advance(cursor, 8)
      break
    case WireType.Bit32:
      advance(cursor, 4)
      break
    case WireType.LengthDelimited:
      advance(cursor, uint32(cursor))
      break
    case WireType.StartGroup:
      skipGroup(cursor, tagged >>> 3, depth)
      break
    default:
      malformed(cursor)
  }
}
