import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { type Field, type Fields, sectionSize } from "../../../src/protocol/Fields.js"
import * as Decoder from "../../../src/protocol/http2/HpackDecoder.js"
import {
  arbitraryName,
  arbitraryTableSize,
  arbitraryValue,
  blockOf,
  decode,
  decodeSection,
  fromHex,
  type Instruction,
  literal,
  makeDecoder,
  makeReference,
  tableOf,
  toHex
} from "./hpackSupport.js"

const indexed = (index: number): Instruction => ({ _tag: "Indexed", index })

const update = (size: number): Instruction => ({ _tag: "Update", size })

describe("RFC 7541 appendix C", () => {
  const single: ReadonlyArray<readonly [string, string, Field, boolean]> = [
    [
      "C.2.1",
      "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
      ["custom-key", "custom-header"],
      true
    ],
    ["C.2.2", "040c 2f73 616d 706c 652f 7061 7468", [":path", "/sample/path"], false],
    ["C.2.3", "1008 7061 7373 776f 7264 0673 6563 7265 74", ["password", "secret"], false],
    ["C.2.4", "82", [":method", "GET"], false]
  ]
  for (const [section, hex, field, isInserted] of single) {
    it(section, () => {
      const decoder = makeDecoder()
      expect(decodeSection(decoder, fromHex(hex)).fields).toEqual([field])
      expect(tableOf(decoder)).toEqual(isInserted ? [field] : [])
    })
  }

  const authority: Field = [":authority", "www.example.com"]
  const noCache: Field = ["cache-control", "no-cache"]
  const custom: Field = ["custom-key", "custom-value"]
  const request = (scheme: string, path: string): Fields => [
    [":method", "GET"],
    [":scheme", scheme],
    [":path", path],
    authority
  ]
  const requests: ReadonlyArray<readonly [Fields, Fields, number]> = [
    [request("http", "/"), [authority], 57],
    [[...request("http", "/"), noCache], [noCache, authority], 110],
    [[...request("https", "/index.html"), custom], [custom, noCache, authority], 164]
  ]
  const found: Field = [":status", "302"]
  const temporary: Field = [":status", "307"]
  const cache: Field = ["cache-control", "private"]
  const date: Field = ["date", "Mon, 21 Oct 2013 20:13:21 GMT"]
  const later: Field = ["date", "Mon, 21 Oct 2013 20:13:22 GMT"]
  const location: Field = ["location", "https://www.example.com"]
  const gzip: Field = ["content-encoding", "gzip"]
  const cookie: Field = ["set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"]
  const responses: ReadonlyArray<readonly [Fields, Fields, number]> = [
    [[found, cache, date, location], [location, date, cache, found], 222],
    [[temporary, cache, date, location], [temporary, location, date, cache], 222],
    [[[":status", "200"], cache, later, location, gzip, cookie], [cookie, gzip, later], 215]
  ]
  const sequences: ReadonlyArray<
    readonly [string, ReadonlyArray<readonly [Fields, Fields, number]>, number, ReadonlyArray<string>]
  > = [
    [
      "C.3",
      requests,
      4096,
      [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65"
      ]
    ],
    [
      "C.4",
      requests,
      4096,
      [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"
      ]
    ],
    [
      "C.5",
      responses,
      256,
      [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31"
      ]
    ],
    [
      "C.6",
      responses,
      256,
      [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07"
      ]
    ]
  ]
  for (const [section, expected, tableSize, blocks] of sequences) {
    it(section, () => {
      const decoder = makeDecoder()
      if (tableSize !== 4096) {
        decoder.setMaxTableSize(tableSize)
        decodeSection(decoder, blockOf(update(tableSize)))
      }
      expected.forEach(([fields, table, size], i) => {
        expect(decodeSection(decoder, fromHex(blocks[i] ?? ""))).toEqual({
          fields,
          size: sectionSize(fields),
          count: fields.length,
          isTooLarge: false,
          isShared: false
        })
        expect(tableOf(decoder)).toEqual(table)
        expect(sectionSize(table)).toBe(size)
      })
    })
  }
})

