/**
 * Frames on their way out, collected until they are sent in one go.
 */
import * as Wire from "./Wire.js"

export interface Writer {
  /**
   * Room for a frame of up to `length` bytes of payload; returns the position of the payload in `buffer`. Nothing of it is
   * sent before `commit`, so that an encoder that throws halfway leaves nothing behind.
   */
  readonly reserve: (length: number) => number
  /** Sends the frame that was reserved last: its payload has been written up to `end`. */
  readonly commit: (type: number, flags: number, call: number, end: number) => void
  /** A frame without payload. */
  readonly empty: (type: number, flags: number, call: number) => void
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
export const make = (first = 256, most = 64 * 1024): Writer => {
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

  const writer: Writer = {
    buffer: none,
    reserve: (length) => {
      if (!(length >= 0 && length <= Wire.maxPayload)) {
        throw new RangeError(`a frame of ${length} bytes`)
      }
      const size = Wire.headerSize + length
      // An encoder that has begun and not ended may go on to write where it was: in the room left behind.
      if (used + size > writer.buffer.length || reserved !== nothingReserved) {
        makeRoom(size)
      }
      reserved = length
      return used + Wire.headerSize
    },
    commit: (type, flags, call, end) => {
      const { buffer } = writer
      const at = used
      const length = end - at - Wire.headerSize
      if (!(length >= 0 && length <= reserved)) {
        throw new RangeError(`a frame of ${length} bytes where ${reserved} were reserved`)
      }
      reserved = nothingReserved
      buffer[at] = type
      buffer[at + 1] = flags
      buffer[at + 2] = length >>> 8
      buffer[at + 3] = length
      buffer[at + 4] = call >>> 24
      buffer[at + 5] = call >>> 16
      buffer[at + 6] = call >>> 8
      buffer[at + 7] = call
      used = end
    },
    empty: (type, flags, call) => writer.commit(type, flags, call, writer.reserve(0)),
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
