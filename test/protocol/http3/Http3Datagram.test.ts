import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Http3Datagram from "../../../src/protocol/http3/Http3Datagram.js"
import { violationOf } from "./http3Support.js"

describe("HTTP datagrams", () => {
  it("a quarter of the stream's number stands before the payload", () => {
    expect(Http3Datagram.encode(0, Uint8Array.of(7)).toString("hex")).toBe("0007")
    expect(Http3Datagram.encode(256, Uint8Array.of(7)).toString("hex")).toBe("404007")
    expect(Http3Datagram.overhead(256)).toBe(2)
  })

  it("decoding gives what was encoded", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.integer({ min: 0, max: 2 ** 50 }),
        FastCheck.uint8Array({ maxLength: 100 }),
        (quarter, payload) => {
          const bytes = Http3Datagram.encode(quarter * 4, payload)
          expect(bytes).toHaveLength(Http3Datagram.overhead(quarter * 4) + payload.length)
          expect(Http3Datagram.decode(bytes)).toEqual({ streamId: quarter * 4, payload: Buffer.from(payload) })
        }
      )
    )
  })

  it("one without the number of a stream, or with more than there are, ends the connection", () => {
    for (const hex of ["", "40", "800000", "c0000000000000", "d000000000000000", "ffffffffffffffff"]) {
      expect(violationOf(() => Http3Datagram.decode(Buffer.from(hex, "hex")))).toMatchObject({
        scope: "connection",
        code: "H3_DATAGRAM_ERROR"
      })
    }
    expect(Http3Datagram.decode(Buffer.from("cfffffffffffffff", "hex")).payload).toHaveLength(0)
  })
})
