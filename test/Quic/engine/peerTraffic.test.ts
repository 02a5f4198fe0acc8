import { describe, expect, it } from "@effect/vitest"
import * as PeerTraffic from "../../../src/Quic/engine/peerTraffic.js"
import { settings as defaults } from "../quicSupport.js"

const settings = {
  ...defaults,
  maxPacketRate: 1000,
  maxHandshakeBytes: 5000,
  maxIdlePacketRate: 500,
  maxIdleBytes: 100_000
}

const make = (options: Partial<typeof settings> = {}) => PeerTraffic.make({ ...settings, ...options }, 0)

const send = (traffic: PeerTraffic.PeerTraffic, count: number, size: number, now = 0) => {
  for (let i = 0; i < count; i++) {
    expect(PeerTraffic.onPacket(traffic, size, false, now)).toBe(undefined)
  }
}

describe("packets", () => {
  it("more than the rate are too many, and each second begins anew", () => {
    const traffic = make()
    send(traffic, 1000, 100)
    expect(PeerTraffic.onPacket(traffic, 100, false, 999)).toBe("Packets")
    send(traffic, 1000, 100, 1000)
    expect(PeerTraffic.onPacket(traffic, 100, false, 1001)).toBe("Packets")
  })

  it("before the end of the handshake bytes are limited, and small packets count as large ones", () => {
    const traffic = make()
    for (let i = 0; i < 9; i++) {
      expect(PeerTraffic.onPacket(traffic, 20, true, 0)).toBe(undefined)
    }
    expect(PeerTraffic.onPacket(traffic, 20, true, 0)).toBe("Handshake")
    const other = make()
    expect(PeerTraffic.onPacket(other, 5000, true, 0)).toBe(undefined)
    expect(PeerTraffic.onPacket(other, 1, true, 0)).toBe("Handshake")
    expect(PeerTraffic.onPacket(other, 1, false, 0)).toBe(undefined)
  })
})

describe("content", () => {
  it("what came and can be read is unread until it is, and never less than nothing", () => {
    const traffic = make()
    send(traffic, 2, 1064)
    expect(traffic.unread).toBe(2000)
    PeerTraffic.onRead(traffic, 1500)
    expect(traffic.unread).toBe(500)
    PeerTraffic.onRead(traffic, 1500)
    expect(traffic.unread).toBe(0)
  })

  it("it is no reason to end anything, however much comes", () => {
    const traffic = make({ maxPacketRate: 1_000_000 })
    for (let now = 0; now < 10_000; now += 10) {
      send(traffic, 100, 1200, now)
      PeerTraffic.onRead(traffic, 100 * 1100)
      expect(PeerTraffic.check(traffic, 0, now)).toBe(undefined)
    }
  })

  it("it is time to look after many packets or many bytes, and then not before as many more", () => {
    const traffic = make()
    send(traffic, 63, 100)
    expect(PeerTraffic.isCheckDue(traffic)).toBe(false)
    send(traffic, 1, 100)
    expect(PeerTraffic.isCheckDue(traffic)).toBe(true)
    PeerTraffic.check(traffic, 0, 0)
    expect(PeerTraffic.isCheckDue(traffic)).toBe(false)
    send(traffic, 13, 1400)
    expect(PeerTraffic.isCheckDue(traffic)).toBe(true)
  })

  it("how much is unread is asked again after one more window of a stream, or above that of the connection", () => {
    const traffic = make({ streamWindow: 10_000 })
    expect(PeerTraffic.isBoundDue(traffic, 1_000_000)).toBe(false)
    send(traffic, 11, 1064)
    expect(PeerTraffic.isBoundDue(traffic, 1_000_000)).toBe(true)
    PeerTraffic.setUnread(traffic, traffic.unread)
    expect(PeerTraffic.isBoundDue(traffic, 1_000_000)).toBe(false)
    expect(PeerTraffic.isBoundDue(traffic, 5000)).toBe(true)
  })
})

