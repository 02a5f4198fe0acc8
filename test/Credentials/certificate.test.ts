import { X509Certificate } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { identityOf, parseAltNames, spiffeIdOf } from "../../src/Credentials/internal/certificate.js"

const identity = (options: DevCa.IssueOptions) =>
  Effect.flatMap(DevCa.make(), (ca) =>
    Effect.map(ca.issue(options), ({ cert }) => identityOf(new X509Certificate(cert)))
  )

describe("identityOf", () => {
  it.effect("reads fingerprint, subject, names and end", () =>
    Effect.gen(function* () {
      const notAfter = new Date("2038-01-19T03:14:08Z")
      const ca = yield* DevCa.make()
      const { cert } = yield* ca.issue({ names: ["a.example", "10.0.0.7"], spiffeId: "spiffe://mesh/a", notAfter })
      const x509 = new X509Certificate(cert)
      expect(identityOf(x509)).toEqual({
        fingerprint: x509.fingerprint256.replaceAll(":", "").toLowerCase(),
        subject: "CN=a.example",
        subjectAltNames: ["DNS:a.example", "IP Address:10.0.0.7", "URI:spiffe://mesh/a"],
        spiffeId: Option.some("spiffe://mesh/a"),
        notAfter,
        trustAnchor: Option.none()
      })
    })
  )

  it.effect("keeps a name together that holds what would part it", () =>
    Effect.gen(function* () {
      const names = ["evil.example, DNS:good.example", 'quo"te', "back\\slash", "nul\0.example", "line\nbreak"]
      const { subjectAltNames } = yield* identity({ names })
      expect(subjectAltNames).toEqual(names.map((name) => `DNS:${name}`))
    })
  )

  it.effect("keeps a subject in one line", () =>
    Effect.map(identity({ names: [], commonName: "a, O=b\nCN=c" }), ({ subject }) =>
      expect(subject).toBe("CN=a\\, O=b\\0ACN=c")
    )
  )
})

describe("parseAltNames", () => {
  const table: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["", []],
    ["DNS:a", ["DNS:a"]],
    ["DNS:a, DNS:b", ["DNS:a", "DNS:b"]],
    ["DNS:a, IP Address:0:0:0:0:0:0:0:1", ["DNS:a", "IP Address:0:0:0:0:0:0:0:1"]],
    ['DNS:"a, DNS:b", DNS:c', ["DNS:a, DNS:b", "DNS:c"]],
    ['DNS:"\\u0000"', ["DNS:\0"]],
    ['DirName:"CN = a, O = b"', ["DirName:CN = a, O = b"]],
    ["othername:<unsupported>, DNS:b", ["othername:<unsupported>", "DNS:b"]],
    ["IP Address:<invalid>", ["IP Address:<invalid>"]],
    // What does not read as a list has no names, not even those before the trouble.
    ["DNS:a, garbage", []],
    ['DNS:a, DNS:"b', []],
    ['DNS:a, DNS:"b"c', []],
    ['DNS:"\\x"', []],
    ["DNS:a,DNS:b", []],
    [", DNS:a", []],
    [":", []]
  ]
  it.each(table)("%s", (text, names) => {
    expect(parseAltNames(text)).toEqual(names)
  })

  it("gives back what is quoted as Node does, and never throws", () => {
    const value = FastCheck.string().map((text) => (/[,"\\']/.test(text) ? JSON.stringify(text) : text))
    FastCheck.assert(
      FastCheck.property(FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("DNS", "URI"), value)), (names) => {
        const parsed = parseAltNames(names.map(([kind, name]) => `${kind}:${name}`).join(", "))
        expect(parsed.length).toBe(names.length)
      })
    )
    FastCheck.assert(FastCheck.property(FastCheck.string(), (text) => void parseAltNames(text)))
  })
})

describe("spiffeIdOf", () => {
  const good = [
    "spiffe://mesh",
    "spiffe://mesh.example/ns/a/sa/b",
    "spiffe://a-b_c.1/A.b-c_9",
    `spiffe://${"a".repeat(255)}/x`
  ]
  it.each(good)("%s", (uri) => {
    expect(spiffeIdOf(["DNS:a", `URI:${uri}`])).toEqual(Option.some(uri))
  })

  const bad = [
    "spiffe:///a",
    "spiffe://",
    "SPIFFE://mesh/a",
    "https://mesh/a",
    "spiffe://Mesh/a",
    "spiffe://mesh:8443/a",
    "spiffe://user@mesh/a",
    "spiffe://mesh/",
    "spiffe://mesh/a/",
    "spiffe://mesh//a",
    "spiffe://mesh/./a",
    "spiffe://mesh/a/..",
    "spiffe://mesh/a?x",
    "spiffe://mesh/a#x",
    "spiffe://mesh/%61",
    "spiffe://mesh/a b",
    "spiffe://mesh/a\n",
    `spiffe://${"a".repeat(256)}/x`,
    `spiffe://mesh/${"a".repeat(2048)}`
  ]
  it.each(bad)("not %s", (uri) => {
    expect(spiffeIdOf([`URI:${uri}`])).toEqual(Option.none())
  })

  it("not one of two URIs", () => {
    expect(spiffeIdOf(["URI:spiffe://mesh/a", "URI:spiffe://mesh/b"])).toEqual(Option.none())
    expect(spiffeIdOf(["URI:spiffe://mesh/a", "URI:https://mesh/a"])).toEqual(Option.none())
    expect(spiffeIdOf(["DNS:spiffe://mesh/a"])).toEqual(Option.none())
  })
})
