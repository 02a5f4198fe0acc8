import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as HeadCache from "../../src/protocol/HeadCache.js"

const section = (name: string) => Buffer.from(`before ${name} behind`)

/** The position of what stands between the two words. */
const range = (bytes: Buffer) => [7, bytes.length - 7] as const

const find = <A>(cache: HeadCache.HeadCache<A>, text: string) => cache.find(Buffer.from(text), 0, text.length)

const keep = <A>(cache: HeadCache.HeadCache<A>, text: string, value: A) =>
  cache.keep(Buffer.from(text), 0, text.length, value)

describe("sections that came before", () => {
  it("are found wherever they stand, also when the bytes are overwritten", () => {
    const cache = HeadCache.make<object>()
    const bytes = section("a")
    expect(cache.find(bytes, ...range(bytes))).toBeUndefined()
    const value = {}
    cache.keep(bytes, ...range(bytes), value)
    bytes.fill(0)
    expect(find(cache, "a")).toBe(value)
    expect(find(cache, "b")).toBeUndefined()
    cache.clear()
    expect(find(cache, "a")).toBeUndefined()
  })

  it("are few", () => {
    const cache = HeadCache.make<number>()
    const names = Array.from({ length: 100 }, (_, i) => `section ${i}`)
    for (const [i, name] of names.entries()) {
      keep(cache, name, i)
    }
    const found = names.filter((name) => find(cache, name) !== undefined)
    expect(found.length).toBeLessThanOrEqual(16)
    expect(found).toContain("section 99")
  })

  it("are short", () => {
    const cache = HeadCache.make<number>()
    for (const size of [256, 257]) {
      keep(cache, "x".repeat(size), size)
      expect(find(cache, "x".repeat(size))).toBe(size === 256 ? 256 : undefined)
    }
  })

  it("are never mistaken for one another", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.string({ maxLength: 3 }), { maxLength: 60 }), (texts) => {
        const cache = HeadCache.make<string>()
        for (const text of texts) {
          const hex = Buffer.from(text).toString("hex")
          expect([undefined, hex]).toContain(find(cache, hex))
          keep(cache, hex, hex)
          expect(find(cache, hex)).toBe(hex)
        }
      })
    )
  })
})
