import { describe, expect, it } from "vitest"
import * as PingStrikes from "../../src/Grpc/internal/pingStrikes.js"

const minute = 60_000

describe("pings that come too early", () => {
  it("are let pass twice, and end the connection then", () => {
    const onPing = PingStrikes.make(5 * minute)
    expect([0, 100, 200, 300].map(onPing)).toEqual([true, true, true, false])
  })

  it("are those within nine seconds, so that a client may ping every ten, a little unevenly", () => {
    const onPing = PingStrikes.make(5 * minute)
    for (let at = 0; at < 10 * minute; at += 9_100) {
      expect(onPing(at)).toBe(true)
    }
  })

  it("are not those of clients that ping as often as the listener itself", () => {
    const onPing = PingStrikes.make(200)
    for (let at = 0; at < minute; at += 200) {
      expect(onPing(at)).toBe(true)
    }
  })
})
