import * as Net from "node:net"
import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Cidr from "../../src/protocol/Cidr.js"
import * as IpAddress from "../../src/protocol/IpAddress.js"

const address = (text: string) => IpAddress.parse(text) ?? expect.fail(`${text} is no address`)
const prefix = (text: string) => Cidr.parse(text) ?? expect.fail(`${text} is no range`)
const has = (list: ReadonlyArray<string>, host: string) => Cidr.matcher(list.map(prefix))(address(host))

/** Few addresses, so that ranges meet and contain each other. */
const ipv4 = fc.tuple(fc.constantFrom(10, 11), fc.nat(3), fc.nat(3), fc.nat(255)).map((bytes) => bytes.join("."))
const ipv6 = fc
  .tuple(fc.constantFrom("2001", "2002"), fc.nat(1), fc.nat(3), fc.nat(65_535))
  .map(([a, b, c, d]) => `${a}:${b}::${c.toString(16)}:${d.toString(16)}`)
const range = fc.oneof(
  fc.tuple(ipv4, fc.nat(32)).map(([host, length]) => ({ host, length, family: "ipv4" as const })),
  fc.tuple(ipv6, fc.nat(128)).map(([host, length]) => ({ host, length, family: "ipv6" as const }))
)

describe("a set of ranges", () => {
  it("has in it what Node's own has, family by family", () => {
    fc.assert(
      fc.property(fc.array(range, { maxLength: 20 }), fc.oneof(ipv4, ipv6), (ranges, host) => {
        const family = Net.isIPv4(host) ? "ipv4" : "ipv6"
        const oracle = new Net.BlockList()
        for (const each of ranges.filter((each) => each.family === family)) {
          oracle.addSubnet(each.host, each.length, each.family)
        }
        const texts = ranges.map((each) => `${each.host}/${each.length}`)
        expect(has(texts, host)).toBe(oracle.check(host, family))
      }),
      { numRuns: 1000 }
    )
  })

  it.each([
    ["an address alone", ["192.0.2.7"], "192.0.2.7", true],
    ["no other", ["192.0.2.7"], "192.0.2.8", false],
    ["the last of a range", ["10.0.0.0/8"], "10.255.255.255", true],
    ["none behind it", ["10.0.0.0/8"], "11.0.0.0", false],
    ["whatever stands behind the prefix", ["10.1.2.3/8"], "10.9.9.9", true],
    ["IPv4 within IPv6", ["10.0.0.0/8"], "::ffff:10.1.2.3", true],
    ["IPv4, of a range within IPv6", ["::ffff:10.0.0.0/104"], "10.1.2.3", true],
    ["all of IPv4", ["0.0.0.0/0"], "255.255.255.255", true],
    ["all of IPv6", ["::/0"], "2001:db8::1", true],
    ["no IPv4 in IPv6", ["::/0"], "::ffff:10.1.2.3", false],
    ["no IPv6 in IPv4", ["0.0.0.0/0"], "::1", false],
    ["an address with a zone", ["fe80::/10"], "fe80::1%eth0", true],
    ["nothing in an empty one", [], "10.0.0.1", false]
  ] as const)("%s", (_, list, host, expected) => expect(has(list, host)).toBe(expected))

  it.each([
    "",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/08",
    "10.0.0/8",
    "host/8",
    "::1%eth0/128",
    "10.0.0.0/8 ",
    "10.0.0.0/8/8",
    "010.0.0.0/8",
    "0x0a000000/8"
  ])("is not made of %j", (text) => expect(Cidr.parse(text)).toBeUndefined())

  it("is not made of any other text, and never throws", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(Cidr.parse(text) === undefined || /^[0-9a-f:.]+(\/[0-9]+)?$/i.test(text)).toBe(true)
      })
    )
  })

  it("of 20,000 ranges is asked in microseconds", () => {
    const list = Array.from({ length: 20_000 }, (_, i) => `${(i % 200) + 1}.${Math.floor(i / 200)}.7.0/24`)
    const matches = Cidr.matcher(list.map(prefix))
    const began = performance.now()
    let count = 0
    for (let i = 0; i < 20_000; i++) {
      count += matches({ bits: 32, value: BigInt(i) << 16n }) ? 1 : 0
    }
    expect(count).toBe(0)
    // One after the other would be 400 million comparisons.
    expect(performance.now() - began).toBeLessThan(2000)
  })
})
