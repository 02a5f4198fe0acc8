import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Varint from "../../../src/protocol/quic/Varint.js"

const read = (bytes: Uint8Array) => {
  const reader = Varint.makeReader()
  const at = Varint.read(reader, bytes, 0, bytes.length)
  return { value: reader.value, missing: reader.missing, at }
}

const write = (value: number) => {
  const buffer = Buffer.alloc(8)
  return buffer.subarray(0, Varint.write(buffer, 0, value))
}

describe("variable-length integers", () => {
  const samples: ReadonlyArray<readonly [string, number]> = [
    ["9d7f3e7d", 494_878_333],
    ["7bbd", 15_293],
    ["25", 37],
    ["4025", 37]
  ]
  for (const [hex, value] of samples) {
    it(`RFC 9000 appendix A.1: ${hex}`, () => {
      expect(read(Buffer.from(hex, "hex"))).toEqual({ value, missing: 0, at: hex.length / 2 })
    })
  }

  it("what has more than 53 bits is rounded", () => {
    expect(read(Buffer.from("c2197c5eff14e88c", "hex")).value).toBe(Number(151_288_809_941_952_652n))
    expect(read(Buffer.alloc(8, 0xff)).value).toBe(2 ** 62)
  })

  it("each size has its bounds", () => {
    const hex = [0, 63, 64, 16_383, 16_384, 2 ** 30 - 1, 2 ** 30, Number.MAX_SAFE_INTEGER].map((value) =>
      write(value).toString("hex")
    )
    expect(hex).toEqual(["00", "3f", "4040", "7fff", "80004000", "bfffffff", "c000000040000000", "c01fffffffffffff"])
  })

  it("reading gives what was written, wherever it is cut", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.maxSafeNat(), FastCheck.nat(8), (value, cut) => {
        const bytes = write(value)
        const reader = Varint.makeReader()
        const first = Math.min(cut, bytes.length)
        Varint.read(reader, bytes, 0, first)
        expect(reader.missing === 0).toBe(first === bytes.length)
        Varint.read(reader, bytes, first, bytes.length)
        expect(reader).toEqual({ value, missing: 0 })
      })
    )
  })

  it("a writer grows, and what it gave stays as it was", () => {
    const writer = Varint.makeWriter()
    const put = (bytes: Buffer) => {
      Varint.reserve(writer, bytes.length)
      writer.at += bytes.copy(writer.buffer, writer.at)
    }
    const given: Array<readonly [Buffer, Buffer]> = []
    for (let size = 1; size < 300_000; size = size * 3 + 1) {
      const bytes = Buffer.alloc(size, size)
      put(bytes)
      put(bytes)
      given.push([Varint.take(writer), Buffer.concat([bytes, bytes])])
    }
    for (const [taken, wanted] of given) {
      expect(taken.equals(wanted)).toBe(true)
    }
    expect(Varint.take(writer)).toHaveLength(0)
  })
})
