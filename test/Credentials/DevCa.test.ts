import { createPrivateKey, X509Certificate } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { blocks } from "../../src/Credentials/Pem.js"

const x509s = (pem: string) => (blocks(pem) ?? []).map(({ text }) => new X509Certificate(text))
const only = (pem: string) => {
  const [first] = x509s(pem)
  if (first === undefined) {
    throw new Error("no certificate")
  }
  return first
}

describe("DevCa", () => {
  it.effect("makes a root that may sign certificates and nothing else", () =>
    Effect.gen(function* () {
      const ca = only((yield* DevCa.make()).ca)
      expect(ca.ca).toBe(true)
      expect(ca.keyUsage).toBeUndefined()
      expect(ca.verify(ca.publicKey)).toBe(true)
      expect(ca.publicKey.asymmetricKeyDetails?.namedCurve).toBe("prime256v1")
    })
  )

  it.effect("issues a leaf for names of every kind", () =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make()
      const { cert, key } = yield* ca.issue({
        names: ["node-a.example", "127.0.0.1", "::1", "https://node-a.example/x"],
        spiffeId: "spiffe://mesh/node-a"
      })
      const leaf = only(cert)
      expect(leaf.subjectAltName).toBe(
        "DNS:node-a.example, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, " +
          "URI:https://node-a.example/x, URI:spiffe://mesh/node-a"
      )
      expect(leaf.subject).toBe("CN=node-a.example")
      expect(leaf.ca).toBe(false)
      expect(leaf.checkIssued(only(ca.ca))).toBe(true)
      expect(leaf.verify(only(ca.ca).publicKey)).toBe(true)
      expect(leaf.checkPrivateKey(createPrivateKey(Redacted.value(key)))).toBe(true)
      // Extended key usage: server and client.
      expect([...leaf.keyUsage].sort()).toEqual(["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"])
      expect(Redacted.value(key)).toMatch(/^-----BEGIN PRIVATE KEY-----\n/)
    })
  )

  it.effect("is valid for a day from a minute ago, unless told otherwise", () =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make()
      const day = only((yield* ca.issue({ names: ["a"] })).cert)
      const span = Date.parse(day.validTo) - Date.parse(day.validFrom)
      expect(span).toBe((24 * 60 + 1) * 60_000)
      expect(Date.parse(day.validFrom)).toBeLessThanOrEqual(Date.now() - 60_000)
      const hour = only((yield* ca.issue({ names: ["a"], validFor: "1 hour" })).cert)
      expect(Date.parse(hour.validTo) - Date.parse(hour.validFrom)).toBe(61 * 60_000)
      const past = { notBefore: new Date("2020-01-01T00:00:00Z"), notAfter: new Date("2020-02-01T00:00:00Z") }
      const old = only((yield* ca.issue({ names: ["a"], ...past })).cert)
      expect([new Date(old.validFrom), new Date(old.validTo)]).toEqual([past.notBefore, past.notAfter])
    })
  )

  it.effect("limits the usage, signs with the own key, and issues through an intermediate", () =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make({ intermediate: true, commonName: "root" })
      const client = x509s((yield* ca.issue({ names: ["a"], usages: ["client"] })).cert)
      expect(client[0]?.keyUsage).toEqual(["1.3.6.1.5.5.7.3.2"])
      expect(client.length).toBe(2)
      expect(client[0]?.checkIssued(client[1] as X509Certificate)).toBe(true)
      expect(client[1]?.checkIssued(only(ca.ca))).toBe(true)
      const self = x509s((yield* ca.issue({ names: ["a"], selfSigned: true })).cert)
      expect(self.length).toBe(1)
      expect(self[0]?.verify(self[0].publicKey)).toBe(true)
      expect(self[0]?.ca).toBe(false)
    })
  )

  it.effect("gives every certificate a positive random serial number of its own", () =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make()
      const serials = yield* Effect.forEach(Array.from({ length: 40 }), () =>
        Effect.map(ca.issue({ names: ["a"] }), ({ cert }) => only(cert).serialNumber)
      )
      expect(new Set(serials).size).toBe(40)
      for (const serial of serials) {
        expect(serial).toMatch(/^[0-9A-F]{28,34}$/)
      }
    })
  )

  it.effect("takes names that need escaping, none, and very long ones", () =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make({ commonName: "a, b=c\\" })
      expect(only(ca.ca).subject).toBe("CN=a\\, b=c\\\\")
      const nameless = only((yield* ca.issue({ names: [] })).cert)
      expect(nameless.subjectAltName).toBeUndefined()
      const long = only((yield* ca.issue({ names: [`${"a".repeat(60)}.${"b".repeat(60)}.example`] })).cert)
      expect(long.subject.length).toBe("CN=".length + 64)
    })
  )

  it.effect("leaves the global Reflect as it was", () =>
    Effect.gen(function* () {
      yield* DevCa.make()
      expect("getMetadata" in Reflect).toBe(false)
      expect("getOwnMetadata" in Reflect).toBe(false)
    })
  )

  it.live("makes a CA and a leaf within 50 ms once the library is loaded", () =>
    Effect.gen(function* () {
      yield* DevCa.make()
      const runs = yield* Effect.forEach(Array.from({ length: 9 }), () =>
        Effect.timed(Effect.flatMap(DevCa.make(), (ca) => ca.issue({ names: ["localhost"] })))
      )
      const millis = runs.map(([duration]) => Duration.toMillis(duration))
      expect(Math.min(...millis)).toBeLessThan(50)
    })
  )
})

describe("DevCa.open", () => {
  it.effect(
    "goes on with a CA that was made before: what it issues and revokes is verified by the same certificate",
    () =>
      Effect.gen(function* () {
        const made = yield* DevCa.make({ commonName: "the same" })
        const opened = yield* DevCa.open({ ca: made.ca, key: made.key })
        const issued = yield* opened.issue({ names: ["node-a"] })
        expect(only(issued.cert).checkIssued(only(made.ca))).toBe(true)
        expect(only(issued.cert).verify(only(made.ca).publicKey)).toBe(true)
        expect(Redacted.value(opened.key)).toBe(Redacted.value(made.key))
        expect(yield* opened.crl({ revoked: [{ ...issued, at: new Date(0) }] })).toContain("BEGIN X509 CRL")
      })
  )

  it.effect("refuses what is no CA, no key, or not the CA's key, and says which", () =>
    Effect.gen(function* () {
      const [made, other] = [yield* DevCa.make(), yield* DevCa.make()]
      const leaf = yield* made.issue({ names: ["node-a"] })
      const refused = (ca: string, key: Redacted.Redacted) =>
        Effect.map(Effect.flip(DevCa.open({ ca, key })), ({ part, reason }) => [part, reason])
      expect(yield* refused("nothing", made.key)).toEqual(["ca", "Malformed"])
      expect(yield* refused(leaf.cert, leaf.key)).toEqual(["ca", "Malformed"])
      expect(yield* refused(made.ca, Redacted.make("nothing"))).toEqual(["key", "Malformed"])
      expect(yield* refused(made.ca, other.key)).toEqual(["key", "KeyMismatch"])
    })
  )
})
