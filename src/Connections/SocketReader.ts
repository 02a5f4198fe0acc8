/** Reads what the peer sends, as far as it begins no more calls in one turn of the event loop than others can bear. */
import type * as Net from "node:net"
import * as Liveness from "./Liveness.js"
import type { SocketWriter } from "./SocketWriter.js"

/** What reads the bytes: a protocol's state machine. */
export interface Protocol {
  /**
   * Takes bytes as they come. Throws where the peer broke the rules. Returns how many it has taken: all, or as far as the frame
   * with which the peer has begun `maxBegun` calls. Without `mayKeep` the chunk is overwritten afterwards.
   */
  readonly receive: (chunk: Buffer, now: number, maxBegun: number, mayKeep: boolean) => number
  /** Whether a frame has begun and not ended. */
  readonly isMidFrame: () => boolean
}

export interface Options {
  readonly socket: Net.Socket
  readonly protocol: Protocol
  readonly liveness: Liveness.Liveness
  readonly writer: SocketWriter
  /** Whether a chunk is this end's own, which nobody overwrites: the rest of it may wait for the next turn. */
  readonly mayKeep: boolean
  readonly isEnded: () => boolean
  /** What came has been read, and the connection has not ended. */
  readonly onReceived: () => void
  /** Ends the connection for what was thrown while it was read. */
  readonly onThrown: (cause: unknown) => void
}

export interface SocketReader {
  /** A chunk came from the socket. */
  readonly onData: (chunk: Buffer) => void
  /** A call of the peer begins. */
  readonly onBegin: () => void
}

/** A flood of calls must not keep other connections waiting. */
export const maxBegunPerTurn = 64

export const make = ({
  isEnded,
  liveness,
  mayKeep,
  onReceived,
  onThrown,
  protocol,
  socket,
  writer
}: Options): SocketReader => {
  /** Calls of the peer that have begun in this turn of the event loop. */
  let begun = 0
  /** What came in this turn behind the last call that may begin in it. */
  let rest: Buffer | undefined
  let isTurnAwaited = false

  const awaitTurn = () => {
    if (!isTurnAwaited) {
      isTurnAwaited = true
      setImmediate(onTurn)
    }
  }

  const take = (chunk: Buffer) => {
    const now = performance.now()
    liveness.lastReceived = now
    try {
      const taken = protocol.receive(chunk, now, mayKeep ? maxBegunPerTurn - begun : Number.POSITIVE_INFINITY, mayKeep)
      if (isEnded()) {
        return
      }
      Liveness.onRead(liveness, protocol.isMidFrame())
      // Calls that were refused count among those for which it stops, and have not begun.
      if (taken < chunk.length || (mayKeep && begun >= maxBegunPerTurn)) {
        socket.pause()
        rest = chunk.subarray(taken)
        awaitTurn()
      }
      writer.flush()
      if (!isEnded()) {
        onReceived()
      }
    } catch (cause) {
      onThrown(cause)
    }
  }

  /** The next turn of the event loop: reads on where the last one stopped. */
  const onTurn = () => {
    const left = rest
    isTurnAwaited = false
    begun = 0
    rest = undefined
    if (left === undefined || isEnded()) {
      return
    }
    if (left.length > 0) {
      take(left)
    }
    if (rest === undefined && !isEnded()) {
      try {
        socket.resume()
      } catch (cause) {
        onThrown(cause)
      }
    }
  }

  return {
    onData: (chunk) => {
      if (isEnded()) {
        return
      }
      if (rest === undefined) {
        take(chunk)
      } else {
        rest = Buffer.concat([rest, chunk])
      }
    },
    onBegin: () => {
      if (mayKeep) {
        begun += 1
        awaitTurn()
      }
    }
  }
}
