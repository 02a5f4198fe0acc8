import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { type Field, type Fields, sectionSize } from "../../../src/protocol/Fields.js"
import * as Encoder from "../../../src/protocol/http2/HpackEncoder.js"
import { hpackTable } from "../../../src/protocol/http2/HpackTable.js"
import {
  arbitraryField,
  arbitraryTableSize,
  decodeSection,
  encode,
  fromHex,
  makeDecoder,
  tableOf,
  toHex
} from "./hpackSupport.js"

const grpcHead: Fields = [
  [":method", "POST"],
  [":scheme", "https"],
  [":path", "/dag.v1.DagService/SubmitTransaction"],
  [":authority", "peer-node:50051"],
  ["te", "trailers"],
  ["content-type", "application/grpc"],
  ["user-agent", "effect-transport"]
]

/** Both ends of a direction: what is encoded is decoded, and must be what it was. */
const makePair = (options?: Encoder.Options) => {
  const encoder = Encoder.make(options)
  const decoder = makeDecoder()
  return {
    encoder,
    decoder,
    send: (fields: Fields, head?: Encoder.Head): Buffer => {
      const block = encode(encoder, fields, head)
      expect(decodeSection(decoder, block).fields).toEqual([...(head?.fields ?? []), ...fields])
      return block
    },
    setMaxTableSize: (size: number) => {
      encoder.setMaxTableSize(size)
      decoder.setMaxTableSize(size)
    }
  }
}

it("RFC 7541 appendix C.4: requests whose fields are inserted", () => {
  const encoder = Encoder.make()
  const requests: ReadonlyArray<readonly [Fields, string]> = [
    [
      [
        [":method", "GET"],
        [":scheme", "http"],
        [":path", "/"],
        [":authority", "www.example.com"]
      ],
      "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff"
    ],
    [
      [
        [":method", "GET"],
        [":scheme", "http"],
        [":path", "/"],
        [":authority", "www.example.com"],
        ["cache-control", "no-cache"]
      ],
      "8286 84be 5886 a8eb 1064 9cbf"
    ],
    [
      [
        [":method", "GET"],
        [":scheme", "https"],
        [":path", "/index.html"],
        [":authority", "www.example.com"],
        ["custom-key", "custom-value"]
      ],
      "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf"
    ]
  ]
  for (const [fields, hex] of requests) {
    expect(toHex(encode(encoder, [], encoder.makeHead(fields)))).toBe(toHex(fromHex(hex)))
  }
})

it("all of the static table takes a byte each, but for secrets", () => {
  for (const [index, field] of hpackTable.entries()) {
    const { send } = makePair()
    const isSecret = ["authorization", "cookie", "proxy-authorization", "set-cookie"].includes(field[0])
    expect(send([field])[0]).toBe(isSecret ? 0x1f : 0x80 + index + 1)
  }
})

describe("heads", () => {
  it("take a byte for each field from the second time on, with a byte for each field of metadata from the third", () => {
    const { encoder, send } = makePair()
    const head = encoder.makeHead(grpcHead)
    const metadata: Fields = [
      ["x-tenant", "acme"],
      ["x-region", "eu-central-1"]
    ]
    expect(send(metadata, head).length).toBeGreaterThan(80)
    expect(send(metadata, head).length).toBeGreaterThan(20)
    expect(send(metadata, head)).toHaveLength(9)
    expect(send([], head)).toHaveLength(7)
  })

  it("are right whatever is inserted in between", () => {
    const { encoder, send } = makePair()
    const heads = ["/a.B/C", "/a.B/D"].map((path) =>
      encoder.makeHead(grpcHead.map((field): Field => (field[0] === ":path" ? [":path", path] : field)))
    )
    for (let i = 0; i < 60; i++) {
      const field: Field = ["x-number", String(i % 10)]
      send(i % 3 === 0 ? [] : [field], heads[i % 2])
    }
    expect(send([], heads[0])).toHaveLength(7)
  })

  it("of another encoder are not taken for this one's", () => {
    const one = makePair()
    const other = makePair()
    const head = one.encoder.makeHead(grpcHead)
    for (const { send } of [one, one, one, other, other, one, other]) {
      send([], head)
    }
  })

  it("leave the table as it is when it is full: nothing is evicted, and what did not fit is a literal", () => {
    const { decoder, encoder, send } = makePair()
    const heads = Array.from({ length: 100 }, (_, i) => encoder.makeHead([[":path", `/service/method-${i}`]]))
    for (const head of [...heads, ...heads]) {
      send([], head)
    }
    const table = tableOf(decoder)
    expect(sectionSize(table)).toBeLessThanOrEqual(4096)
    expect(table.at(-1)).toEqual([":path", "/service/method-0"])
    expect(send([], heads[0]).length).toBeLessThanOrEqual(2)
    expect(send([], heads[99]).length).toBeGreaterThan(10)
    expect(tableOf(decoder)).toEqual(table)
  })

  it("do not insert a field that would take more than a quarter of the table", () => {
    const { decoder, encoder, send } = makePair()
    send([], encoder.makeHead([[":path", `/${"x".repeat(1100)}`]]))
    expect(tableOf(decoder)).toEqual([])
  })
})

