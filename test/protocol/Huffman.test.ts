import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Huffman from "../../src/protocol/Huffman.js"

const encode = (text: string) => {
  const buffer = Buffer.alloc(4 * text.length + 4)
  return buffer.subarray(0, Huffman.write(buffer, 0, text))
}

const decode = (bytes: Uint8Array) => Huffman.read(bytes, 0, bytes.length)

describe("Huffman's code", () => {
  const samples: ReadonlyArray<readonly [string, string]> = [
    ["www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"],
    ["no-cache", "a8eb10649cbf"],
    ["custom-key", "25a849e95ba97d7f"],
    ["custom-value", "25a849e95bb8e8b4bf"],
    ["302", "6402"],
    ["private", "aec3771a4b"],
    ["Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"],
    ["https://www.example.com", "9d29ad171863c78f0b97c8e9ae82ae43d3"],
    ["307", "640eff"],
    ["gzip", "9bd9ab"],
    [
      "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
      "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007"
    ]
  ]
  for (const [text, hex] of samples) {
    it(`RFC 7541 appendix C: ${text}`, () => {
      expect(encode(text).toString("hex")).toBe(hex)
      expect(Huffman.encodedSize(text)).toBe(hex.length / 2)
      expect(decode(Buffer.from(hex, "hex"))).toBe(text)
    })
  }

  it("each byte has the code of RFC 7541 appendix B", () => {
    const codes: ReadonlyArray<readonly [number, string]> = [
      [0, "ffc7"],
      [10, "fffffff3"],
      [92, "fffe1f"],
      [127, "ffffffcf"],
      [128, "fffe6f"],
      [199, "fffff67f"],
      [249, "ffffffef"],
      [255, "fffffbbf"]
    ]
    expect(codes.map(([byte]) => [byte, encode(String.fromCharCode(byte)).toString("hex")])).toEqual(codes)
  })

  it("decoding gives what was encoded, and its size was known", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.uint8Array({ maxLength: 5000 }), (bytes) => {
        const text = Buffer.from(bytes).toString("latin1")
        const encoded = encode(text)
        expect(encoded).toHaveLength(Huffman.encodedSize(text))
        expect(decode(encoded)).toBe(text)
      })
    )
  })

  it("what decodes is the only encoding of what it gives", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.uint8Array({ maxLength: 12 }), (bytes) => {
        const text = decode(bytes)
        if (text !== undefined) {
          expect(encode(text)).toEqual(Buffer.from(bytes))
        }
      }),
      { numRuns: 5000 }
    )
  })

  it("padding that is too long or not all ones, and the end of string, are no strings", () => {
    for (const hex of ["ff", "00", "1fff", "ffffffff", "07fffffffc"]) {
      expect(decode(Buffer.from(hex, "hex"))).toBe(undefined)
    }
    expect(decode(Buffer.from("07", "hex"))).toBe("0")
    expect(decode(new Uint8Array(0))).toBe("")
  })

  it("a character that is no byte is refused", () => {
    expect(() => Huffman.encodedSize("aĊb")).toThrow(RangeError)
  })
})
