import * as FastCheck from "effect/FastCheck"
import { type Field, type Fields, secrets, sectionSize, sizeOf } from "../../../src/protocol/Fields.js"
import * as Huffman from "../../../src/protocol/Huffman.js"
import * as Decoder from "../../../src/protocol/http2/HpackDecoder.js"
import type * as Encoder from "../../../src/protocol/http2/HpackEncoder.js"
import { hpackTable } from "../../../src/protocol/http2/HpackTable.js"
import { maxOverhead, writeInteger, writeString } from "../../../src/protocol/Primitives.js"

export const fromHex = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex")

export const toHex = (bytes: Buffer) => bytes.toString("hex")

export const makeDecoder = (options: Partial<Decoder.Options> = {}): Decoder.Decoder =>
  Decoder.make({ maxHeaderListSize: 1_000_000, ...options })

/** Decodes bytes in the middle of others, which are overwritten afterwards. */
export const decode = (decoder: Decoder.Decoder, block: Uint8Array): Decoder.Section | Decoder.CompressionError => {
  const bytes = Buffer.concat([Buffer.of(0xee, 0xee), block, Buffer.of(0xee)])
  const result = decoder.decode(bytes, 2, 2 + block.length)
  bytes.fill(0xee)
  return result
}

export const decodeSection = (decoder: Decoder.Decoder, block: Uint8Array): Decoder.Section => {
  const result = decode(decoder, block)
  if (result instanceof Decoder.CompressionError) {
    throw new Error(`${result.text}: ${Buffer.from(block).toString("hex")}`)
  }
  return result
}

/** The dynamic table, newest first, as a peer can find it out. */
export const tableOf = (decoder: Decoder.Decoder): Fields => {
  const fields: Array<Field> = []
  for (;;) {
    const buffer = Buffer.alloc(8)
    const section = decode(decoder, buffer.subarray(0, writeInteger(buffer, 0, 0x80, 7, 62 + fields.length)))
    const field = section instanceof Decoder.CompressionError ? undefined : section.fields[0]
    if (field === undefined) {
      return fields
    }
    fields.push(field)
  }
}

export const encode = (encoder: Encoder.Encoder, fields: Fields, head?: Encoder.Head): Buffer => {
  const maxSize = encoder.maxSize(head, fields)
  const buffer = Buffer.alloc(maxSize + 2, 0xee)
  return buffer.subarray(1, encoder.write(buffer, 1, head, fields))
}

/** An instruction of a block, as any encoder may send it. */
export type Instruction =
  | { readonly _tag: "Indexed"; readonly index: number }
  | {
      readonly _tag: "Literal"
      readonly kind: "indexed" | "plain" | "never"
      readonly name: number | string
      readonly value: string
    }
  | { readonly _tag: "Update"; readonly size: number }

export const literal = (kind: "indexed" | "plain" | "never", name: number | string, value: string): Instruction => ({
  _tag: "Literal",
  kind,
  name,
  value
})

const forms = { indexed: [0x40, 6], plain: [0, 4], never: [0x10, 4] } as const

const bytesOf = (instruction: Instruction): Buffer => {
  switch (instruction._tag) {
    case "Indexed": {
      const buffer = Buffer.alloc(8)
      return buffer.subarray(0, writeInteger(buffer, 0, 0x80, 7, instruction.index))
    }
    case "Update": {
      const buffer = Buffer.alloc(8)
      return buffer.subarray(0, writeInteger(buffer, 0, 0x20, 5, instruction.size))
    }
    case "Literal": {
      const { kind, name, value } = instruction
      const buffer = Buffer.alloc(2 * maxOverhead + String(name).length + value.length)
      const [flags, prefix] = forms[kind]
      const at = writeInteger(buffer, 0, flags, prefix, typeof name === "number" ? name : 0)
      const behindName = typeof name === "number" ? at : writeString(buffer, at, 0, 7, name)
      return buffer.subarray(0, writeString(buffer, behindName, 0, 7, value))
    }
  }
}

