/** Reads the streams of a connection, one read at a time, and tells what was given up before its end. */
import type { Read } from "./QuicEngine.js"
import type { State } from "./quiche.js"
import * as StreamError from "./streamError.js"

export interface Options {
  readonly state: Pick<State, "streamRecv">
  /** Sends what follows at the end of this turn of the event loop. */
  readonly schedule: () => void
  readonly onRead: (id: number, size: number) => void
  /** A stream has ended before it was read to its end: the peer has reset it, or this end reads no more of it. */
  readonly onGivenUp: (id: number, isReset: boolean) => void
}

export interface StreamReader {
  /** The bytes are a view that the next read overwrites. */
  readonly read: (id: number, maxBytes?: number) => Read | undefined
  /** Reads what has come of a stream that is given up, so that it does not count as traffic without content. */
  readonly discard: (id: number) => void
}

/** What is read from a stream, one read at a time. */
const readBuffer = Buffer.allocUnsafeSlow(128 * 1024)

/** Not `readBuffer`, which a caller that gives a stream up may be reading. */
const discardBuffer = Buffer.allocUnsafeSlow(64 * 1024)

export const make = ({ onGivenUp, onRead, schedule, state }: Options): StreamReader => ({
  read: (id, maxBytes = readBuffer.length) => {
    try {
      const got = state.streamRecv(id, maxBytes < readBuffer.length ? readBuffer.subarray(0, maxBytes) : readBuffer)
      if (got === null) {
        return undefined
      }
      schedule()
      onRead(id, got[0])
      return { _tag: "Bytes", bytes: readBuffer.subarray(0, got[0]), fin: got[1] }
    } catch (error) {
      const parsed = StreamError.parse(error)
      if (parsed._tag !== "Reset") {
        return undefined
      }
      onGivenUp(id, true)
      return parsed
    }
  },
  discard: (id) => {
    let isReset = false
    try {
      for (let got = state.streamRecv(id, discardBuffer); got !== null; got = state.streamRecv(id, discardBuffer)) {
        onRead(id, got[0])
        if (got[1]) {
          return
        }
      }
    } catch (error) {
      isReset = StreamError.parse(error)._tag === "Reset"
    }
    onGivenUp(id, isReset)
  }
})
