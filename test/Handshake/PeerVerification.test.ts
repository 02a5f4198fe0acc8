/** The verification of a peer as a table: what was presented, the policy, and the verdict. */
import { X509Certificate } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import { Authorizer, type Credentials, Pins } from "effect-transport"
import * as PeerVerification from "../../src/Handshake/PeerVerification.js"
import type { HandshakeReason } from "../../src/Transport/TransportError.js"
import { authority, loopbackNames } from "../suite/fixtures/certificates.js"
import * as Lists from "../suite/fixtures/crl.js"
import { fingerprint, holder, mint } from "../suite/fixtures/mint.js"

const pki = await Effect.runPromise(authority)
const der = (pem: string) => new X509Certificate(pem).raw
const leafOf = (issued: { readonly cert: string }) => [der(issued.cert)]

const now = Date.now()
const day = 24 * 3600_000

const tls = (options: Partial<Credentials.Tls> = {}): Credentials.Tls => ({
  _tag: "Tls",
  certificate: Option.none(),
  ca: [pki.trusted.ca],
  ...options
})

const pinsOf = (options: Pins.PinsOptions) => Effect.runSync(Pins.make(options))
const pinOf = (pem: string) => Effect.runSync(Pins.certificate(pem))
const keyPinOf = (pem: string) => Effect.runSync(Pins.publicKey(pem))

const asServer = (options: Partial<PeerVerification.ServerPolicy> = {}): PeerVerification.Policy => ({
  peerIs: "server",
  material: tls(),
  nameWanted: "localhost",
  target: "localhost:1",
  ...options
})

const asClient = (options: Partial<PeerVerification.ClientPolicy> = {}): PeerVerification.Policy => ({
  peerIs: "client",
  material: tls(),
  ...options
})

const lists = await Effect.runPromise(Lists.certificateAuthority)
const listed = await Effect.runPromise(lists.issue("77"))
const withLists = (...all: ReadonlyArray<Buffer>) => tls({ ca: [lists.ca], crl: all.map(Lists.pem) })

const [root, middle, leaf] = await Effect.runPromise(Effect.forEach(["root", "middle", "leaf"], holder))
if (root === undefined || middle === undefined || leaf === undefined) {
  throw new Error("three holders")
}
const minted = await Effect.runPromise(
  Effect.all({
    root: mint(root, root),
    middle: mint(middle, root),
    leaf: mint(leaf, middle, { names: ["localhost", "spiffe://a.example/x"] })
  })
)
const longChain = [der(minted.leaf), der(minted.middle)]

type Case = readonly [
  name: string,
  presented: PeerVerification.Presented,
  policy: PeerVerification.Policy,
  expected: HandshakeReason | "verified",
  code?: string
]

/** What the engine has verified, and what nobody has. */
const verified = (chain: ReadonlyArray<Uint8Array>): PeerVerification.Presented => ({ chain, engine: "Verified" })
const notAsked = (chain: ReadonlyArray<Uint8Array>): PeerVerification.Presented => ({ chain, engine: "NotAsked" })
const objecting = (chain: ReadonlyArray<Uint8Array>, reason: HandshakeReason, code: string) => ({
  chain,
  engine: { reason, code }
})

const good = leafOf(pki.good)
const client = leafOf(pki.client)
const instead = (options: Pins.PinsOptions) => tls({ ca: [], pins: pinsOf({ mode: "instead", ...options }) })
const insteadOfAll = instead({ all: [pinOf(pki.selfSigned.cert), pinOf(pki.expired.cert)] })

