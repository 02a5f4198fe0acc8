/** What connections may begin in one turn of the event loop. */
import { setImmediate } from "node:timers/promises"
import { afterEach, describe, expect, it, vi } from "@effect/vitest"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as TurnShare from "../../src/Connections/TurnShare.js"
import type { Identity } from "../../src/Transport/Peer.js"

const identityOf = (fingerprint: string): Identity => ({
  fingerprint,
  subject: "CN=peer",
  subjectAltNames: [],
  spiffeId: Option.none(),
  notAfter: new Date(0),
  trustAnchor: Option.none()
})

const shareOf = (fingerprint?: string, onTurn: () => void = constVoid) =>
  TurnShare.make({ identity: Option.map(Option.fromNullable(fingerprint), identityOf) }, onTurn)

/** All that a share gives in this turn, where each call takes so long by a clock that nothing else moves. */
const all = (share: TurnShare.TurnShare, millis = 0) => {
  let total = 0
  for (let left = share.left(); left > 0; left = share.left()) {
    now += left * millis
    share.count(left, left * millis)
    total += left
  }
  return total
}

let now = 0

const { leastPerTurn: least, mostPerTurn: most } = TurnShare

const makeLong = (share: TurnShare.TurnShare) => {
  share.left()
  now += 100
}

/** The next turn of the event loop, after one that took so long. */
const nextTurn = async (millis: number) => {
  now += millis
  await setImmediate()
  await setImmediate()
}

describe("TurnShare", () => {
  const test = (title: string, body: () => void | Promise<void>) =>
    it(title, async () => {
      vi.spyOn(performance, "now").mockImplementation(() => now)
      const share = shareOf()
      for (let turn = 0; turn < 5; turn++) {
        share.count(1, 0)
        await nextTurn(1)
      }
      await body()
    })

  afterEach(async () => {
    vi.restoreAllMocks()
    await setImmediate()
    await setImmediate()
  })

  test("gives every connection as much in a short turn, and again in the next", async () => {
    let turns = 0
    const [one, other] = [shareOf("a", () => (turns += 1)), shareOf("a")]
    for (let turn = 0; turn < 3; turn++) {
      expect([all(one), all(other)]).toEqual([most, most])
      expect(turns).toBe(turn)
      await nextTurn(1)
    }
    expect(turns).toBe(3)
  })

  test("lets the connections of an identity share in a long turn, and gives each of them something", () => {
    const shares = Array.from({ length: 10 }, () => shareOf("a"))
    const other = shareOf("b")
    makeLong(other)
    expect(shares.map((share) => all(share))).toEqual([most, ...Array.from({ length: 9 }, () => least)])
    expect(all(other)).toBe(most)
  })

  test("gives less of what takes long", () => {
    const [slow, fast] = [shareOf("a"), shareOf("b")]
    makeLong(slow)
    expect(all(slow, 10)).toBe(least)
    expect(all(fast, 0.01)).toBe(most)
  })

  test("lets connections without an identity share with nobody", () => {
    const shares = Array.from({ length: 3 }, () => shareOf())
    shares.forEach(makeLong)
    expect(shares.map((share) => all(share))).toEqual([most, most, most])
  })

  test("gives less after turns that were too long, and more again after short ones", async () => {
    const share = shareOf("a")
    const given: Array<number> = []
    for (const millis of [...Array.from({ length: 6 }, () => 100), ...Array.from({ length: 6 }, () => 1)]) {
      given.push(all(share))
      await nextTurn(millis)
    }
    expect(given).toEqual([64, 32, 16, 8, 4, 4, 4, 8, 16, 32, 64, 64])
  })

  test("counts what came at once beyond what was left", () => {
    const share = shareOf("a")
    share.count(most + 5, 0)
    expect(share.left()).toBe(0)
  })
})
