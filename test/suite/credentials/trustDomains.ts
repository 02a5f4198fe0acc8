/** Trust domains: which CA may vouch for which SPIFFE ids. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { Authorizer, type Credentials, DevCa, Transport } from "effect-transport"
import { loopbackNames, rawMaterial } from "../fixtures/certificates.js"
import { EchoService, echo } from "../fixtures/echo.js"
import { soon } from "../fixtures/expect.js"
import { fingerprint, holder, issued, mint } from "../fixtures/mint.js"
import type { Suite } from "./harness.js"
import { goodClient, pinning, presenting, type Side } from "./sides.js"

export const trustDomains = ({ build, expectRefusal, fixed, meet, pki, test }: Suite): void => {
  describe("trust domains", () => {
    const a = "spiffe://a.example/node"
    const b = "spiffe://b.example/node"

    /** Both roots, and a leaf of each under whatever id. */
    const domains = Effect.gen(function* () {
      const [ofA, ofB] = [yield* DevCa.make({ intermediate: true }), yield* DevCa.make()]
      const shows =
        (from: DevCa.DevCa, ...ids: ReadonlyArray<string>) =>
        (material: Partial<Credentials.Tls>): Side =>
        () =>
          Effect.map(from.issue({ names: [...loopbackNames, ...ids] }), (issued) => ({
            ...rawMaterial(issued, ofA.ca, ofB.ca),
            ...material
          }))
      return { ofA, ofB, shows }
    })

    test(
      "a handler sees the CA that the peer was verified to",
      Effect.gen(function* () {
        const { ofA, shows } = yield* domains
        const anchors: Array<Option.Option<string>> = []
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, { peer }) =>
            Effect.sync(() => {
              anchors.push(Option.flatMap(peer.identity, ({ trustAnchor }) => trustAnchor))
              return { message }
            })
        })
        const server = yield* shows(ofA)({})(yield* pki)
        const authorize = Authorizer.trustAnchor(fingerprint(ofA.ca))
        const there = yield* build(fixed(server))
        const { target } = yield* Effect.provide(Transport.listen([handlers], { authorize }), there)
        const client = yield* Effect.provide(Transport.client(EchoService, target), there)
        yield* soon(client.echo({ message: "hello" }))
        expect(anchors).toEqual([Option.some(fingerprint(ofA.ca))])
      })
    )

    test(
      "of pins instead of a CA there is none",
      Effect.gen(function* () {
        const anchors: Array<Option.Option<string>> = []
        const meeting = yield* meet(
          pinning(presenting("selfSigned"), "client", "instead"),
          pinning(goodClient, "selfSigned", "instead"),
          {
            listen: {
              authorize: Authorizer.make(({ trustAnchor }) => {
                anchors.push(trustAnchor)
                return true
              })
            }
          }
        )
        yield* soon(meeting.call)
        expect(anchors).toEqual([Option.none()])
      })
    )

    const bound = ({ ofA, ofB }: Effect.Effect.Success<typeof domains>): Partial<Credentials.Tls> => ({
      ca: [ofA.ca, ofB.ca],
      trustDomains: { "a.example": [ofA.ca] }
    })
    /** A CA that stands in no other list. */
    const alone = ({ ofA, ofB }: Effect.Effect.Success<typeof domains>): Partial<Credentials.Tls> => ({
      ca: [ofB.ca],
      trustDomains: { "a.example": [ofA.ca] }
    })

    for (const { expected, from, ids, title, trusts } of [
      { title: "an id of a bound domain under its CA", trusts: bound, from: "ofA", ids: [a], expected: true },
      { title: "an id of a bound domain under another CA", trusts: bound, from: "ofB", ids: [a], expected: false },
      { title: "an id of a domain that is not bound", trusts: bound, from: "ofB", ids: [b], expected: true },
      {
        title: "the same under a CA of another domain that is trusted anyway",
        trusts: bound,
        from: "ofA",
        ids: [b],
        expected: true
      },
      { title: "no id at all", trusts: bound, from: "ofB", ids: [], expected: true },
      { title: "two ids, one of a bound domain", trusts: bound, from: "ofB", ids: [b, a], expected: false },
      { title: "an id of the only domain of a CA", trusts: alone, from: "ofA", ids: [a], expected: true },
      { title: "an id of another domain under it", trusts: alone, from: "ofA", ids: [b], expected: false },
      { title: "no id under it", trusts: alone, from: "ofA", ids: [], expected: false },
      { title: "two ids under it, one of its domain", trusts: alone, from: "ofA", ids: [a, b], expected: false },
      {
        title: "the bound domain in other letters",
        trusts: bound,
        from: "ofB",
        ids: ["spiffe://A.example/node"],
        expected: false
      }
    ] as const) {
      for (const judge of ["listener", "client"] as const) {
        test(
          `a ${judge} ${expected ? "takes" : "refuses"} ${title}`,
          Effect.gen(function* () {
            const known = yield* domains
            const presented = known.shows(known[from], ...ids)({})
            const judging = known.shows(known.ofB)(trusts(known))
            const meeting = yield* judge === "listener" ? meet(judging, presented) : meet(presented, judging)
            if (expected) {
              expect(yield* soon(meeting.call)).toBe("hello")
            } else {
              yield* expectRefusal(meeting, "NotAuthorized", judge === "listener" ? "remote" : "local")
            }
          })
        )
      }
    }

    test(
      "a CA of the same name and key as another is not the other",
      Effect.gen(function* () {
        const [root, other, leaf] = [yield* holder("root"), yield* holder("root"), yield* holder("leaf")]
        const identifiers = true
        const ofRoot = mint(root, root, { identifiers })
        const [mine, again, foreign] = [yield* ofRoot, yield* ofRoot, yield* mint(other, other, { identifiers })]
        const names = [...loopbackNames, a]
        const presented = yield* issued(leaf, yield* mint(leaf, root, { identifiers, names }))
        const strange = yield* issued(leaf, yield* mint(leaf, other, { identifiers, names }))
        const side =
          (one: DevCa.Issued, trustDomains?: Credentials.Tls["trustDomains"]): Side =>
          () =>
            Effect.succeed({ ...rawMaterial(one, mine, foreign), trustDomains })
        // Who has the key may vouch, in whichever of its certificates.
        const same = yield* meet(side(presented, { "a.example": [again] }), side(presented))
        expect(yield* soon(same.call)).toBe("hello")
        // The name alone is nothing.
        yield* expectRefusal(
          yield* meet(side(presented, { "a.example": [mine] }), side(strange)),
          "NotAuthorized",
          "remote"
        )
      })
    )
  })
}
