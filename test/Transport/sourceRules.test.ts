import { describe, expect, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as fc from "fast-check"
import type { SourceOptions } from "../../src/Transport/AdmissionSources.js"
import * as SourceRules from "../../src/Transport/internal/sourceRules.js"

const rules = (options: SourceOptions) => Either.getOrThrowWith(SourceRules.compile(options), (why) => new Error(why))
const admits = (options: SourceOptions, host: string | undefined) => rules(options).admits(host)

describe("the sources of an admission", () => {
  it.each([
    ["all come in where nothing is said", {}, "192.0.2.7", true],
    ["none that is denied", { deny: ["192.0.2.0/24"] }, "192.0.2.7", false],
    ["all others", { deny: ["192.0.2.0/24"] }, "198.51.100.1", true],
    ["those that are allowed", { allow: ["192.0.2.0/24"] }, "192.0.2.7", true],
    ["and nobody else", { allow: ["192.0.2.0/24"] }, "198.51.100.1", false],
    ["nobody where nobody is allowed", { allow: [] }, "198.51.100.1", false],
    ["none that is allowed and denied", { allow: ["192.0.2.0/24"], deny: ["192.0.2.7"] }, "192.0.2.7", false],
    [
      "none that is denied in a part of what is allowed",
      { allow: ["192.0.2.7"], deny: ["0.0.0.0/0"] },
      "192.0.2.7",
      false
    ],
    ["none of a denied network by another name", { deny: ["192.0.2.0/24"] }, "::ffff:192.0.2.7", false],
    ["nor in hexadecimal", { deny: ["192.0.2.0/24"] }, "::FFFF:c000:207", false],
    ["nor behind a translator", { deny: ["192.0.2.0/24"] }, "64:ff9b::192.0.2.7", false],
    ["nobody for being behind a translator", { allow: ["192.0.2.0/24"] }, "64:ff9b::192.0.2.7", false],
    ["IPv4 where IPv6 is denied", { deny: ["::/0"] }, "::ffff:192.0.2.7", true],
    ["no IPv6 where IPv6 is denied", { deny: ["::/0"] }, "2001:db8::1", false],
    ["no text that is no address", { deny: ["192.0.2.7"] }, "somebody", false],
    ["whoever has no address", { allow: [] }, undefined, true],
    [
      "a proxy, which looks whether all is well",
      { allow: ["10.0.0.0/8"], proxyProtocol: { from: ["192.0.2.7"] } },
      "192.0.2.7",
      true
    ],
    ["no proxy that is denied", { deny: ["192.0.2.7"], proxyProtocol: { from: ["192.0.2.7"] } }, "192.0.2.7", false]
  ] as const)("let in: %s", (_, options, host, expected) => expect(admits(options, host)).toBe(expected))

  it("of which what is denied wins, whatever is allowed", () => {
    const network = fc.tuple(fc.ipV4(), fc.nat(32)).map(([host, length]) => `${host}/${length}`)
    fc.assert(
      fc.property(fc.array(network), fc.array(network), fc.ipV4(), (allow, deny, host) => {
        expect(admits({ allow, deny }, host)).toBe(admits({ allow }, host) && admits({ deny }, host))
      })
    )
  })

  it.each([
    [{ allow: ["10.0.0.0/8", "10.0.0/8"] }, 'sources.allow[1]: "10.0.0/8" is no network'],
    [{ deny: ["node-a"] }, 'sources.deny[0]: "node-a" is no network'],
    [{ proxyProtocol: { from: ["10.0.0.0/33"] } }, 'sources.proxyProtocol.from[0]: "10.0.0.0/33" is no network'],
    [{ proxyProtocol: { from: [], timeout: -1 } }, "sources.proxyProtocol.timeout: -1 is no duration"],
    [{ connections: -1 }, "sources.connections: -1 is no number"],
    [{ handshakes: Number.NaN }, "sources.handshakes: NaN is no number"],
    [{ connectionsPerSecond: 0 }, "sources.connectionsPerSecond: a rate is above 0"],
    [{ handshakesPerSecond: { rate: 10, burst: 0 } }, "sources.handshakesPerSecond: a rate is above 0"],
    [{ penalty: { refusals: -2 } }, "sources.penalty.refusals: -2 is no number"],
    [{ penalty: { time: Number.NaN } }, "sources.penalty.time: NaN is no duration"]
  ] as const)("%j is malformed, and the text says where", (options, why) => {
    expect(Either.getOrElse(Either.flip(SourceRules.compile(options)), () => "")).toContain(why)
  })

  it("have reasons for the penalty box, of which those that any client can meet with count only if named", () => {
    const counts = (options: SourceOptions) =>
      (["UntrustedIssuer", "TooMuch", "HandshakeTimeout", "ConnectionRate"] as const).filter(
        rules(options).countsAsRefusal
      )
    expect(counts({})).toEqual(["UntrustedIssuer", "TooMuch"])
    expect(counts({ penalty: { reasons: ["ConnectionRate"] } })).toEqual(["ConnectionRate"])
    expect(counts({ penalty: { reasons: [] } })).toEqual([])
  })
})