export const blockOf = (...instructions: ReadonlyArray<Instruction>): Buffer => Buffer.concat(instructions.map(bytesOf))

/** A decoder as the RFC reads, without limits, cache or care for speed. `undefined` is an error. */
export const makeReference = () => {
  let table: Array<Field> = []
  let capacity = 4096
  let limit = 4096
  let required = Number.POSITIVE_INFINITY
  const evict = () => {
    while (sectionSize(table) > capacity) {
      table = table.slice(0, -1)
    }
  }
  const decodeBlock = (bytes: Uint8Array): Fields | undefined => {
    let at = 0
    const byte = () => {
      const value = bytes[at++]
      if (value === undefined) {
        throw new RangeError("end")
      }
      return value
    }
    const integer = (first: number, prefix: number): number => {
      const max = 2 ** prefix - 1
      if ((first & max) < max) {
        return first & max
      }
      let value = max
      for (let shift = 0; ; shift += 7) {
        const next = byte()
        value += (next % 128) * 2 ** shift
        if (value >= 2 ** 32 || shift > 28) {
          throw new RangeError("integer")
        }
        if (next < 128) {
          return value
        }
      }
    }
    const string = (): string => {
      const first = byte()
      const length = integer(first, 7)
      const start = at
      at += length
      const text =
        at > bytes.length
          ? undefined
          : first >= 128
            ? Huffman.read(bytes, start, at)
            : Buffer.from(bytes.slice(start, at)).toString("latin1")
      if (text === undefined) {
        throw new RangeError("string")
      }
      return text
    }
    const entry = (index: number): Field => {
      const field = [undefined, ...hpackTable, ...table][index]
      if (field === undefined) {
        throw new RangeError("index")
      }
      return field
    }
    const fields: Array<Field> = []
    while (at < bytes.length) {
      const first = byte()
      if (first >= 32 && first < 64) {
        capacity = integer(first, 5)
        if (fields.length > 0 || capacity > limit || capacity > required) {
          throw new RangeError("update")
        }
        required = Number.POSITIVE_INFINITY
        evict()
        continue
      }
      if (required < Number.POSITIVE_INFINITY) {
        throw new RangeError("no update")
      }
      if (first >= 128) {
        fields.push(entry(integer(first, 7)))
        continue
      }
      const index = integer(first, first >= 64 ? 6 : 4)
      const name = index === 0 ? string() : entry(index)[0]
      const field: Field = [name, string()]
      fields.push(field)
      if (first >= 64) {
        table = sizeOf(field) > capacity ? [] : [field, ...table]
        evict()
      }
    }
    return fields
  }
  return {
    decode: (bytes: Uint8Array): Fields | undefined => {
      try {
        return decodeBlock(bytes)
      } catch (error) {
        if (error instanceof RangeError) {
          return undefined
        }
        throw error
      }
    },
    setMaxTableSize: (size: number) => {
      limit = size
      if (size < capacity) {
        required = Math.min(required, size)
      }
    }
  }
}

const characters = (min: number, maxLength: number) =>
  FastCheck.array(FastCheck.integer({ min, max: 0xff }), { maxLength }).map((codes) => String.fromCharCode(...codes))

/** Few names and values, so that they come again, and some that don't. */
export const arbitraryName = FastCheck.oneof(
  FastCheck.constantFrom("a", "x-tenant", "grpc-timeout", "content-type", "trace-bin", ":path", ...secrets),
  characters(0x21, 6).map((text) => `x${text}`)
)

export const arbitraryValue = FastCheck.oneof(
  FastCheck.constantFrom("", "1", "application/grpc", "/a.B/C", "5S", "x".repeat(100), "x".repeat(600)),
  characters(0, 40)
)

export const arbitraryField: FastCheck.Arbitrary<Field> = FastCheck.oneof(
  FastCheck.constantFrom(...hpackTable),
  FastCheck.tuple(arbitraryName, arbitraryValue)
)

export const arbitraryTableSize = FastCheck.constantFrom(0, 31, 33, 50, 100, 300, 1000, 4096, 5000, 65_536)
