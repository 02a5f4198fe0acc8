import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Coalesced from "../../../src/Quic/engine/coalesced.js"

/** A packet with a long header (RFC 9000, section 17.2) that says how long it is. */
const long = (type: number, payload: number, token = Buffer.alloc(0)) =>
  Buffer.concat([
    Buffer.of(0xc0 | (type << 4), 0, 0, 0, 1, 3, 1, 2, 3, 2, 4, 5),
    ...(type === 0 ? [Buffer.of(token.length), token] : []),
    Buffer.of(0x40 | (payload >> 8), payload & 0xff),
    Buffer.alloc(payload, type)
  ])

const short = (size: number) => Buffer.concat([Buffer.of(0x40), Buffer.alloc(size, 9)])

it("the packets of a datagram come apart as they were put together", () => {
  const packet = FastCheck.oneof(
    FastCheck.tuple(FastCheck.constantFrom(0, 1, 2), FastCheck.integer({ min: 20, max: 1000 })).map(([type, size]) =>
      long(type, size)
    ),
    FastCheck.uint8Array({ maxLength: 63 }).map((token) => long(0, 40, Buffer.from(token)))
  )
  FastCheck.assert(
    FastCheck.property(
      FastCheck.array(packet, { maxLength: 5 }),
      FastCheck.integer({ min: 0, max: 60 }),
      (longs, size) => {
        const packets = [...longs, short(size)]
        expect(Coalesced.split(Buffer.concat(packets))).toEqual(packets)
      }
    )
  )
})

it("any bytes come apart into pieces that are those bytes", () => {
  const bytes = FastCheck.oneof(
    FastCheck.uint8Array({ maxLength: 100 }),
    FastCheck.uint8Array({ maxLength: 100 }).map((rest) => Buffer.concat([Buffer.of(0xe0, 0, 0, 0, 1), rest]))
  )
  FastCheck.assert(
    FastCheck.property(bytes, (bytes) => {
      const pieces = Coalesced.split(Buffer.from(bytes))
      expect(Buffer.concat(pieces).equals(bytes)).toBe(true)
      expect(pieces.every((piece) => piece.length > 0 || bytes.length === 0)).toBe(true)
    }),
    { numRuns: 2000 }
  )
})