describe("a block that breaks the RFC", () => {
  const broken: ReadonlyArray<readonly [string, string]> = [
    ["index 0", "80"],
    ["an index of no table", "be"],
    ["a name of no table", "7e 01 61"],
    ["a name of no table, not to be inserted", "0f 2f 01 61"],
    ["an index without its end", "ff"],
    ["an index of 2^32 and more", "ff ff ff ff ff ff 01"],
    ["an index that never ends", "ff 80 80 80 80 80 80 80 80 80 80 80 80 00"],
    ["a string longer than the block", "40 05 61"],
    ["a string of 4 GiB", "40 7f 80 ff ff ff 0f 61"],
    ["a name without a value", "40 01 61"],
    ["a literal without a name", "40"],
    ["a string with the end of string", "40 84 ff ff ff ff 01 61"],
    ["padding of eight bits", "40 82 1f ff 01 61"],
    ["padding of zeros", "40 81 18 01 61"],
    ["a table larger than the settings allow", "3f e2 1f"],
    ["a size of the table behind a field", "82 20"],
    ["a size of the table without its end", "3f"]
  ]
  for (const [name, hex] of broken) {
    it(`${name} is a compression error, also behind what is too large`, () => {
      expect(decode(makeDecoder(), fromHex(hex))).toBeInstanceOf(Decoder.CompressionError)
      const tight = makeDecoder({ maxHeaderListSize: 0 })
      expect(decode(tight, Buffer.concat([fromHex("82"), fromHex(hex)]))).toBeInstanceOf(Decoder.CompressionError)
    })
  }

  it("a table of the size that the settings allow is none", () => {
    expect(decode(makeDecoder(), fromHex("3f e1 1f 82"))).not.toBeInstanceOf(Decoder.CompressionError)
    expect(decode(makeDecoder(), fromHex("20 3f e1 1f 20 82"))).not.toBeInstanceOf(Decoder.CompressionError)
  })
})

describe("a smaller table in acknowledged settings", () => {
  const isError = (blocks: ReadonlyArray<Buffer>, ...sizes: ReadonlyArray<number>) => {
    const decoder = makeDecoder()
    decodeSection(decoder, blockOf(literal("indexed", "a", "b")))
    decodeSection(decoder, Buffer.of(0xbe))
    for (const size of sizes) {
      decoder.setMaxTableSize(size)
    }
    return blocks.map((block) => decode(decoder, block) instanceof Decoder.CompressionError)
  }

  it("must be said at the start of the next block, also of one that came before", () => {
    expect(isError([Buffer.of(0xbe)], 100)).toEqual([true])
    expect(isError([blockOf(update(101), indexed(62))], 100)).toEqual([true])
    expect(isError([blockOf(update(100), indexed(62)), Buffer.of(0xbe)], 100)).toEqual([false, false])
    expect(isError([blockOf(update(30), indexed(62))], 100)).toEqual([true])
  })

  it("the smallest of several must be said first", () => {
    expect(isError([blockOf(update(4096), indexed(62))], 100, 4096)).toEqual([true])
    expect(isError([blockOf(update(100), update(4096), indexed(62))], 100, 4096)).toEqual([false])
    expect(isError([blockOf(update(100), indexed(62))], 100, 4096)).toEqual([false])
    expect(isError([blockOf(update(100), update(300))], 100, 200)).toEqual([true])
    expect(isError([blockOf(update(200), update(100))], 200, 100)).toEqual([true])
  })

  it("needs no word where the table is not larger", () => {
    expect(isError([Buffer.of(0xbe)], 8192)).toEqual([false])
    expect(isError([blockOf(update(100)), Buffer.of(0xbe)], 4096, 8192)).toEqual([false, false])
    const decoder = makeDecoder()
    decodeSection(decoder, blockOf(update(50)))
    decoder.setMaxTableSize(50)
    expect(decode(decoder, Buffer.of(0x82))).not.toBeInstanceOf(Decoder.CompressionError)
  })

  it("a larger one may be used", () => {
    const decoder = makeDecoder()
    decoder.setMaxTableSize(10_000)
    const field: Field = ["a", "x".repeat(8000)]
    decodeSection(decoder, blockOf(update(10_000), literal("indexed", ...field)))
    expect(tableOf(decoder)).toEqual([field])
  })
})