const cases: ReadonlyArray<Case> = [
  // Nothing, or nothing that can be read.
  ["no certificate of a client", verified([]), asClient(), "CertificateRequired"],
  ["no certificate of a server", verified([]), asServer(), "BadCertificate"],
  ["no certificate, with pins instead", verified([]), asClient({ material: insteadOfAll }), "CertificateRequired"],
  ["bytes of a client", verified([Buffer.from("certificate")]), asClient(), "BadCertificate"],
  ["bytes of a server", notAsked([Buffer.alloc(0)]), asServer(), "BadCertificate"],
  ["bytes above the leaf", verified([...good, Buffer.from("issuer")]), asServer(), "BadCertificate"],
  // The chain.
  ["a good server", verified(good), asServer(), "verified"],
  ["a good client", verified(client), asClient(), "verified"],
  ["a good server of an open connection", notAsked(good), asServer(), "verified"],
  ["a good client of an open connection", notAsked(client), asClient(), "verified"],
  ["through an intermediate CA", notAsked(longChain), asServer({ material: tls({ ca: [minted.root] }) }), "verified"],
  [
    "without the intermediate CA",
    notAsked(longChain.slice(0, 1)),
    asServer({ material: tls({ ca: [minted.root] }) }),
    "UntrustedIssuer"
  ],
  ["another CA", notAsked(leafOf(pki.untrusted)), asServer(), "UntrustedIssuer"],
  // An engine that errs lets nobody in.
  ["another CA that the engine let pass", verified(leafOf(pki.untrusted)), asServer(), "UntrustedIssuer"],
  ["signed by itself", notAsked(leafOf(pki.selfSigned)), asClient(), "UntrustedIssuer"],
  [
    "what the engine objects to",
    objecting(good, "InvalidPurpose", "INVALID_PURPOSE"),
    asServer(),
    "InvalidPurpose",
    "INVALID_PURPOSE"
  ],
  ["for clients only", notAsked(leafOf(pki.clientOnly)), asServer(), "InvalidPurpose"],
  ["for servers only", notAsked(leafOf(pki.serverOnly)), asClient(), "InvalidPurpose"],
  // Dates.
  ["expired", notAsked(leafOf(pki.expired)), asServer(), "Expired"],
  ["expired since the engine has looked", verified(leafOf(pki.expired)), asClient(), "Expired"],
  ["not valid yet", notAsked(leafOf(pki.notYetValid)), asClient(), "NotYetValid"],
  ["expired, with pins instead", verified(leafOf(pki.expired)), asServer({ material: insteadOfAll }), "Expired"],
  // Names.
  ["another name", verified(leafOf(pki.otherName)), asServer(), "NameMismatch", "ERR_TLS_CERT_ALTNAME_INVALID"],
  ["the wanted name", verified(leafOf(pki.otherName)), asServer({ nameWanted: "elsewhere.example" }), "verified"],
  ["the wanted address", verified(leafOf(pki.otherName)), asServer({ nameWanted: "10.0.0.1" }), "verified"],
  ["another address", verified(leafOf(pki.otherName)), asServer({ nameWanted: "10.0.0.2" }), "NameMismatch"],
  ["no name", verified(good), asServer({ nameWanted: "" }), "NameMismatch"],
  ["a client of whatever name", verified(leafOf(pki.otherName)), asClient(), "verified"],
  // Trust domains.
  [
    "a CA that may vouch for the domain",
    notAsked(longChain),
    asServer({ material: tls({ ca: [minted.root], trustDomains: { "a.example": [minted.root] } }) }),
    "verified"
  ],
  [
    "a CA that may not",
    notAsked(longChain),
    asServer({ material: tls({ ca: [minted.root], trustDomains: { "a.example": [pki.other.ca] } }) }),
    "NotAuthorized"
  ],
  // Revocation.
  ["on no list", verified(leafOf(listed)), asServer({ material: withLists(lists.list()) }), "verified"],
  [
    "on the list",
    verified(leafOf(listed)),
    asServer({ material: withLists(lists.list({ entries: [{ serial: "77" }] })) }),
    "Revoked",
    "CERT_REVOKED"
  ],
  [
    "on the list, of an open connection",
    notAsked(leafOf(listed)),
    asClient({ material: withLists(lists.list({ entries: [{ serial: "77" }] })) }),
    "Revoked"
  ],
  [
    "a list of another CA",
    verified(good),
    asServer({ material: tls({ crl: [Lists.pem(lists.list())] }) }),
    "BadCertificate",
    "UNABLE_TO_GET_CRL"
  ],
  [
    "a list that is over",
    verified(leafOf(listed)),
    asServer({ material: withLists(lists.list({ thisUpdate: now - 2 * day, nextUpdate: now - day })) }),
    "BadCertificate",
    "CRL_HAS_EXPIRED"
  ],
  // Pins.
  [
    "pinned, beside the chain",
    verified(good),
    asServer({ material: tls({ pins: pinsOf({ all: [pinOf(pki.good.cert)] }) }) }),
    "verified"
  ],
  [
    "not pinned",
    verified(good),
    asServer({ material: tls({ pins: pinsOf({ all: [pinOf(pki.client.cert)] }) }) }),
    "PinMismatch"
  ],
  [
    "pinned for the target",
    verified(good),
    asServer({ material: tls({ pins: pinsOf({ byName: { "localhost:1": [pinOf(pki.client.cert)] } }) }) }),
    "PinMismatch"
  ],
  [
    "pinned for another target",
    verified(good),
    asServer({ material: tls({ pins: pinsOf({ byName: { "localhost:2": [pinOf(pki.client.cert)] } }) }) }),
    "verified"
  ],
  [
    "pinned for the name in a client's certificate",
    verified(client),
    asClient({ material: tls({ pins: pinsOf({ byName: { "spiffe://mesh/client": [pinOf(pki.good.cert)] } }) }) }),
    "PinMismatch"
  ],
  [
    "pinned, without a chain",
    verified(leafOf(pki.selfSigned)),
    asServer({ material: insteadOfAll, nameWanted: "whatever" }),
    "verified"
  ],
  [
    "pinned, whatever the engine says of the chain",
    objecting(leafOf(pki.selfSigned), "UntrustedIssuer", "DEPTH_ZERO_SELF_SIGNED_CERT"),
    asClient({ material: insteadOfAll }),
    "verified"
  ],
  ["not pinned, without a chain", verified(good), asServer({ material: insteadOfAll }), "PinMismatch"],
  [
    "a pin is no chain",
    notAsked(leafOf(pki.untrusted)),
    asServer({ material: tls({ pins: pinsOf({ all: [pinOf(pki.untrusted.cert)] }) }) }),
    "UntrustedIssuer"
  ],
  // The authorizer.
  ["authorized", verified(client), asClient({ authorize: Authorizer.spiffeId("spiffe://mesh/client") }), "verified"],
  [
    "not authorized",
    verified(client),
    asClient({ authorize: Authorizer.spiffeId("spiffe://mesh/other") }),
    "NotAuthorized"
  ],
  [
    "authorized by the CA that it was verified to",
    verified(client),
    asClient({ authorize: Authorizer.trustAnchor(fingerprint(pki.trusted.ca)) }),
    "verified"
  ],
  [
    "not authorized by a CA with pins instead of one",
    verified(leafOf(pki.selfSigned)),
    asClient({ material: insteadOfAll, authorize: Authorizer.trustAnchor(fingerprint(pki.selfSigned.cert)) }),
    "NotAuthorized"
  ],
  [
    "not authorized by a name that the pinned key alone vouches for",
    verified(client),
    asClient({
      material: instead({ all: [keyPinOf(pki.client.cert)] }),
      authorize: Authorizer.spiffeId("spiffe://mesh/client")
    }),
    "NotAuthorized"
  ],
  [
    "rejected before the authorizer is asked",
    notAsked(leafOf(pki.untrusted)),
    asClient({
      authorize: () => {
        throw new Error("asked")
      }
    }),
    "UntrustedIssuer"
  ],
  [
    "an authorizer that throws",
    verified(client),
    asClient({
      authorize: () => {
        throw new Error("a bug")
      }
    }),
    "NotAuthorized"
  ]
]

