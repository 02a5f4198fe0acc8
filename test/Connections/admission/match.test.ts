import { describe, expect, it } from "@effect/vitest"
import * as Option from "effect/Option"
import * as Match from "../../../src/Connections/internal/admission/match.js"
import * as Pressure from "../../../src/Connections/internal/admission/pressure.js"
import * as Metadata from "../../../src/Transport/Metadata.js"
import type * as Peer from "../../../src/Transport/Peer.js"

const identity: Peer.Identity = {
  fingerprint: "ab12".repeat(16),
  subject: "CN=node-a",
  subjectAltNames: ["DNS:node-a", "URI:spiffe://mesh/tenant-a/node"],
  spiffeId: Option.some("spiffe://mesh/tenant-a/node"),
  notAfter: new Date(0),
  trustAnchor: Option.none()
}

const known: Match.Who = { identity: Option.some(identity), source: "10.1.2.3" }
const unknown: Match.Who = { identity: Option.none(), source: "fd00::7" }

describe("a match", () => {
  it("is of whoever has all that it names", () => {
    for (const [match, isKnown, isUnknown] of [
      [{}, true, true],
      [{ spiffeId: "spiffe://mesh/tenant-a/*" }, true, false],
      [{ spiffeId: "spiffe://mesh/tenant-a" }, false, false],
      [{ spiffeId: ["spiffe://mesh/other", "spiffe://mesh/tenant-a/node"] }, true, false],
      [{ san: "DNS:node-a" }, true, false],
      [{ san: "node-a" }, false, false],
      [{ fingerprint: "AB:12:".repeat(16).slice(0, -1) }, true, false],
      [{ source: "10.0.0.0/8" }, true, false],
      [{ source: ["fd00::/8", "192.0.2.1"] }, false, true],
      [{ source: "10.0.0.0/8", san: "DNS:node-b" }, false, false]
    ] as const) {
      const { connection } = Match.compile(match)
      expect([connection(known), connection(unknown)], JSON.stringify(match)).toEqual([isKnown, isUnknown])
    }
  })

  it("of calls looks at method and metadata", () => {
    const { call, isByPath } = Match.compile({ method: "/a.B/*", metadata: { Tier: "gold*" } })
    const gold = Metadata.unsafeFromEntries([["tier", "golden"]])
    expect(isByPath).toBe(false)
    expect([call?.(known, "/a.B/C", gold), call?.(known, "/a.C/C", gold)]).toEqual([true, false])
    expect(call?.(known, "/a.B/C", Metadata.empty)).toBe(false)
  })

  it("that can't be read is an error, not one that matches nothing or everything", () => {
    for (const match of [
      { source: "10.0.0.0/33" },
      { source: "10.0.0" },
      { source: "10.0.0.0/8/8" },
      { san: "" },
      { san: [] },
      { method: "/a.*/B" },
      { size: { min: 2, max: 1 } },
      JSON.parse('{"spifeId": "typo"}'),
      JSON.parse("null")
    ]) {
      expect(() => Match.compile(match), JSON.stringify(match)).toThrow()
    }
  })

  it("by a function throws where the answer is none", () => {
    const promise = Match.compile((() => Promise.resolve(true)) as unknown as () => boolean)
    expect(() => promise.connection(known)).toThrow(TypeError)
  })
})

describe("what is shed", () => {
  it("is by how late the event loop is, and how full the heap", () => {
    const levels = (delays: ReadonlyArray<number>) => delays.map((delay) => Pressure.levelOf(undefined, delay, 0))
    expect(levels([0, 124, 125, 250, 499, 500, 1000])).toEqual([0, 0, 1, 2, 2, 3, 4])
    const heaps = [0.5, 0.96, 0.9, 0.93, 0.951].map((heap) => Pressure.levelOf(undefined, 0, heap))
    expect(heaps).toEqual([0, 4, 2, 3, 4])
    expect(Pressure.levelOf(undefined, 0, 0.86)).toBe(1)
    expect(Pressure.levelOf(false, 1e9, 1)).toBe(0)
  })
})
