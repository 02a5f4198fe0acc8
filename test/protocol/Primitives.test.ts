import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Primitives from "../../src/protocol/Primitives.js"

class Wrong {
  constructor(readonly text: string) {}
}

const readerOf = (bytes: Buffer): Primitives.Reader => ({
  bytes,
  at: 0,
  end: bytes.length,
  violation: (text) => new Wrong(text)
})

const integer = (prefix: number, value: number, flags = 0) => {
  const buffer = Buffer.alloc(8)
  return buffer.subarray(0, Primitives.writeInteger(buffer, 0, flags, prefix, value))
}

const readInteger = (bytes: Buffer, prefix: number) => {
  const reader = readerOf(bytes)
  const value = Primitives.readInteger(reader, Primitives.readByte(reader), prefix)
  expect(reader.at).toBe(bytes.length)
  return value
}

it("RFC 7541 appendix C.1: integers", () => {
  for (const [prefix, value, hex] of [
    [5, 10, "0a"],
    [5, 1337, "1f9a0a"],
    [8, 42, "2a"]
  ] as const) {
    expect(integer(prefix, value).toString("hex")).toBe(hex)
    expect(readInteger(Buffer.from(hex, "hex"), prefix)).toBe(value)
  }
})

it("integers of all sizes, behind any flags", () => {
  const value = FastCheck.oneof(FastCheck.nat(600), FastCheck.integer({ min: 0, max: 0xffff_ffff }))
  FastCheck.assert(
    FastCheck.property(FastCheck.integer({ min: 1, max: 8 }), value, (prefix, number) => {
      const flags = (0xff << prefix) & 0xff
      const bytes = integer(prefix, number, flags)
      expect((bytes[0] ?? 0) & flags).toBe(flags)
      expect(readInteger(bytes, prefix)).toBe(number)
    })
  )
})

it("integers that are too large, or too long, are violations", () => {
  for (const hex of ["1fe1ffffff0f", "1fffffffff7f", "1f808080808000", "1f80808080808080808000", "1f", "1f80"]) {
    expect(() => readInteger(Buffer.from(hex, "hex"), 5)).toThrow(Wrong)
  }
  expect(readInteger(Buffer.from("1fe0ffffff0f", "hex"), 5)).toBe(0xffff_ffff)
  expect(readInteger(Buffer.from("1f8080808000", "hex"), 5)).toBe(31)
})

it("a string is read as it was written, and is as long as when it is skipped", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.uint8Array({ maxLength: 300 }), (codes) => {
      const text = Buffer.from(codes).toString("latin1")
      const buffer = Buffer.alloc(text.length + Primitives.maxOverhead)
      const bytes = buffer.subarray(0, Primitives.writeString(buffer, 0, 0, 7, text))
      const [read, skip] = [readerOf(bytes), readerOf(bytes)]
      expect(Primitives.readString(read, Primitives.readByte(read), 7)).toBe(text)
      expect(Primitives.skipString(skip, Primitives.readByte(skip), 7)).toBe(text.length)
      expect([read.at, skip.at]).toEqual([bytes.length, bytes.length])
    })
  )
})

it("what is no string when it is read is none when it is skipped", () => {
  FastCheck.assert(
    FastCheck.property(FastCheck.uint8Array({ minLength: 1, maxLength: 12 }), (codes) => {
      const outcome = (take: typeof Primitives.readString | typeof Primitives.skipString) => {
        const reader = readerOf(Buffer.from(codes))
        try {
          const result = take(reader, Primitives.readByte(reader), 7)
          return [typeof result === "string" ? result.length : result, reader.at]
        } catch (error) {
          expect(error).toBeInstanceOf(Wrong)
          return error
        }
      }
      expect(outcome(Primitives.skipString)).toEqual(outcome(Primitives.readString))
    }),
    { numRuns: 2000 }
  )
})
