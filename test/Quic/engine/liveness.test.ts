import { describe, expect, it } from "@effect/vitest"
import * as Liveness from "../../../src/Quic/engine/liveness.js"

const settings = { handshakeTimeout: 2000, keepaliveTime: 30_000, keepaliveTimeout: 10_000 }

describe("before the peer is accepted", () => {
  it("it has the time of a handshake, and gets no ping", () => {
    const liveness = Liveness.make(settings, 1000)
    expect(Liveness.due(liveness, false)).toBe(3000)
    expect(Liveness.check(liveness, false, 2999)).toBe(undefined)
    expect(Liveness.check(liveness, false, 3000)).toBe("HandshakeTimeout")
  })
})

describe("a peer that is silent", () => {
  it("gets one ping, and is given up without an answer", () => {
    const liveness = Liveness.make(settings, 0)
    expect(Liveness.due(liveness, true)).toBe(30_000)
    expect(Liveness.check(liveness, true, 29_999)).toBe(undefined)
    expect(Liveness.check(liveness, true, 30_000)).toBe("Ping")
    expect(Liveness.due(liveness, true)).toBe(40_000)
    expect(Liveness.check(liveness, true, 39_999)).toBe(undefined)
    expect(Liveness.check(liveness, true, 40_000)).toBe("Silent")
  })

  it("is asked again after an answer", () => {
    const liveness = Liveness.make(settings, 0)
    expect(Liveness.check(liveness, true, 30_000)).toBe("Ping")
    liveness.lastReceived = 30_050
    expect(Liveness.check(liveness, true, 40_050)).toBe(undefined)
    expect(Liveness.due(liveness, true)).toBe(60_050)
    expect(Liveness.check(liveness, true, 60_050)).toBe("Ping")
  })

  it("is asked at once where a call wants to know, but not twice", () => {
    const liveness = Liveness.make(settings, 0)
    expect(Liveness.shouldPing(liveness, 500, 499)).toBe(false)
    expect(Liveness.shouldPing(liveness, 500, 500)).toBe(true)
    expect(Liveness.shouldPing(liveness, 500, 1500)).toBe(false)
    expect(Liveness.check(liveness, true, 10_500)).toBe("Silent")
  })
})

it("a peer that forgets connections early is asked earlier, one that never does is not", () => {
  const liveness = Liveness.make(settings, 0)
  Liveness.onPeerIdleTimeout(liveness, 0)
  expect(liveness.keepaliveTime).toBe(30_000)
  Liveness.onPeerIdleTimeout(liveness, 90_000)
  expect(liveness.keepaliveTime).toBe(30_000)
  Liveness.onPeerIdleTimeout(liveness, 8000)
  expect(Liveness.due(liveness, true)).toBe(4000)
})

it("times without end are never due", () => {
  const endless = { ...settings, keepaliveTime: Number.POSITIVE_INFINITY }
  const liveness = Liveness.make(endless, 0)
  expect(Liveness.due(liveness, true)).toBe(Number.POSITIVE_INFINITY)
  expect(Liveness.check(liveness, true, 1e12)).toBe(undefined)
})
