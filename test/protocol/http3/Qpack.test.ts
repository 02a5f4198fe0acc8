import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { type Field, type Fields, sectionSize } from "../../../src/protocol/Fields.js"
import * as Qpack from "../../../src/protocol/http3/Qpack.js"
import { qpackTable } from "../../../src/protocol/http3/QpackTable.js"
import { arbitraryField, codeOf, violationOf } from "./http3Support.js"

const encode = (fields: Fields) => {
  const buffer = Buffer.alloc(Qpack.maxEncodedSize(fields))
  return buffer.subarray(0, Qpack.writeLines(buffer, Qpack.writePrefix(buffer, 0), fields))
}

const decode = (bytes: Buffer, maxSize = 100_000) => Qpack.decode(bytes, 0, bytes.length, maxSize)

const fromHex = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex")

describe("field sections", () => {
  it("RFC 9204 appendix B.1: a literal with the name of the static table", () => {
    expect(decode(fromHex("0000 510b 2f69 6e64 6578 2e68 746d 6c"))).toEqual([[":path", "/index.html"]])
  })

  it("each form of a field line", () => {
    const forms: ReadonlyArray<readonly [string, Field]> = [
      ["d1", [":method", "GET"]],
      ["ff23", ["x-frame-options", "sameorigin"]],
      ["5f50 0a2f 2f2f 2f2f 2f2f 2f2f 2f", ["user-agent", "//////////"]],
      ["51 03 2f 7e 7e", [":path", "/~~"]],
      ["22 7e 7e 01 3b", ["~~", ";"]],
      ["2a 497f 01 3b", ["te", ";"]],
      ["74 01 3b", ["content-length", ";"]]
    ]
    for (const [hex, field] of forms) {
      expect(decode(fromHex(`0000 ${hex}`))).toEqual([field])
    }
  })

  it("a request of gRPC takes few bytes", () => {
    const request: Fields = [
      [":method", "POST"],
      [":scheme", "https"],
      [":path", "/dag.v1.DagService/SubmitTransaction"],
      [":authority", "peer-node:50051"],
      ["content-type", "application/grpc"],
      ["te", "trailers"]
    ]
    expect(encode(request)).toHaveLength(69)
    expect(decode(encode(request))).toEqual(request)
  })

  it("secrets are marked, so that no intermediary puts them into a table", () => {
    expect(encode([["authorization", "x"]]).toString("hex")).toBe("00007f450178")
    expect(encode([["proxy-authorization", "x"]])[2]).toBe(0x3f)
    expect(encode([["accept", "x"]])[2]).toBe(0x5f)
  })

  it("decoding gives what was encoded, and its size is what RFC 9114 counts", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(arbitraryField, { maxLength: 20 }), (fields) => {
        expect(decode(encode(fields), sectionSize(fields))).toEqual(fields)
        const parts = Buffer.concat([Buffer.alloc(2), Qpack.encodeLines(fields), Qpack.encodeLines(fields)])
        expect(decode(parts)).toEqual([...fields, ...fields])
        if (fields.length > 0) {
          expect(codeOf(() => decode(encode(fields), sectionSize(fields) - 1))).toBe("H3_EXCESSIVE_LOAD")
        }
      })
    )
  })

  it("all of the static table, and names of it with any value", () => {
    for (const [index, field] of qpackTable.entries()) {
      expect(decode(encode([field]))).toEqual([field])
      expect(
        decode(Buffer.concat([Buffer.alloc(2), index < 63 ? Buffer.of(0xc0 + index) : Buffer.of(0xff, index - 63)]))
      ).toEqual([field])
      expect(decode(encode([[field[0], "another"]]))).toEqual([[field[0], "another"]])
    }
  })

  it("a few bytes can't be made into much", () => {
    const bomb = Buffer.concat([Buffer.alloc(2), Buffer.alloc(1_000_000, 0xd1)])
    expect(violationOf(() => decode(bomb, 16_384))).toMatchObject({ scope: "stream", code: "H3_EXCESSIVE_LOAD" })
  })

  const broken: ReadonlyArray<readonly [string, string]> = [
    ["nothing", ""],
    ["half a prefix", "00"],
    ["an insert count", "0200 d1"],
    ["a base below the insert count", "0080 d1"],
    ["an indexed field of the dynamic table", "0000 80"],
    ["a name of the dynamic table", "0000 40 01 61"],
    ["an indexed field behind the base", "0000 10"],
    ["a name behind the base", "0000 00 01 61"],
    ["entry 99 of the static table", "0000 ff24"],
    ["an index without its end", "0000 ff"],
    ["an index of 2^32 and more", "0000 ff ff ff ff ff ff 01"],
    ["an index that never ends", "0000 ff 80 80 80 80 80 80 80 80 80 80 80 80 00"],
    ["a string longer than the section", "0000 51 05 2f"],
    ["a string one byte longer than the section", "0000 51 02 2f"],
    ["a name longer than the section", "0000 27 05 2f"],
    ["a name without a value", "0000 21 61"],
    ["a string that is not Huffman's", "0000 51 81 00"]
  ]
  for (const [name, hex] of broken) {
    it(`${name} ends the connection`, () => {
      expect(violationOf(() => decode(fromHex(hex)))).toMatchObject({
        scope: "connection",
        code: "QPACK_DECOMPRESSION_FAILED"
      })
    })
  }

  it("any bytes give fields or a violation", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.uint8Array({ maxLength: 60 }), (bytes) => {
        const section = Buffer.concat([Buffer.alloc(2), bytes])
        violationOf(() => decode(section, 500))
        violationOf(() => decode(Buffer.from(bytes), 500))
      }),
      { numRuns: 5000 }
    )
  })
})

describe("the streams of QPACK", () => {
  it("an encoder may only set the capacity that it has", () => {
    const check = (...bytes: ReadonlyArray<number>) => codeOf(() => Qpack.checkEncoderStream(Uint8Array.from(bytes)))
    expect(check(0x20, 0x20)).toBe(undefined)
    for (const first of [0x21, 0x3f, 0x80, 0xc0, 0x40, 0x60, 0x00]) {
      expect(check(0x20, first)).toBe("QPACK_ENCODER_STREAM_ERROR")
    }
  })

  it("a decoder may only give up streams", () => {
    const check = (...chunks: ReadonlyArray<ReadonlyArray<number>>) =>
      codeOf(() => {
        const stream = Qpack.makeDecoderStream()
        for (const chunk of chunks) {
          stream(Uint8Array.from(chunk))
        }
      })
    expect(check([0x44, 0x7f, 0x80], [0x81], [0x01, 0x40])).toBe(undefined)
    expect(check([0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f])).toBe(undefined)
    expect(check([0x80])).toBe("QPACK_DECODER_STREAM_ERROR")
    expect(check([0x00])).toBe("QPACK_DECODER_STREAM_ERROR")
    expect(check([0x44], [0x01])).toBe("QPACK_DECODER_STREAM_ERROR")
    expect(
      check(
        [0x7f],
        Array.from({ length: 11 }, () => 0x80)
      )
    ).toBe("QPACK_DECODER_STREAM_ERROR")
  })
})
