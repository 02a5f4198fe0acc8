import { describe, expect, it } from "@effect/vitest"
import * as Http3Sections from "../../../src/protocol/http3/Http3Sections.js"

const section = (name: string) => Buffer.from(`before ${name} behind`)
const fields = (name: string) => [[name, "value"]] as const

/** The position of what stands between the two words. */
const range = (bytes: Buffer) => [7, bytes.length - 7] as const

describe("sections that came before", () => {
  it("are found wherever they stand, also when the bytes are overwritten", () => {
    const { trailers } = Http3Sections.make()
    const bytes = section("a")
    expect(trailers.find(bytes, ...range(bytes))).toBeUndefined()
    const value = fields("a")
    trailers.keep(bytes, ...range(bytes), value)
    bytes.fill(0)
    expect(trailers.find(Buffer.from("a"), 0, 1)).toBe(value)
    expect(trailers.find(Buffer.from("b"), 0, 1)).toBeUndefined()
  })

  it("are few", () => {
    const { trailers } = Http3Sections.make()
    const names = Array.from({ length: 100 }, (_, i) => `section ${i}`)
    for (const name of names) {
      trailers.keep(Buffer.from(name), 0, name.length, fields(name))
    }
    const found = names.filter((name) => trailers.find(Buffer.from(name), 0, name.length) !== undefined)
    expect(found.length).toBeLessThanOrEqual(16)
    expect(found).toContain("section 99")
  })

  it("are short", () => {
    const { trailers } = Http3Sections.make()
    for (const [size, isKept] of [
      [256, true],
      [257, false]
    ] as const) {
      const bytes = Buffer.alloc(size, "x")
      trailers.keep(bytes, 0, size, fields("x"))
      expect(trailers.find(bytes, 0, size) !== undefined).toBe(isKept)
    }
  })
})
