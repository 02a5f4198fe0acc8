import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Crc32c from "../../../src/protocol/proxy/Crc32c.js"
import * as ProxyHeader from "../../../src/protocol/proxy/ProxyHeader.js"
import * as Headers from "../../fixtures/proxyHeader.js"

const read = (bytes: Uint8Array) => ProxyHeader.read(bytes)
const source = (bytes: Uint8Array) => {
  const outcome = read(bytes)
  return outcome._tag === "Header" ? outcome.source : outcome._tag
}

const ipv4 = fc.ipV4().map((host) => ({ host, bytes: Buffer.from(host.split(".").map(Number)) }))
const port = fc.nat(65_535)
const tlvs = fc.array(
  fc.tuple(
    fc.integer({ min: 0x20, max: 0xff }),
    fc.uint8Array({ maxLength: 40 }).map((value) => Buffer.from(value))
  ),
  { maxLength: 5 }
)

describe("a header of the PROXY protocol", () => {
  it("is read the same however it arrives, with what follows it left alone", () => {
    fc.assert(
      fc.property(
        ipv4,
        ipv4,
        port,
        port,
        tlvs,
        fc.boolean(),
        fc.uint8Array({ maxLength: 50 }),
        (from, to, fromPort, toPort, tlvs, isChecked, rest) => {
          const header = Headers.make({ from: from.bytes, to: to.bytes, fromPort, toPort, tlvs, isChecked })
          const all = Buffer.concat([header, rest])
          for (let end = 0; end < header.length; end++) {
            expect(read(all.subarray(0, end))).toEqual({ _tag: "Incomplete" })
          }
          expect(read(all)).toEqual({
            _tag: "Header",
            size: header.length,
            source: { host: from.host, port: fromPort }
          })
        }
      ),
      { numRuns: 200 }
    )
  })

  it("is a header, not one yet, or none, whatever comes", () => {
    const valid = Headers.make({ isChecked: true, tlvs: [[0x04, Buffer.alloc(9)]] })
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 600 }),
          fc.uint8Array({ maxLength: 600 }).map((rest) => Buffer.concat([Headers.signature, rest])),
          fc.tuple(fc.nat(valid.length - 1), fc.nat(255)).map(([at, byte]) => {
            const changed = Buffer.from(valid)
            changed[at] = byte
            return changed
          })
        ),
        (bytes) => {
          const outcome = read(bytes)
          if (outcome._tag === "Header") {
            expect(outcome.size).toBeLessThanOrEqual(Math.min(bytes.length, ProxyHeader.maxSize))
          }
          if (bytes.length >= ProxyHeader.maxSize) {
            expect(outcome._tag).not.toBe("Incomplete")
          }
        }
      ),
      { numRuns: 2000 }
    )
  })

  it("with a checksum is none if any of its bits is another", () => {
    const valid = Headers.make({ isChecked: true, tlvs: [[0xe0, Buffer.from("zone")]] })
    expect(read(valid)._tag).toBe("Header")
    for (let bit = 16 * 8; bit < valid.length * 8; bit++) {
      const changed = Buffer.from(valid)
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      // A type that is no checksum's any more leaves nothing to check.
      if (bit >> 3 !== valid.length - 7) {
        expect(read(changed)._tag, `bit ${bit}`).toBe("Invalid")
      }
    }
  })

  it("has the checksum of RFC 9260 and iSCSI", () => {
    expect(Crc32c.of(Buffer.from("123456789"))).toBe(0xe306_9283)
    // RFC 3720, section B.4.
    expect(Crc32c.of(Buffer.alloc(32))).toBe(0x8a91_36aa)
  })

  const v6 = Buffer.from("20010db8000000000000000000000007", "hex")
  const mapped = Buffer.from("00000000000000000000ffffc0000207", "hex")
  const unix = Buffer.alloc(108, "/run/x")

  it.each([
    ["IPv4", Headers.make({}), { host: "192.0.2.7", port: 4711 }],
    ["IPv6", Headers.make({ family: 0x21, from: v6, to: v6 }), { host: "2001:db8::7", port: 4711 }],
    ["IPv4 within IPv6", Headers.make({ family: 0x21, from: mapped, to: v6 }), { host: "192.0.2.7", port: 4711 }],
    [
      "LOCAL, as looks at health are",
      Headers.make({ command: 0, family: 0, from: Buffer.alloc(0), to: Buffer.alloc(0), ports: false }),
      undefined
    ],
    ["LOCAL with addresses, which mean nothing", Headers.make({ command: 0 }), undefined],
    ["LOCAL with a family of more than there is", Headers.make({ command: 0, family: 0x21 }), undefined],
    ["AF_UNSPEC", Headers.make({ family: 0, from: Buffer.alloc(0), to: Buffer.alloc(0), ports: false }), undefined],
    ["AF_UNIX", Headers.make({ family: 0x31, from: unix, to: unix, ports: false }), undefined],
    ["UDP, which this is not", Headers.make({ family: 0x12 }), undefined]
  ] as const)("of %s says where from", (_, header, expected) => expect(source(header)).toEqual(expected))

  const cut = Headers.make({ tlvs: [[0x04, Buffer.alloc(9)]] })
  const changed = (at: number, byte: number) => {
    const header = Headers.make({})
    header[at] = byte
    return header
  }

  it.each([
    ["version 1", Buffer.from("PROXY TCP4 192.0.2.7 192.0.2.1 4711 443\r\n")],
    ["TLS", Buffer.of(22, 3, 1)],
    ["another version", changed(12, 0x11)],
    ["another command", changed(12, 0x22)],
    ["another family", changed(13, 0x41)],
    ["another protocol", changed(13, 0x13)],
    ["cut addresses", Headers.make({ to: Buffer.alloc(0) })],
    ["more than 536 bytes", Headers.make({ tlvs: [[0x04, Buffer.alloc(506)]] })],
    [
      "a TLV that is longer than the header",
      (() => {
        const header = Buffer.from(cut)
        header.writeUInt16BE(10, header.length - 11)
        return header
      })()
    ],
    ["half a TLV", Headers.make({ extra: Buffer.of(0x04, 0) })],
    ["two checksums", Headers.make({ isChecked: true, tlvs: [[0x03, Buffer.alloc(4)]] })],
    ["a checksum of three bytes", Headers.make({ tlvs: [[0x03, Buffer.alloc(3)]] })]
  ] as const)("is not one of %s", (_, bytes) => expect(read(bytes)._tag).toBe("Invalid"))

  it("may have 536 bytes", () => {
    const header = Headers.make({ tlvs: [[0x04, Buffer.alloc(505)]] })
    expect([header.length, read(header)._tag]).toEqual([536, "Header"])
  })
})
