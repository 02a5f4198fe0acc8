/**
 * The variable-length integers of RFC 9000 section 16, and a cursor to write them with.
 *
 * They hold 62 bits and are numbers here: what is read above 2^53 is rounded, which no comparison in HTTP/3 minds.
 */

/** Bytes that are being put together. Grows as needed; what `take` gave is not touched again. */
export interface Writer {
  buffer: Buffer
  /** Where the next byte goes, and where those begin that were not yet taken. */
  at: number
  start: number
}

const chunkSize = 64 * 1024

export const makeWriter = (): Writer => ({ buffer: Buffer.alloc(0), at: 0, start: 0 })

/** Makes room for so many bytes behind `at`. */
export const reserve = (writer: Writer, size: number): void => {
  const { at, buffer, start } = writer
  if (at + size > buffer.length) {
    const bigger = Buffer.allocUnsafeSlow(Math.max(chunkSize, (at - start) * 2 + size))
    buffer.copy(bigger, 0, start, at)
    writer.buffer = bigger
    writer.at = at - start
    writer.start = 0
  }
}

/** All bytes since the last call. */
export const take = (writer: Writer): Buffer => {
  const bytes = writer.buffer.subarray(writer.start, writer.at)
  writer.start = writer.at
  return bytes
}

export const size = (value: number): 1 | 2 | 4 | 8 =>
  value < 0x40 ? 1 : value < 0x4000 ? 2 : value < 0x4000_0000 ? 4 : 8

/** Writes an integer below 2^53 in so many bytes, and gives the position behind it. */
export const writeSized = (buffer: Buffer, at: number, value: number, width: 1 | 2 | 4 | 8): number => {
  switch (width) {
    case 1:
      return buffer.writeUInt8(value, at)
    case 2:
      return buffer.writeUInt16BE(value | 0x4000, at)
    case 4:
      return buffer.writeUInt32BE((value | 0x8000_0000) >>> 0, at)
    case 8:
      buffer.writeUInt32BE((Math.floor(value / 0x1_0000_0000) | 0xc000_0000) >>> 0, at)
      return buffer.writeUInt32BE(value >>> 0, at + 4)
  }
}

/** Writes an integer below 2^53 where there is room for 8 bytes, and gives the position behind it. */
export const write = (buffer: Buffer, at: number, value: number): number => writeSized(buffer, at, value, size(value))

/** An integer that arrives in pieces. */
export interface Reader {
  value: number
  /** Bytes that are missing; -1 before the first. */
  missing: number
}

export const makeReader = (): Reader => ({ value: 0, missing: -1 })

/** Reads on and gives the position behind what it read; the integer is whole when `missing` is 0. */
export const read = (reader: Reader, bytes: Uint8Array, start: number, end: number): number => {
  let at = start
  if (reader.missing < 0 && at < end) {
    const first = bytes[at++] ?? 0
    reader.value = first & 0x3f
    reader.missing = (1 << (first >>> 6)) - 1
  }
  while (reader.missing > 0 && at < end) {
    reader.value = reader.value * 256 + (bytes[at++] ?? 0)
    reader.missing -= 1
  }
  return at
}
