/**
 * Data of streams on its way to the messages in it. What a reader has no room for stays undecoded, and its credit with it,
 * so that whoever reads slowly holds up the sender of that stream alone.
 */
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as ByteQueue from "../../protocol/ByteQueue.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as Ahead from "./grpcAhead.js"
import type { Owner } from "./grpcHolding.js"
import * as Holding from "./grpcHolding.js"
import type { Link } from "./grpcLink.js"

export type { Backlog, Owner } from "./grpcHolding.js"
export { makeBacklog } from "./grpcHolding.js"

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
  const { backlog: waiting, kept, settings } = link
  const { connectionWindow } = settings
  const { credit, give, isTooMuchUnfinished, leave } = Holding.make<O, S>(link)

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

  /** Decodes what follows of large messages although their reader has no room; returns how many bytes. */
  const decodeAhead = (owner: S, chunk: Buffer, from: number): number => {
    const { backlog, messages } = owner
    let at = from
    while (at < chunk.length && messages.isPaused && Ahead.isAllowed(kept, connectionWindow)) {
      const size = Ahead.sizeOf(messages.decoder, chunk, at)
      if (size === 0) {
        break
      }
      backlog.aheadCredit += size
      receiving.receive(owner, chunk.subarray(at, at + size))
      at += size
      if (messages.decoder.isBroken) {
        give(owner, chunk.length - at)
        at = chunk.length
      }
    }
    return at - from
  }

  const take = (owner: S, chunk: Buffer): number => {
    let at = 0
    do {
      at += decode(owner, at === 0 ? chunk : chunk.subarray(at))
      at += decodeAhead(owner, chunk, at)
    } while (at < chunk.length && !owner.messages.isPaused)
    return at
  }

  /** Gives back what the reader has made room for of the credit for what was decoded ahead. */
  const giveAhead = (owner: S) => {
    const { backlog, messages } = owner
    if (messages.isPaused && backlog.aheadCredit > 0 && kept.unread <= connectionWindow && !isTooMuchUnfinished()) {
      const due = Ahead.creditDue(messages, backlog.aheadCredit)
      backlog.aheadCredit -= due
      give(owner, due)
    }
  }

  const stash = ({ backlog }: S, chunk: Buffer) => {
    backlog.bytes ??= ByteQueue.make()
    ByteQueue.push(backlog.bytes, chunk)
    waiting.size += chunk.length
  }

  const takeStashed = (owner: S, bytes: ByteQueue.ByteQueue) => {
    let isStuck = false
    while (bytes.size > 0 && !isStuck) {
      const chunk = ByteQueue.shift(bytes)
      waiting.size -= chunk.length
      const rest = chunk.subarray(take(owner, chunk))
      ByteQueue.unshift(bytes, rest)
      waiting.size += rest.length
      isStuck = rest.length > 0
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
      takeStashed(owner, backlog.bytes)
      backlog.isResuming = false
    }
    if (messages.isPaused || messages.decoder.isBroken) {
      return
    }
    if (backlog.heldCredit + backlog.aheadCredit > 0) {
      const due = backlog.aheadCredit
      backlog.aheadCredit = 0
      credit(owner, due)
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
    give(owner, stashed + backlog.heldCredit + backlog.aheadCredit)
    backlog.heldCredit = 0
    backlog.aheadCredit = 0
    waiting.size -= stashed
    if (backlog.bytes !== undefined) {
      ByteQueue.clear(backlog.bytes)
    }
    backlog.isEnding = false
    leave(owner)
  }

  return {
    receive: (owner, chunk) => {
      const { backlog, messages } = owner
      if (backlog.bytes !== undefined && backlog.bytes.size > 0) {
        stash(owner, chunk)
        if (
          Ahead.isAllowed(kept, connectionWindow) &&
          Ahead.sizeOf(messages.decoder, ByteQueue.first(backlog.bytes), 0) > 0
        ) {
          resume(owner)
        }
        return
      }
      const taken = take(owner, chunk)
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
    release: (owner, cost) => {
      receiving.release(owner, cost)
      giveAhead(owner)
    },
    onWaiting: receiving.onWaiting,
    forget,
    forgetAll: (owner) => {
      forget(owner)
      receiving.releaseAll(owner)
    }
  }
}
