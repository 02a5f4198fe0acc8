import { describe, expect, it } from "@effect/vitest"
import * as Liveness from "../../src/Connections/Liveness.js"

const times = { keepaliveTime: 30_000, keepaliveTimeout: 10_000, frameTimeout: 5000 }

describe("frames", () => {
  it("have to end in time, counted from the bytes with which they began", () => {
    const liveness = Liveness.make(times, 0)
    liveness.lastReceived = 1000
    Liveness.onRead(liveness, true)
    liveness.lastReceived = 5900
    Liveness.onRead(liveness, true)
    expect(Liveness.check(liveness, 6000)).toBe(undefined)
    expect(Liveness.check(liveness, 6001)).toBe("FrameTimeout")
  })

  it("that have ended are forgotten", () => {
    const liveness = Liveness.make(times, 0)
    Liveness.onRead(liveness, true)
    liveness.lastReceived = 4000
    Liveness.onRead(liveness, false)
    expect(Liveness.check(liveness, 9000)).toBe(undefined)
  })
})

describe("a peer that is silent", () => {
  it("gets one ping, and is given up without an answer", () => {
    const liveness = Liveness.make(times, 0)
    expect(Liveness.check(liveness, 29_999)).toBe(undefined)
    expect(Liveness.check(liveness, 30_000)).toBe("Ping")
    expect(Liveness.check(liveness, 40_000)).toBe(undefined)
    expect(Liveness.check(liveness, 40_001)).toBe("PingTimeout")
  })

  it("has its time anew with everything that it sends", () => {
    const liveness = Liveness.make(times, 0)
    expect(Liveness.check(liveness, 30_000)).toBe("Ping")
    liveness.lastReceived = 39_000
    expect(Liveness.check(liveness, 49_000)).toBe(undefined)
    expect(Liveness.check(liveness, 49_001)).toBe("PingTimeout")
  })

  it("gets a ping at once where a call has timed out, but no second one before it has answered", () => {
    const liveness = Liveness.make(times, 0)
    expect(Liveness.shouldPing(liveness, 100, 99)).toBe(false)
    expect(Liveness.shouldPing(liveness, 100, 100)).toBe(true)
    expect(Liveness.shouldPing(liveness, 100, 300)).toBe(false)
    liveness.pingSince = undefined
    expect(Liveness.shouldPing(liveness, 100, 300)).toBe(true)
  })
})

it("is checked twice in the shortest of its times, which a timer must be able to wait", () => {
  expect(Liveness.period(Liveness.make(times, 0))).toBe(2500)
  const endless = Number.POSITIVE_INFINITY
  const never = { keepaliveTime: endless, keepaliveTimeout: endless, frameTimeout: endless }
  expect(Liveness.period(Liveness.make(never, 0))).toBe(2 ** 31 - 1)
  expect(Liveness.period(Liveness.make({ ...times, frameTimeout: 0 }, 0))).toBe(1)
})
