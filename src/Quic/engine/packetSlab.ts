/** Memory that packets are written into, one behind the other, and that is never written again: the system may still read it. */

export interface PacketSlab {
  buffer: Buffer
  used: number
}

const slabSize = 256 * 1024

export const make = (): PacketSlab => ({ buffer: Buffer.allocUnsafeSlow(slabSize), used: 0 })

/** Returns the unused rest of the slab, in which a packet of so many bytes has room. */
export const rest = (slab: PacketSlab, size: number): Buffer => {
  if (slab.buffer.length - slab.used < size) {
    slab.buffer = Buffer.allocUnsafeSlow(Math.max(slabSize, size))
    slab.used = 0
  }
  return slab.used === 0 ? slab.buffer : slab.buffer.subarray(slab.used)
}
