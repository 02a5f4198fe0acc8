/** The integers and strings that HPACK and QPACK are made of: RFC 7541 section 5. */
import * as Huffman from "./Huffman.js"

/** More than a name, a value and their lengths ever take besides their characters. */
export const maxOverhead = 12

/** An integer behind the flags in its first byte. */
export const writeInteger = (buffer: Buffer, start: number, flags: number, prefix: number, value: number): number => {
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
export const writeString = (buffer: Buffer, start: number, flags: number, prefix: number, text: string): number => {
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

/** Bytes of a field section, read from front to back. */
export interface Reader {
  readonly bytes: Buffer
  at: number
  readonly end: number
  /** What is thrown where the bytes are wrong. */
  readonly violation: (text: string) => unknown
}

export const readByte = (reader: Reader): number => {
  if (reader.at >= reader.end) {
    throw reader.violation("a field section that ends within a field")
  }
  return reader.bytes[reader.at++] ?? 0
}

/** Nothing in a section is larger, nor needs more bytes. */
const maxInteger = 0xffff_ffff

export const readInteger = (reader: Reader, first: number, prefix: number): number => {
  const limit = (1 << prefix) - 1
  let value = first & limit
  if (value < limit) {
    return value
  }
  for (let factor = 1; ; factor *= 0x80) {
    const byte = readByte(reader)
    value += (byte & 0x7f) * factor
    if (value > maxInteger || factor > maxInteger) {
      throw reader.violation("an integer that is too large")
    }
    if (byte < 0x80) {
      return value
    }
  }
}

/** Passes a string; `reader.at` is its end then. Returns where it begins. */
const passString = (reader: Reader, first: number, prefix: number): number => {
  const size = readInteger(reader, first, prefix)
  const start = reader.at
  if (start + size > reader.end) {
    throw reader.violation("a string that is longer than its field section")
  }
  reader.at = start + size
  return start
}

const notHuffman = "a string that is not in Huffman's code"

export const readString = (reader: Reader, first: number, prefix: number): string => {
  const start = passString(reader, first, prefix)
  if ((first & (1 << prefix)) === 0) {
    return reader.bytes.toString("latin1", start, reader.at)
  }
  const text = Huffman.read(reader.bytes, start, reader.at)
  if (text === undefined) {
    throw reader.violation(notHuffman)
  }
  return text
}

/** Checks a string as `readString` does, but returns only its length. */
export const skipString = (reader: Reader, first: number, prefix: number): number => {
  const start = passString(reader, first, prefix)
  if ((first & (1 << prefix)) === 0) {
    return reader.at - start
  }
  const length = Huffman.measure(reader.bytes, start, reader.at)
  if (length === undefined) {
    throw reader.violation(notHuffman)
  }
  return length
}