describe("a peer", () => {
  for (const [name, presented, policy, expected, code] of cases) {
    it(`${name}: ${expected}`, () => {
      const result = PeerVerification.verify(presented, policy, now)
      expect(Either.match(result, { onLeft: ({ reason }) => reason, onRight: () => "verified" })).toBe(expected)
      if (code !== undefined) {
        expect(Either.flip(result)).toEqual(Either.right({ reason: expected, code }))
      }
    })
  }

  it("is known by its leaf, with the CA that it was verified to, until the first of the chain or a list expires", () => {
    const nextUpdate = Math.ceil(now / 1000) * 1000 + 60_000
    const at = Either.getOrThrow(
      PeerVerification.verify(
        verified(leafOf(listed)),
        asServer({ material: withLists(lists.list({ nextUpdate })) }),
        now
      )
    )
    expect(at.validUntil).toBe(nextUpdate)
    expect(at.identity.fingerprint).toBe(fingerprint(listed.cert))
    expect(at.identity.trustAnchor).toEqual(Option.some(fingerprint(lists.ca)))
    const pinned = Either.getOrThrow(
      PeerVerification.verify(verified(leafOf(pki.selfSigned)), asServer({ material: insteadOfAll }), now)
    )
    expect(pinned.validUntil).toBe(Date.parse(new X509Certificate(pki.selfSigned.cert).validTo))
    expect(pinned.identity.trustAnchor).toEqual(Option.none())
  })

  it("is judged by the clock that is given, not by the system's", () => {
    const at = (time: number, presented = verified(good)) =>
      Either.match(PeerVerification.verify(presented, asServer(), time), {
        onLeft: ({ reason }) => reason,
        onRight: () => "verified"
      })
    expect([at(now), at(now + 10_000 * day), at(now - 10_000 * day)]).toEqual(["verified", "Expired", "NotYetValid"])
    expect(at(now - 1.5 * day, notAsked(leafOf(pki.expired)))).not.toBe("Expired")
  })

  it("of any bytes is rejected and nothing is thrown", () => {
    const bytes = FastCheck.oneof(
      FastCheck.uint8Array({ maxLength: 300 }),
      FastCheck.tuple(
        FastCheck.nat((good[0]?.length ?? 1) - 1),
        FastCheck.uint8Array({ minLength: 1, maxLength: 4 })
      ).map(([at, damage]) => {
        const copy = Buffer.from(good[0] ?? [])
        copy.set(damage.subarray(0, copy.length - at), at)
        return copy
      })
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(bytes, { maxLength: 3 }), (chain) => {
        const result = PeerVerification.verify(notAsked(chain), asServer({ nameWanted: loopbackNames[0] ?? "" }), now)
        const isGood = Buffer.concat(chain.slice(0, 1)).equals(Buffer.concat(good))
        expect(Either.isLeft(result) || isGood).toBe(true)
      }),
      { numRuns: 500 }
    )
  })
})

describe("a client without an identity", () => {
  it("may talk unless the authorizer wants one", () => {
    expect(PeerVerification.mayTalk(undefined, Option.none())).toBe(true)
    expect(PeerVerification.mayTalk(Authorizer.any, Option.none())).toBe(true)
    expect(PeerVerification.mayTalk(Authorizer.authenticated, Option.none())).toBe(false)
  })
})
