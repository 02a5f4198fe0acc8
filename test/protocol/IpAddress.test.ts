import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as IpAddress from "../../src/protocol/IpAddress.js"

const ipv4 = fc.ipV4()
const ipv6 = fc.ipV6()
/** Text that is nearly an address. */
const nearly = fc.stringOf(fc.constantFrom(..."0123456789abcdefF:.:::/ g"), { maxLength: 48 })

describe("an IP address", () => {
  it("is what Node takes for one, without leading zeros", () => {
    fc.assert(
      fc.property(fc.oneof(ipv4, ipv6, nearly), (text) => {
        expect(IpAddress.parse(text) !== undefined).toBe(Net.isIP(text) !== 0)
      }),
      { numRuns: 2000 }
    )
  })

  it.each([
    ["127.0.0.1", "127.0.0.1"],
    ["2001:DB8::0001", "2001:db8::1"],
    ["2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["0:0:0:0:0:0:0:0", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["fe80::1%eth0", "fe80::1"],
    ["::ffff:c000:0207", "::ffff:192.0.2.7"],
    ["::1.2.3.4", "::102:304"]
  ])("%s is written as %s", (text, written) => {
    const address = IpAddress.parse(text)
    expect(address === undefined ? undefined : IpAddress.format(address)).toBe(written)
  })

  it.each([
    "",
    ":",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7::8",
    "1::2::3",
    "::12345",
    "1.2.3",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4%eth0",
    "::1.2.3",
    "::1.2.3.4:5",
    "::1%",
    "::1%a b",
    `::1%${"e".repeat(65)}`
  ])("is not %s", (text) => expect(IpAddress.parse(text)).toBeUndefined())

  it("comes back from its text", () => {
    fc.assert(
      fc.property(fc.oneof(fc.bigUintN(128), fc.bigUintN(20), fc.bigUintN(48)), (value) => {
        expect(IpAddress.parse(IpAddress.format({ bits: 128, value }))).toEqual({ bits: 128, value })
        const small = value & 0xffff_ffffn
        expect(IpAddress.parse(IpAddress.format({ bits: 32, value: small }))).toEqual({ bits: 32, value: small })
      })
    )
  })

  it("is written as URLs write it", () => {
    fc.assert(
      fc.property(ipv6, (text) => {
        const address = IpAddress.parse(text)
        // URLs write no IPv4 address within IPv6.
        if (address !== undefined && IpAddress.unmapped(address) === address) {
          expect(`[${IpAddress.format(address)}]`).toBe(new URL(`http://[${text}]`).hostname)
        }
      })
    )
  })

  it("of a number of bytes is the same as of text", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
        expect(IpAddress.fromBytes(bytes)).toEqual(IpAddress.parse([...bytes].join(".")))
      })
    )
  })

  it("of IPv4 within IPv6 is IPv4, and one behind a translator is known", () => {
    const parse = (text: string) => IpAddress.parse(text) ?? expect.fail(text)
    expect(IpAddress.unmapped(parse("::ffff:10.1.2.3"))).toEqual(parse("10.1.2.3"))
    expect(IpAddress.unmapped(parse("::10.1.2.3"))).toEqual(parse("::10.1.2.3"))
    expect(IpAddress.translated(parse("64:ff9b::10.1.2.3"))).toEqual(parse("10.1.2.3"))
    expect(IpAddress.translated(parse("64:ff9b:1::10.1.2.3"))).toBeUndefined()
  })
})