describe("what is no content", () => {
  it("too many packets of it in a second are idle", () => {
    const traffic = make()
    send(traffic, 500, 40)
    expect(PeerTraffic.check(traffic, 0, 0)).toBe(undefined)
    send(traffic, 1, 40)
    expect(PeerTraffic.check(traffic, 0, 0)).toBe("Idle")
  })

  it("too many bytes of it wear a connection after a second, once, and four times as many are idle", () => {
    const traffic = make({ maxIdlePacketRate: 1_000_000 })
    send(traffic, 101, 1064)
    expect(PeerTraffic.check(traffic, 0, 0)).toBe(undefined)
    expect(PeerTraffic.check(traffic, 0, 999)).toBe(undefined)
    expect(PeerTraffic.check(traffic, 0, 1000)).toBe("Worn")
    expect(PeerTraffic.check(traffic, 0, 2000)).toBe(undefined)
    send(traffic, 300, 1064, 2000)
    expect(PeerTraffic.check(traffic, 0, 2000)).toBe("Idle")
  })

  it("use in time takes the wear back", () => {
    const traffic = make({ maxIdlePacketRate: 1_000_000 })
    send(traffic, 101, 1064)
    expect(PeerTraffic.check(traffic, 0, 0)).toBe(undefined)
    PeerTraffic.onRead(traffic, 1000)
    expect(PeerTraffic.check(traffic, 0, 500)).toBe(undefined)
    send(traffic, 10, 1064)
    expect(PeerTraffic.check(traffic, 0, 1000)).toBe(undefined)
    expect(traffic.isWorn).toBe(false)
  })

  it("what may still come of a stream that was given up is allowed for, but not without end", () => {
    const traffic = make({ maxIdlePacketRate: 1_000_000 })
    PeerTraffic.onAbandoned(traffic)
    expect(traffic.idleBytes).toBe(-settings.streamWindow)
    PeerTraffic.onWritten(traffic, 100)
    expect(traffic.idleBytes).toBe(-settings.streamWindow)
    for (let i = 0; i < 1000; i++) {
      PeerTraffic.onAbandoned(traffic)
    }
    expect(traffic.idleBytes).toBe(-64 * 1024 * 1024)
  })

  it("what was not read of a stream that the peer has reset is content, as are its packets", () => {
    const traffic = make({ maxIdlePacketRate: 10 })
    for (let now = 0; now < 10_000; now += 100) {
      send(traffic, 90, 1064, now)
      PeerTraffic.onRead(traffic, 10_000)
      PeerTraffic.onPeerReset(traffic, 10_000)
      expect(PeerTraffic.check(traffic, 0, now)).toBe(undefined)
    }
    expect([traffic.idleBytes, traffic.resetBytes]).toEqual([0, 0])
  })

  it("but not more than eight bytes for each that was read of it, than its window, and than what is unread", () => {
    const cutOff = (readBytes: number, each: number) => {
      const traffic = make({ maxIdlePacketRate: 1_000_000, maxPacketRate: 1_000_000 })
      let sent = 0
      while (PeerTraffic.check(traffic, 0, 0) !== "Idle" && sent < 12_000_000) {
        send(traffic, each / 1000, 1064)
        sent += each
        PeerTraffic.onRead(traffic, readBytes)
        PeerTraffic.onPeerReset(traffic, readBytes)
      }
      return sent
    }
    expect(cutOff(0, 10_000)).toBeLessThan(420_000)
    expect(cutOff(100, 10_000)).toBeLessThan(500_000)
    expect(cutOff(1000, 13_000)).toBeLessThan(6_000_000)
    expect(cutOff(1000, 12_000)).toBe(12_000_000)
    const traffic = make()
    send(traffic, 10, 1064)
    PeerTraffic.onPeerReset(traffic, 1_000_000)
    expect(traffic.resetBytes).toBe(10_000)
    const other = make({ streamWindow: 8000 })
    send(other, 10, 1064)
    PeerTraffic.onPeerReset(other, 1_000_000)
    expect(other.resetBytes).toBe(8000)
  })
})
