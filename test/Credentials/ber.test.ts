/** BER as PKCS#12 is read by: what was written comes out, however it was written, and no bytes cost more than their bounds. */
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Ber from "../../src/Credentials/internal/ber.js"
import * as Der from "../suite/fixtures/der.js"

const read = (bytes: Uint8Array, maxDepth = 32, maxElements = 1000) => {
  let elements = 0
  return Ber.read(bytes, {
    maxDepth,
    onElement: () => {
      elements += 1
      if (elements > maxElements) {
        throw new RangeError("too many")
      }
    }
  })
}

/** A value, how long its length is written (0 is indefinite), and its parts or content. */
type Value =
  | { readonly tag: number; readonly length: number; readonly parts: ReadonlyArray<Value> }
  | { readonly tag: number; readonly length: number; readonly content: Uint8Array }

const { value } = FastCheck.letrec<{ value: Value; leaf: Value; node: Value }>((tie) => ({
  value: FastCheck.oneof({ depthSize: "small" }, tie("leaf"), tie("node")),
  leaf: FastCheck.record({
    tag: FastCheck.constantFrom(0x01, 0x02, 0x04, 0x06, 0x80, 0x9e),
    length: FastCheck.constantFrom(1, 2, 3, 4),
    content: FastCheck.uint8Array({ maxLength: 300 })
  }),
  node: FastCheck.record({
    tag: FastCheck.constantFrom(0x24, 0x30, 0x31, 0xa0),
    length: FastCheck.constantFrom(0, 1, 2, 3, 4),
    parts: FastCheck.array(tie("value"), { maxLength: 4 })
  })
}))

const written = (value: Value): Buffer => {
  const content = "content" in value ? Buffer.from(value.content) : Buffer.concat(value.parts.map(written))
  if (value.length === 0) {
    return Buffer.concat([Buffer.of(value.tag, 0x80), content, Buffer.alloc(2)])
  }
  const size = value.length === 1 && content.length > 0xff ? 3 : value.length
  const length = Buffer.alloc(size === 2 && content.length > 0xffff ? 4 : size)
  length.writeUIntBE(content.length, 0, length.length)
  return content.length < 0x80 && value.length === 1
    ? Buffer.concat([Buffer.of(value.tag, content.length), content])
    : Buffer.concat([Buffer.of(value.tag, 0x80 + length.length), length, content])
}

const isSame = (element: Ber.Element, value: Value): boolean =>
  element.tag === value.tag &&
  ("content" in value
    ? element.children === undefined && element.bytes.equals(value.content)
    : element.children?.length === value.parts.length &&
      element.children.every((child, index) => {
        const part = value.parts[index]
        return part !== undefined && isSame(child, part)
      }))

describe("BER", () => {
  it("is read as it was meant, with lengths of every kind", () => {
    FastCheck.assert(
      FastCheck.property(value, (value) => {
        const element = read(written(value))
        expect(isSame(element, value)).toBe(true)
        // In definite lengths it says the same.
        const again = Ber.encode(element)
        expect(Ber.encode(read(again)).equals(again)).toBe(true)
      }),
      { numRuns: 500 }
    )
  })

  it("of any bytes is an element or NotBer", () => {
    const bytes = FastCheck.oneof(
      FastCheck.uint8Array({ maxLength: 100 }),
      FastCheck.array(FastCheck.constantFrom(0x30, 0x80, 0x24, 0x04, 0x00, 0x02, 0x84, 0xff), { maxLength: 60 }).map(
        (bytes) => Uint8Array.from(bytes)
      )
    )
    FastCheck.assert(
      FastCheck.property(bytes, (bytes) => {
        try {
          expect(read(bytes).tag).toBe(bytes[0])
        } catch (error) {
          expect(error).toBeInstanceOf(Ber.NotBer)
        }
      }),
      { numRuns: 2000 }
    )
  })

  it.each<readonly [string, string]>([
    ["nothing", ""],
    ["a tag alone", "30"],
    ["a content that is cut off", "040201"],
    ["a part that is longer than the whole", "3003040201"],
    ["an end that is missing", "3080020101"],
    ["half an end", "308002010100"],
    ["a primitive of indefinite length", "048001020000"],
    ["a length of five bytes", "3085000000000100"],
    ["a length of bytes that are missing", "3084ff"],
    ["a tag of several bytes", "1f810100"],
    ["two elements", "05000500"]
  ])("is not %s", (_, hex) => {
    expect(() => read(Der.hex(hex))).toThrow(Ber.NotBer)
  })

  it("is as deep and has as many elements as it may", () => {
    const nested = (depth: number): Buffer =>
      Array.from({ length: depth }).reduce<Buffer>((inner) => Der.sequence(inner), Buffer.alloc(0))
    expect(read(nested(5), 5).tag).toBe(0x30)
    expect(() => read(nested(6), 5)).toThrow(Ber.NotBer)
    expect(() => read(Buffer.alloc(100_000, Der.hex("3080")))).toThrow(Ber.NotBer)
    const many = (count: number) => Der.sequence(...Array.from({ length: count }, () => Der.nothing))
    expect(Ber.childrenOf(read(many(9), 5, 10))).toHaveLength(9)
    expect(() => read(many(10), 5, 10)).toThrow(RangeError)
  })

  it("has strings in pieces, numbers and object identifiers", () => {
    const pieces = read(Der.hex("248004020102240404020304040105" + "0000"))
    expect(Ber.octetsOf(pieces)).toEqual(Der.hex("0102030405"))
    expect(Ber.isOctetString(pieces)).toBe(true)
    expect(Ber.encode(pieces)).toEqual(Der.hex("04050102030405"))
    expect(Ber.integerOf(read(Der.hex("0203800000")))).toBe(-8388608)
    expect(Ber.integerOf(read(Der.hex("02060100000000" + "00")))).toBe(2 ** 40)
    for (const hex of ["0200", "020700000000000000", "040101"]) {
      expect(Ber.integerOf(read(Der.hex(hex)))).toBeUndefined()
    }
    for (const oid of ["1.2.840.113549.1.12.10.1.3", "2.16.840.1.101.3.4.2.1", "2.5.29.17", "0.9.2342"]) {
      expect(Ber.oidOf(read(Der.oid(oid)))).toBe(oid)
    }
    expect(Ber.oidOf(read(Der.hex("0602883703".slice(0, 8))))).toBe("2.999")
    for (const hex of ["0600", "040101", `0641${"01".repeat(65)}`]) {
      expect(() => Ber.oidOf(read(Der.hex(hex)))).toThrow(Ber.NotBer)
    }
    expect(() => Ber.childrenOf(read(Der.hex("0500")))).toThrow(Ber.NotBer)
    expect(() => Ber.octetsOf(undefined)).toThrow(Ber.NotBer)
  })
})
