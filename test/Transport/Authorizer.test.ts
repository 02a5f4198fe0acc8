import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import { Authorizer, MemoryLive, type Peer, Transport } from "effect-transport"
import { EchoService, echo } from "../suite/fixtures/echo.js"

const hex = "ab".repeat(32)

const someone = (identity: Partial<Peer.Identity> = {}) =>
  Option.some<Peer.Identity>({
    fingerprint: hex,
    subject: "CN=node-a",
    subjectAltNames: ["DNS:node-a.example", "IP Address:0:0:0:0:0:0:0:1", "URI:spiffe://mesh.example/a"],
    spiffeId: Option.some("spiffe://mesh.example/a"),
    notAfter: new Date("2030-01-01T00:00:00Z"),
    trustAnchor: Option.some("c0ffee"),
    ...identity
  })

const { all, any, authenticated, either, fingerprint, make, san, spiffeId, trustDomain } = Authorizer
const throws: Authorizer.Authorizer = () => {
  throw new Error("no")
}

describe("Authorizer", () => {
  it.each<readonly [string, Authorizer.Authorizer, boolean]>([
    ["any", any, true],
    ["authenticated", authenticated, true],
    ["fingerprint", fingerprint("00".repeat(32), hex), true],
    ["fingerprint in capitals with colons", fingerprint(hex.toUpperCase().replace(/..(?=.)/g, "$&:")), true],
    ["another fingerprint", fingerprint("00".repeat(32)), false],
    ["no fingerprint", fingerprint(), false],
    ["a DNS name", san("x", "node-A.example"), true],
    ["a DNS name with its kind", san("DNS:node-a.example"), true],
    ["a part of a DNS name", san("example"), false],
    ["the subject, which is no name", san("node-a"), false],
    ["an address", san("::1"), true],
    ["an address in full with its kind", san("IP Address:0:0:0:0:0:0:0:1"), true],
    ["another address", san("127.0.0.1"), false],
    ["a URI", san("spiffe://mesh.example/a"), true],
    ["a URI as another kind", san("DNS:spiffe://mesh.example/a"), false],
    ["a SPIFFE id", spiffeId("spiffe://mesh.example/b", "spiffe://mesh.example/a"), true],
    ["the beginning of a SPIFFE id", spiffeId("spiffe://mesh.example"), false],
    ["a trust domain", trustDomain("mesh.example"), true],
    ["a trust domain as a URI", trustDomain("spiffe://mesh.example"), true],
    ["the beginning of a trust domain", trustDomain("mesh"), false],
    ["a trust domain that ends alike", trustDomain("example"), false],
    ["all", all(any, authenticated, trustDomain("mesh.example")), true],
    ["all but one", all(any, trustDomain("other")), false],
    ["all of none", all(), false],
    ["either", either(trustDomain("other"), any), true],
    ["either of none", either(), false],
    ["one that throws", throws, false],
    ["either one that throws or one that agrees", either(throws, any), true],
    ["one's own", make(({ subject }) => subject === "CN=node-a"), true],
    // What is not a boolean against the types is no yes.
    ["one that answers with a promise", (() => Promise.resolve(true)) as unknown as Authorizer.Authorizer, false]
  ])("%s", (_, authorizer, expected) => {
    expect(Authorizer.check(authorizer, someone())).toBe(expected)
    expect(pipe(authorizer, Authorizer.check(someone()))).toBe(expected)
  })

  it("refuses who has no identity, but for any", () => {
    const none = Option.none<Peer.Identity>()
    for (const authorizer of [
      authenticated,
      fingerprint(hex),
      san("a"),
      spiffeId("a"),
      trustDomain("a"),
      all(authenticated)
    ]) {
      expect(Authorizer.check(authorizer, none)).toBe(false)
    }
    expect(
      Authorizer.check(
        make(() => true),
        none
      )
    ).toBe(false)
    expect(Authorizer.check(any, none)).toBe(true)
    expect(Authorizer.check(either(authenticated, any), none)).toBe(true)
  })

  it("refuses who has no SPIFFE id where one is asked for", () => {
    const plain = someone({ spiffeId: Option.none() })
    expect(Authorizer.check(trustDomain("mesh.example"), plain)).toBe(false)
    expect(Authorizer.check(spiffeId("spiffe://mesh.example/a"), plain)).toBe(false)
  })
})

describe("without identities", () => {
  it.scopedLive("a listener refuses everybody, and Authorizer.any nobody", () =>
    Effect.gen(function* () {
      const handlers = Transport.handlers(EchoService, echo)
      const closed = yield* Transport.listen([handlers], { authorize: Authorizer.authenticated })
      expect(yield* Effect.flip(Transport.client(EchoService, closed.target))).toMatchObject({
        _tag: "HandshakeFailed",
        reason: "NotAuthorized",
        refusedBy: "remote",
        peer: closed.target
      })
      const open = yield* Transport.listen([handlers], { authorize: Authorizer.any })
      const client = yield* Transport.client(EchoService, open.target)
      expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
    }).pipe(Effect.provide(MemoryLive))
  )
})
