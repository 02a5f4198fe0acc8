import { expect, it } from "@effect/vitest"
import * as LocalStreams from "../../../src/Quic/engine/localStreams.js"

it("the ids of each role and kind are those of RFC 9000, section 2.1", () => {
  for (const [role, first] of [
    ["client", 0],
    ["server", 1]
  ] as const) {
    const local = LocalStreams.make(role)
    expect([LocalStreams.openBidi(local), LocalStreams.openBidi(local)]).toEqual([first, first + 4])
    expect([LocalStreams.openUni(local), LocalStreams.openUni(local)]).toEqual([first + 2, first + 6])
  }
})

it("the peer is asked again once what it allowed is used up, and the owner told once when there is more", () => {
  const local = LocalStreams.make("client")
  let allowed = 2
  let asked = 0
  const askPeer = () => {
    asked += 1
    return allowed
  }
  const open = () => {
    const may = LocalStreams.mayOpenBidi(local, askPeer)
    if (may) {
      LocalStreams.openBidi(local)
      allowed -= 1
    }
    return may
  }
  expect([open(), open(), asked]).toEqual([true, true, 1])
  expect(LocalStreams.stopWaiting(local, askPeer)).toBe(false)
  expect(open()).toBe(false)
  expect(LocalStreams.stopWaiting(local, askPeer)).toBe(false)
  allowed = 1
  expect([LocalStreams.stopWaiting(local, askPeer), LocalStreams.stopWaiting(local, askPeer)]).toEqual([true, false])
  expect([open(), open()]).toEqual([true, false])
})
