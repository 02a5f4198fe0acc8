import { describe, expect, it } from "@effect/vitest"
import * as UnsentLimit from "../../src/Calls/UnsentLimit.js"
import * as Waiting from "../../src/Calls/Waiting.js"

const reading = { isSending: false, lastSize: 1000, credit: 60_000, initialCredit: 65_535 }

describe("a stream of a connection of which too much is unsent", () => {
  for (const [title, changed, unsent, expected] of [
    ["goes on where its peer has read all", {}, 1500, true],
    ["goes on with a first message", { lastSize: 0 }, 1500, true],
    ["waits for its own last message", { isSending: true }, 1500, false],
    ["waits where its peer has read nothing", { credit: 0, initialCredit: 0, lastSize: 0 }, 1500, false],
    ["waits for credit for a message like the last", { credit: 999 }, 1500, false],
    [
      "goes on with half a window, since peers give back credit at half a window",
      { lastSize: 60_000, credit: 32_768 },
      1500,
      true
    ],
    ["waits with messages larger than a window", { lastSize: 70_000, credit: 65_535 }, 1500, false],
    ["waits at twice the limit", {}, 2001, false]
  ] as const) {
    it(title, () => {
      expect(UnsentLimit.maySendBeyond(unsent, 1000, { ...reading, ...changed })).toBe(expected)
    })
  }

  it("goes on before others that wait longer, and they stay in their order", () => {
    const room = new Set([2])
    const waiting = Waiting.make<number>((stream) => !room.has(stream))
    const done: Array<number> = []
    for (const stream of [1, 2, 3]) {
      waiting.add(() => done.push(stream), stream)
    }
    waiting.onRoom()
    expect(done).toEqual([2])
    room.add(3).add(1)
    waiting.onRoom()
    waiting.onRoom()
    expect(done).toEqual([2, 1, 3])
  })
})
