/** Reads what the peer sends, as far as it begins no more calls in one turn of the event loop than others can bear. */
import type * as Net from "node:net"
import type { Peer } from "../Transport/Peer.js"
import * as Liveness from "./Liveness.js"
import type { SocketWriter } from "./SocketWriter.js"
import * as TurnShare from "./TurnShare.js"

/** What reads the bytes: a protocol's state machine. */
export interface Protocol {
  /**
   * Takes bytes as they come. Throws where the peer broke the rules. Returns how many it has taken: all, or as far as the frame
   * with which the peer has begun or given up `most` calls. Without `mayKeep` the chunk is overwritten afterwards.
   */
  readonly receive: (chunk: Buffer, now: number, most: number, mayKeep: boolean) => number
  /** How many calls the peer has begun and given up so far. */
  readonly came: () => number
  /** Whether a frame has begun and not ended. */
  readonly isMidFrame: () => boolean
}

export interface Options {
  readonly socket: Net.Socket
  readonly peer: Pick<Peer, "identity">
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
}

export const make = ({
  isEnded,
  liveness,
  mayKeep,
  onReceived,
  onThrown,
  peer,
  protocol,
  socket,
  writer
}: Options): SocketReader => {
  /** What came in this turn behind the last call that others can bear in it. */
  let rest: Buffer | undefined

  /** The next turn of the event loop: reads on where the last one stopped. */
  const onTurn = () => {
    const left = rest
    rest = undefined
    if (left === undefined || isEnded()) {
      return
    }
    take(left)
    if (rest === undefined && !isEnded()) {
      try {
        socket.resume()
      } catch (cause) {
        onThrown(cause)
      }
    }
  }

  const share = TurnShare.make(peer, onTurn)

  /** Returns how much of a chunk was taken: as much as others can bear in this turn. */
  const receive = (chunk: Buffer, now: number): number => {
    if (!mayKeep) {
      return protocol.receive(chunk, now, Number.POSITIVE_INFINITY, false)
    }
    let at = 0
    for (let most = share.left(); most > 0 && at < chunk.length && !isEnded(); most = share.left()) {
      const before = protocol.came()
      const began = performance.now()
      at += protocol.receive(at === 0 ? chunk : chunk.subarray(at), now, most, true)
      share.count(protocol.came() - before, performance.now() - began)
    }
    return at
  }

  const take = (chunk: Buffer) => {
    const now = performance.now()
    liveness.lastReceived = now
    try {
      const taken = receive(chunk, now)
      if (isEnded()) {
        return
      }
      Liveness.onRead(liveness, protocol.isMidFrame())
      if (taken < chunk.length) {
        socket.pause()
        rest = chunk.subarray(taken)
      }
      writer.flush()
      if (!isEnded()) {
        onReceived()
      }
    } catch (cause) {
      onThrown(cause)
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
    }
  }
}
