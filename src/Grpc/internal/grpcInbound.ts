/**
 * Data of streams on its way to the messages in it. What a reader has no room for stays undecoded, and its credit with it,
 * so that whoever reads slowly holds up the sender of that stream alone.
 */
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as ByteQueue from "../../protocol/ByteQueue.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import type { Stream } from "../../protocol/http2/Http2Connection.js"
import type { Link } from "./grpcLink.js"

/** What has come of a stream and is not decoded. */
export interface Backlog {
  bytes: ByteQueue.ByteQueue | undefined
  isResuming: boolean
  /** The peer has sent all, which the reader hears behind the backlog. */
  isEnding: boolean
  /** Credit that waits until unfinished messages of other streams have ended. */
  heldCredit: number
}

export const makeBacklog = (): Backlog => ({
  bytes: undefined,
  isResuming: false,
  isEnding: false,
  heldCredit: 0
})

/** A stream as its owner knows it. */
export interface Owner<O> extends GrpcReceiving.GrpcStream {
  readonly stream: Stream<O> | undefined
  readonly backlog: Backlog
}

export interface Inbound<S> {
  /** Takes data as it comes, and keeps nothing of the chunk. */
  readonly receive: (owner: S, chunk: Buffer) => void
  /** The peer has sent all. */
  readonly end: (owner: S) => void
  readonly release: (owner: S, cost: number) => void
  /** Its reader waits for a message. */
  readonly onWaiting: (owner: S) => void
  /** The call is over: what has come of it and was not reported is dropped. */
  readonly forget: (owner: S) => void
  /** The same, and nobody reads what was reported. */
  readonly forgetAll: (owner: S) => void
}

/** Decoded at a time: bytes that hold no more than some hundreds of messages. While much is unread they are fewer. */
const decodeBytes = 4096
const lowDecodeBytes = 1024

export const make = <O, S extends Owner<O>>(
  link: Pick<Link<O>, "flush" | "account" | "backlog" | "deadlines" | "http2" | "kept" | "onThrown" | "settings">,
  events: GrpcReceiving.Events<S>
): Inbound<S> => {
  const { backlog: waiting, http2, kept, settings } = link
  const { connectionWindow } = settings
  /**
   * Streams whose unfinished messages wait for credit, and the one that goes on although too much is unfinished. Those that
   * wait for their readers are neither: they would hold up the others for as long.
   */
  const held = new Set<S>()
  let first: S | undefined

  const isTooMuchUnfinished = () => kept.begun > 1 && kept.unfinished > connectionWindow

  const give = ({ stream }: S, credit: number) => {
    if (stream !== undefined && credit > 0) {
      http2.consume(stream, credit)
    }
  }

  const unhold = (owner: S) => {
    owner.messages.isHeld = false
    held.delete(owner)
    if (first === owner) {
      first = undefined
    }
  }

  const giveHeld = (owner: S) => {
    const { backlog, messages } = owner
    const credit = backlog.heldCredit
    messages.isHeld = false
    held.delete(owner)
    backlog.heldCredit = 0
    messages.since = performance.now()
    give(owner, credit)
  }

  /** Streams that are held go on, where they may. */
  const advance = () => {
    for (const next of held) {
      if (isTooMuchUnfinished()) {
        if (first === undefined) {
          first = next
          giveHeld(next)
        }
        return
      }
      giveHeld(next)
    }
  }

  /** A stream no longer keeps others from going on: its message has ended, or waits for its reader. */
  const leave = (owner: S) => {
    if (first !== undefined || held.size > 0) {
      unhold(owner)
      advance()
    }
  }

  const receiving = GrpcReceiving.make<S>(
    {
      ...link,
      pause: leave,
      resume: (owner) => resume(owner),
      holdUnfinished: true
    },
    {
      ...events,
      onEnd: (owner) => {
        leave(owner)
        events.onEnd(owner)
      }
    }
  )

  const credit = (owner: S, size: number) => {
    const { backlog, messages } = owner
    if (isTooMuchUnfinished() && messages.unfinished > 0) {
      if (!messages.isPaused) {
        first ??= owner
      }
      if (first !== owner) {
        backlog.heldCredit += size
        if (!messages.isPaused) {
          messages.isHeld = true
          held.add(owner)
        }
        return
      }
    } else {
      leave(owner)
    }
    give(owner, size + backlog.heldCredit)
    backlog.heldCredit = 0
  }

  /** Decodes bytes as far as the reader has room for messages; returns how many. */
  const decode = (owner: S, chunk: Buffer): number => {
    const { messages } = owner
    let at = 0
    receiving.pauseIfFull(owner)
    while (at < chunk.length && !messages.isPaused) {
      const most = kept.unread > connectionWindow ? lowDecodeBytes : decodeBytes
      const size = Math.min(chunk.length - at, Math.max(most, GrpcMessage.missing(messages.decoder)))
      receiving.receive(owner, size === chunk.length ? chunk : chunk.subarray(at, at + size))
      at += size
      if (messages.decoder.isBroken) {
        // Its call is over, whether or not it is paused: the rest is dropped.
        at = chunk.length
      }
    }
    if (messages.decoder.isBroken) {
      give(owner, chunk.length)
      return chunk.length
    }
    credit(owner, at)
    return at
  }

  const stash = ({ backlog }: S, chunk: Buffer) => {
    backlog.bytes ??= ByteQueue.make()
    ByteQueue.push(backlog.bytes, chunk)
    waiting.size += chunk.length
  }

  const decodeStashed = (owner: S, bytes: ByteQueue.ByteQueue) => {
    while (bytes.size > 0 && !owner.messages.isPaused) {
      const chunk = ByteQueue.shift(bytes)
      waiting.size -= chunk.length
      const rest = chunk.subarray(decode(owner, chunk))
      ByteQueue.unshift(bytes, rest)
      waiting.size += rest.length
    }
  }

  const resume = (owner: S) => {
    const { backlog, messages } = owner
    if (backlog.isResuming) {
      // A message was released in the very moment it was reported: whoever reports it goes on.
      return
    }
    if (backlog.bytes !== undefined) {
      backlog.isResuming = true
      decodeStashed(owner, backlog.bytes)
      backlog.isResuming = false
    }
    if (messages.isPaused || messages.decoder.isBroken) {
      return
    }
    if (backlog.heldCredit > 0) {
      credit(owner, 0)
    }
    if (backlog.isEnding) {
      backlog.isEnding = false
      receiving.end(owner)
    }
  }

  const forget = (owner: S) => {
    const { backlog } = owner
    receiving.forget(owner)
    // The peer may still have to send before it hears of the end.
    const stashed = backlog.bytes?.size ?? 0
    give(owner, stashed + backlog.heldCredit)
    backlog.heldCredit = 0
    waiting.size -= stashed
    if (backlog.bytes !== undefined) {
      ByteQueue.clear(backlog.bytes)
    }
    backlog.isEnding = false
    leave(owner)
  }

  return {
    receive: (owner, chunk) => {
      const taken = decode(owner, chunk)
      if (taken < chunk.length) {
        stash(owner, taken === 0 ? chunk : chunk.subarray(taken))
      }
    },
    end: (owner) => {
      if (owner.messages.isPaused) {
        owner.backlog.isEnding = true
      } else {
        receiving.end(owner)
      }
    },
    release: receiving.release,
    onWaiting: receiving.onWaiting,
    forget,
    forgetAll: (owner) => {
      forget(owner)
      receiving.releaseAll(owner)
    }
  }
}