describe("metadata", () => {
  it("is inserted when it comes again, so that what never does takes no room", () => {
    const { decoder, send } = makePair()
    for (let i = 0; i < 1000; i++) {
      send([["x-request-id", `${i}`.padStart(36, "request ")]])
    }
    expect(tableOf(decoder)).toEqual([])
    send([["x-tenant", "acme"]])
    send([["x-tenant", "acme"]])
    expect(tableOf(decoder)).toEqual([["x-tenant", "acme"]])
  })

  it("leaves half of the table to heads", () => {
    const { decoder, encoder, send } = makePair()
    for (let i = 0; i < 1000; i++) {
      const fields: Fields = [["x-user", `user number ${i}`]]
      send(fields)
      send(fields)
    }
    const size = sectionSize(tableOf(decoder))
    expect(size).toBeGreaterThan(1900)
    expect(size).toBeLessThanOrEqual(2048)
    const head = encoder.makeHead(grpcHead)
    send([], head)
    expect(send([], head).length).toBeLessThanOrEqual(14)
    expect(sectionSize(tableOf(decoder))).toBeGreaterThan(size)
  })

  it("that is secret never reaches a table, nor that of intermediaries", () => {
    const { decoder, encoder, send } = makePair()
    for (const name of ["authorization", "cookie", "proxy-authorization", "set-cookie"]) {
      const fields: Fields = [[name, "secret"]]
      const head = encoder.makeHead(fields)
      for (let i = 0; i < 3; i++) {
        expect((send(fields)[0] ?? 0) & 0xf0).toBe(0x10)
        expect((send([], head)[0] ?? 0) & 0xf0).toBe(0x10)
      }
    }
    expect(tableOf(decoder)).toEqual([])
  })

  it("of bytes is not inserted, nor what is long", () => {
    const { decoder, send } = makePair()
    for (let i = 0; i < 3; i++) {
      send([
        ["trace-bin", "AAEC"],
        ["x-long", "x".repeat(500)]
      ])
    }
    expect(tableOf(decoder)).toEqual([])
  })

  it("that varies is inserted once, for its name", () => {
    const { decoder, send } = makePair()
    for (let i = 0; i < 100; i++) {
      const block = send([
        ["grpc-timeout", `${i}m`],
        ["content-length", String(i)]
      ])
      expect(block.length).toBeLessThan(i === 0 ? 30 : 12)
    }
    expect(tableOf(decoder)).toEqual([["grpc-timeout", "0m"]])
  })
})

