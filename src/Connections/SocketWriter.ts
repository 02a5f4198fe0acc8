/** Writes what a connection has to send to its socket: what one turn of the event loop brings goes out in one write. */
import type * as Net from "node:net"

/** Where the bytes come from: a protocol's state machine. */
export interface Source {
  /** Bytes that `output` would return whatever the credit. */
  readonly buffered: () => number
  /** The bytes to send now: everything but what waits for credit, and of large messages no more than the budget. */
  readonly output: (budget: number) => ReadonlyArray<Buffer>
  /** All output has been sent, so that its room may serve again. */
  readonly reclaim: () => void
}

export interface Options {
  readonly socket: Net.Socket
  readonly source: Source
  /** What an honest peer can leave unread, in bytes. */
  readonly maxBufferedBytes: number
  readonly isEnded: () => boolean
  /** What there was room for has been written. */
  readonly onWritten: () => void
  /** More than `maxBufferedBytes` wait for the peer to read. */
  readonly onOverflow: () => void
  /** Ends the connection for what was thrown while its output was collected and written. */
  readonly onThrown: (cause: unknown) => void
}

export interface SocketWriter {
  /** Sends what there is at the end of this turn of the event loop, or at once where it is much. */
  readonly flush: () => void
  /** Sends what there is, unless the socket is full. */
  readonly write: () => void
  /** Writes at the end of this turn of the event loop. */
  readonly schedule: () => void
  /** Calls back when all that was written has left: a socket tells that only of what was written behind it. */
  readonly afterLast: (left: () => void) => void
}

/** Large messages are handed to the socket in chunks of this size, so that small ones written later are not far behind. */
export const writeChunkBytes = 128 * 1024

/** So many bytes don't wait for the end of the turn: the peer works on them while this end goes on. */
const eagerBytes = 4096

const noBytes = new Uint8Array(0)

export const make = ({
  isEnded,
  maxBufferedBytes,
  onOverflow,
  onThrown,
  onWritten,
  socket,
  source
}: Options): SocketWriter => {
  let isScheduled = false
  /** What is sent while output is collected goes out with it. */
  let isWriting = false
  let isLastAsked = false

  const onTurn = () => {
    isScheduled = false
    write()
  }

  const schedule = () => {
    if (!isScheduled) {
      isScheduled = true
      setImmediate(onTurn)
    }
  }

  const writeOutput = () => {
    if (isEnded() || socket.writableNeedDrain) {
      return
    }
    if (socket.writableLength === 0) {
      source.reclaim()
    }
    isWriting = true
    const chunks = source.output(writeChunkBytes)
    isWriting = false
    if (isEnded()) {
      return
    }
    const isMany = chunks.length > 1
    let size = 0
    if (isMany) {
      socket.cork()
    }
    for (const chunk of chunks) {
      socket.write(chunk)
      size += chunk.length
    }
    if (isMany) {
      socket.uncork()
    }
    if (size >= writeChunkBytes && !socket.writableNeedDrain) {
      schedule()
    }
    onWritten()
  }

  const write = () => {
    try {
      writeOutput()
    } catch (cause) {
      isWriting = false
      onThrown(cause)
    }
  }

  return {
    flush: () => {
      if (isWriting) {
        return
      }
      if (source.buffered() >= eagerBytes) {
        write()
      } else {
        schedule()
      }
      if (source.buffered() + socket.writableLength > maxBufferedBytes) {
        onOverflow()
      }
    },
    write,
    schedule,
    afterLast: (left) => {
      if (!isLastAsked) {
        isLastAsked = true
        socket.write(noBytes, () => {
          isLastAsked = false
          left()
        })
      }
    }
  }
}