describe("limits", () => {
  const field = (i: number): Field => ["x-name", `value ${i}`.padEnd(10)]

  it("a list of just the size that is allowed is not too large, a byte more is", () => {
    const fields = Array.from({ length: 10 }, (_, i) => field(i))
    const block = blockOf(...fields.map(([name, value]) => literal("plain", name, value)))
    const size = sectionSize(fields)
    expect(decodeSection(makeDecoder({ maxHeaderListSize: size }), block)).toMatchObject({ fields, isTooLarge: false })
    expect(decodeSection(makeDecoder({ maxHeaderListSize: size - 1 }), block)).toEqual({
      fields: fields.slice(0, 9),
      size,
      count: 10,
      isTooLarge: true,
      isShared: false
    })
    expect(decodeSection(makeDecoder({ maxFields: 10 }), block)).toMatchObject({ fields, isTooLarge: false })
    expect(decodeSection(makeDecoder({ maxFields: 9 }), block)).toMatchObject({
      fields: fields.slice(0, 9),
      count: 10,
      isTooLarge: true
    })
  })

  it("there is one on the number of fields that nobody has to set", () => {
    const block = Buffer.alloc(Decoder.defaultMaxFields + 1, 0x82)
    expect(decodeSection(makeDecoder(), block.subarray(1)).isTooLarge).toBe(false)
    const section = decodeSection(makeDecoder(), block)
    expect([section.isTooLarge, section.fields.length]).toEqual([true, Decoder.defaultMaxFields])
  })

  it("of a block that is too large all reaches the table, and the next one is read as ever", () => {
    const decoder = makeDecoder({ maxHeaderListSize: 100 })
    const block = blockOf(
      literal("plain", "a", "x".repeat(100)),
      literal("indexed", "b", "c"),
      literal("plain", 62, "d"),
      literal("never", "e", "f"),
      literal("indexed", 62, "g")
    )
    expect(decodeSection(decoder, block)).toEqual({
      fields: [],
      size: 32 + 101 + 4 * 34,
      count: 5,
      isTooLarge: true,
      isShared: false
    })
    expect(tableOf(decoder)).toEqual([
      ["b", "g"],
      ["b", "c"]
    ])
    expect(decodeSection(decoder, Buffer.of(0xbe, 0xbf)).fields).toEqual(tableOf(decoder))
  })

  it("a bomb of references costs what its bytes do, and nothing of it is kept", () => {
    const decoder = makeDecoder({ maxHeaderListSize: 16_384 })
    decodeSection(decoder, blockOf(literal("indexed", "x", "y".repeat(4000))))
    const size = 32 + 1 + 4000
    const bomb = Buffer.alloc(65_536, 0xbe)
    const section = decodeSection(decoder, bomb)
    expect(section).toMatchObject({ size: 65_536 * size, count: 65_536, isTooLarge: true, isShared: false })
    expect(section.fields).toHaveLength(Math.floor(16_384 / size))
  })

  it("a bomb of names of the table is counted, not made", () => {
    const decoder = makeDecoder({ maxHeaderListSize: 16_384 })
    decodeSection(decoder, blockOf(literal("indexed", "y".repeat(4000), "")))
    const plain = blockOf(...Array.from({ length: 10_000 }, () => literal("plain", 62, "")))
    expect(decodeSection(decoder, plain)).toMatchObject({ size: 10_000 * 4032, count: 10_000, isTooLarge: true })
    const inserting = blockOf(...Array.from({ length: 10_000 }, () => literal("indexed", 62, "")))
    expect(decodeSection(decoder, inserting)).toMatchObject({ size: 10_000 * 4032, count: 10_000, isTooLarge: true })
    expect(sectionSize(tableOf(decoder))).toBe(4032)
  })
})

describe("blocks that came before", () => {
  it("give what was read then", () => {
    const decoder = makeDecoder()
    decodeSection(decoder, blockOf(literal("indexed", "a", "b")))
    const first = decodeSection(decoder, Buffer.of(0x82, 0xbe))
    expect(first.isShared).toBe(true)
    expect(decodeSection(decoder, Buffer.of(0x82, 0xbe))).toBe(first)
  })

  it("are read again after an insertion or a change of the table, since they say something else", () => {
    const decoder = makeDecoder()
    decodeSection(decoder, blockOf(literal("indexed", "a", "b"), literal("indexed", "c", "d")))
    const block = Buffer.of(0xbe)
    expect(decodeSection(decoder, block).fields).toEqual([["c", "d"]])
    decodeSection(decoder, blockOf(literal("indexed", "e", "f")))
    expect(decodeSection(decoder, block).fields).toEqual([["e", "f"]])
    decodeSection(decoder, blockOf(update(0), update(4096)))
    expect(decode(decoder, block)).toBeInstanceOf(Decoder.CompressionError)
  })

  it("are read again after a block that fails behind an insertion", () => {
    const decoder = makeDecoder()
    decodeSection(decoder, blockOf(literal("indexed", "a", "b")))
    decodeSection(decoder, Buffer.of(0xbe))
    decode(decoder, Buffer.concat([blockOf(literal("indexed", "c", "d")), Buffer.of(0x80)]))
    expect(decodeSection(decoder, Buffer.of(0xbe)).fields).toEqual([["c", "d"]])
  })

  it("are not shared where they insert, are too large or too long", () => {
    expect(decodeSection(makeDecoder(), blockOf(literal("indexed", "a", "b"))).isShared).toBe(false)
    expect(decodeSection(makeDecoder(), blockOf(update(50))).isShared).toBe(false)
    expect(decodeSection(makeDecoder(), Buffer.alloc(257, 0x82)).isShared).toBe(false)
    expect(decodeSection(makeDecoder(), Buffer.alloc(256, 0x82)).isShared).toBe(true)
    const decoder = makeDecoder({ maxFields: 1 })
    for (let i = 0; i < 2; i++) {
      expect(decodeSection(decoder, Buffer.of(0x82, 0x82))).toMatchObject({ isShared: false, isTooLarge: true })
    }
  })
})

