import { expect, it } from "@effect/vitest"
import * as PacketSlab from "../../../src/Quic/engine/packetSlab.js"

it("packets lie behind each other and are never written over, also where one does not fit any more", () => {
  const slab = PacketSlab.make()
  const packets: Array<{ readonly bytes: Buffer; readonly value: number }> = []
  for (let value = 0; value < 500; value++) {
    const room = PacketSlab.rest(slab, 1350)
    expect(room.length).toBeGreaterThanOrEqual(1350)
    const size = 1 + ((value * 37) % 1350)
    room.fill(value & 0xff, 0, size)
    packets.push({ bytes: slab.buffer.subarray(slab.used, slab.used + size), value })
    slab.used += size
  }
  expect(new Set(packets.map(({ bytes }) => bytes.buffer)).size).toBeGreaterThan(1)
  for (const { bytes, value } of packets) {
    expect(bytes.every((byte) => byte === (value & 0xff))).toBe(true)
  }
})

it("a packet larger than a slab has room", () => {
  const slab = PacketSlab.make()
  slab.used = 1
  expect(PacketSlab.rest(slab, 1024 * 1024).length).toBe(1024 * 1024)
})
