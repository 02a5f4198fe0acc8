/** Bytes on their way out, collected in large chunks until they are sent in one go. */

export interface ByteWriter {
  /**
   * Room for up to `size` bytes; returns their position in `buffer`. Nothing of it is sent before `commit`, so that an
   * encoder that throws halfway leaves nothing behind.
   */
  readonly reserve: (size: number) => number
  /** Sends what was reserved last: it has been written up to `end`. */
  readonly commit: (end: number) => void
  buffer: Buffer
  /** Bytes since the last `take`. */
  readonly size: () => number
  /** All bytes since the last call, mostly in one piece. They are not touched again before `reclaim`. */
  readonly take: () => ReadonlyArray<Buffer>
  /** Everything that was taken has been sent: its room serves again. */
  readonly reclaim: () => void
  /** The same, and lets go of all room. */
  readonly trim: () => void
}

const none: Buffer = Buffer.alloc(0)

const nothingReserved = -1

/** `first` is the size of its first chunk of room, and `most` the size that further ones grow to. */
export const make = (first = 256, most = 64 * 1024): ByteWriter => {
  let full: Array<Buffer> = []
  let fullSize = 0
  /** What of the chunk is not taken. */
  let start = 0
  let used = 0
  let reserved = nothingReserved
  /** Chunks that are at their end, and one whose bytes have been sent. */
  let ended: Array<Buffer> = []
  let spare: Buffer = none
  let next = first

  const cut = () => {
    if (used > start) {
      full.push(writer.buffer.subarray(start, used))
      fullSize += used - start
      start = used
    }
  }

  const end = () => {
    ended.push(writer.buffer)
    writer.buffer = none
    start = 0
    used = 0
  }

  const makeRoom = (size: number) => {
    cut()
    end()
    if (spare.length >= size) {
      writer.buffer = spare
      spare = none
    } else {
      writer.buffer = Buffer.allocUnsafeSlow(Math.max(next, size))
      next = Math.min(most, 4 * writer.buffer.length)
    }
  }

  const writer: ByteWriter = {
    buffer: none,
    reserve: (size) => {
      // An encoder that has begun and not ended may go on to write where it was: in the room left behind.
      if (used + size > writer.buffer.length || reserved !== nothingReserved) {
        makeRoom(size)
      }
      reserved = size
      return used
    },
    commit: (end) => {
      if (!(end >= used && end - used <= reserved)) {
        throw new RangeError(`${end - used} bytes where ${reserved} were reserved`)
      }
      reserved = nothingReserved
      used = end
    },
    size: () => fullSize + used - start,
    take: () => {
      cut()
      if (2 * used > writer.buffer.length) {
        end()
      }
      const taken = full
      full = []
      fullSize = 0
      return taken
    },
    reclaim: () => {
      if (full.length === 0 && ended.length > 0) {
        const last = ended.at(-1) ?? none
        spare = last.length > spare.length ? last : spare
        ended = []
      }
    },
    trim: () => {
      if (writer.size() === 0) {
        ended = []
        spare = none
        writer.buffer = none
        start = 0
        used = 0
        next = first
      }
    }
  }
  return writer
}