describe("any blocks", () => {
  const arbitraryInstruction: FastCheck.Arbitrary<Instruction> = FastCheck.oneof(
    FastCheck.integer({ min: 1, max: 66 }).map(indexed),
    FastCheck.tuple(
      FastCheck.constantFrom("indexed" as const, "plain" as const, "never" as const),
      FastCheck.oneof(arbitraryName, FastCheck.integer({ min: 1, max: 64 })),
      arbitraryValue
    ).map(([kind, name, value]) => literal(kind, name, value))
  )
  const arbitraryBlock = FastCheck.tuple(
    FastCheck.oneof(
      { weight: 6, arbitrary: FastCheck.constant([]) },
      { weight: 1, arbitrary: FastCheck.array(arbitraryTableSize.map(update), { maxLength: 2 }) }
    ),
    FastCheck.array(arbitraryInstruction, { maxLength: 8 })
  ).map(([updates, instructions]) => blockOf(...updates, ...instructions))

  /** Runs blocks, some over and over, past a decoder with its cache and one that knows no more than the RFC. */
  const compare = (
    blocks: ReadonlyArray<Buffer>,
    steps: ReadonlyArray<number | { readonly size: number }>,
    limits: Partial<Decoder.Options>
  ) => {
    const decoder = makeDecoder(limits)
    const reference = makeReference()
    for (const step of steps) {
      if (typeof step !== "number") {
        decoder.setMaxTableSize(step.size)
        reference.setMaxTableSize(step.size)
        continue
      }
      const block = blocks[step % blocks.length] ?? Buffer.alloc(0)
      const section = decode(decoder, block)
      const expected = reference.decode(block)
      if (section instanceof Decoder.CompressionError || expected === undefined) {
        expect([toHex(block), expected]).toEqual([toHex(block), undefined])
        expect(section).toBeInstanceOf(Decoder.CompressionError)
        return
      }
      expect([section.size, section.count]).toEqual([sectionSize(expected), expected.length])
      const isTooLarge = section.size > (limits.maxHeaderListSize ?? 1e9) || section.count > (limits.maxFields ?? 1e9)
      expect(section.isTooLarge).toBe(isTooLarge)
      expect(section.fields).toEqual(isTooLarge ? expected.slice(0, section.fields.length) : expected)
      expect(sectionSize(section.fields)).toBeLessThanOrEqual(limits.maxHeaderListSize ?? 1e9)
    }
  }

  const steps = FastCheck.array(
    FastCheck.oneof(
      { weight: 20, arbitrary: FastCheck.nat(5) },
      { weight: 1, arbitrary: arbitraryTableSize.map((size) => ({ size })) }
    ),
    { maxLength: 40, size: "max" }
  )

  it("say what a plain reading of the RFC says, however they follow each other", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(arbitraryBlock, { minLength: 1, maxLength: 6 }), steps, (blocks, steps) =>
        compare(blocks, steps, {})
      ),
      { numRuns: 2000 }
    )
  })

  it("and so they do within limits", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(arbitraryBlock, { minLength: 1, maxLength: 6 }),
        steps,
        FastCheck.record({ maxHeaderListSize: FastCheck.nat(400), maxFields: FastCheck.nat(10) }),
        compare
      ),
      { numRuns: 2000 }
    )
  })

  it("of random bytes give fields or a compression error", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(
          FastCheck.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
          { minLength: 1, maxLength: 6 }
        ),
        steps,
        FastCheck.record({ maxHeaderListSize: FastCheck.nat(400) }),
        compare
      ),
      { numRuns: 5000 }
    )
  })
})