describe("the size of the table", () => {
  const starts = (block: Buffer, hex: string) => expect(toHex(block)).toMatch(new RegExp(`^${hex}`))

  it("that a peer allows is used up to the own limit, and said when it changes", () => {
    const { decoder, encoder, send, setMaxTableSize } = makePair()
    starts(send([[":method", "GET"]]), "82$")
    setMaxTableSize(65_536)
    starts(send([[":method", "GET"]]), "82$")
    setMaxTableSize(100)
    starts(send([[":method", "GET"]]), "3f4582$")
    starts(send([[":method", "GET"]]), "82$")
    const head = encoder.makeHead([
      [":path", "/123456789"],
      [":authority", "abc"]
    ])
    // A quarter of the table is less than any field takes.
    send([], head)
    expect(tableOf(decoder)).toEqual([])
    setMaxTableSize(4096)
    starts(send([[":method", "GET"]]), "3fe11f82$")
    send([], head)
    expect(tableOf(decoder)).toHaveLength(2)
  })

  it("that was smaller in between is said first: RFC 7541 section 4.2", () => {
    const { encoder, send, setMaxTableSize } = makePair()
    const head = encoder.makeHead([[":path", "/a"]])
    setMaxTableSize(100)
    setMaxTableSize(4096)
    starts(send([], head), "3f453fe11f44")
    setMaxTableSize(100)
    setMaxTableSize(50)
    setMaxTableSize(70)
    starts(send([], head), "3f133f27be")
    setMaxTableSize(20)
    setMaxTableSize(4096)
    starts(send([], head), "203fe11f44")
  })

  it("of 0 means literals", () => {
    const { decoder, encoder, send, setMaxTableSize } = makePair()
    const head = encoder.makeHead(grpcHead)
    send([], head)
    setMaxTableSize(0)
    starts(send([["x-tenant", "acme"]], head), "2083")
    send([["x-tenant", "acme"]], head)
    expect(tableOf(decoder)).toEqual([])
  })

  it("can be bounded by this end, and grow with it", () => {
    const small = makePair({ maxTableSize: 0 })
    starts(small.send([["x-tenant", "acme"]]), "20")
    small.setMaxTableSize(65_536)
    starts(small.send([["x-tenant", "acme"]]), "00")
    const large = makePair({ maxTableSize: 65_536 })
    starts(large.send([[":method", "GET"]]), "82")
    large.setMaxTableSize(10_000)
    starts(large.send([[":method", "GET"]]), "3ff14d82")
  })
})

describe("a block that can't be written", () => {
  it("throws for a character that is no byte, and what comes then is right", () => {
    const { encoder, send } = makePair()
    const head = encoder.makeHead(grpcHead)
    expect(() => encode(encoder, [["x-wrong", "Ċ"]], head)).toThrow(RangeError)
    send([["x-tenant", "acme"]], head)
    send([["x-tenant", "acme"]], head)
    encoder.setMaxTableSize(8192)
    expect(() =>
      encode(
        encoder,
        [
          ["x-tenant", "acme"],
          ["ű", ""]
        ],
        head
      )
    ).toThrow(RangeError)
    send([["x-tenant", "acme"]], head)
    expect(send([], head).length).toBe(7)
  })

  it("throws where there is less room than it needs", () => {
    const { encoder, send } = makePair()
    const head = encoder.makeHead(grpcHead)
    for (let i = 0; i < 3; i++) {
      expect(() => encoder.write(Buffer.alloc(4), 0, head, [])).toThrow(RangeError)
      send([], head)
      send([], head)
    }
  })
})

it("decoding gives what was encoded, whatever is sent in a row and however the table changes", () => {
  type Step = { readonly head: number; readonly rest: ReadonlyArray<number> } | { readonly size: number }
  const step: FastCheck.Arbitrary<Step> = FastCheck.oneof(
    {
      weight: 10,
      arbitrary: FastCheck.record({ head: FastCheck.nat(5), rest: FastCheck.array(FastCheck.nat(9), { maxLength: 5 }) })
    },
    { weight: 1, arbitrary: arbitraryTableSize.map((size) => ({ size })) }
  )
  FastCheck.assert(
    FastCheck.property(
      FastCheck.array(FastCheck.array(arbitraryField, { maxLength: 6 }), { maxLength: 4 }),
      FastCheck.array(arbitraryField, { minLength: 10, maxLength: 10 }),
      FastCheck.array(step, { maxLength: 60, size: "max" }),
      FastCheck.option(arbitraryTableSize, { nil: undefined }),
      (heads, pool, steps, maxTableSize) => {
        const { encoder, send, setMaxTableSize } = makePair({ maxTableSize })
        const made = heads.map((fields) => encoder.makeHead(fields))
        for (const step of steps) {
          if ("size" in step) {
            setMaxTableSize(step.size)
          } else {
            const rest = step.rest.flatMap((index) => pool.slice(index, index + 1))
            const block = send(rest, made[step.head])
            expect(block.length).toBeLessThanOrEqual(encoder.maxSize(made[step.head], rest))
          }
        }
      }
    ),
    { numRuns: 1000 }
  )
})
