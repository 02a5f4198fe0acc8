/**
 * Data of streams on its way to the messages in it. What a reader has no room for stays undecoded, and its credit with it,
 * so that whoever reads slowly holds up the sender of that stream alone.
 */
import { constVoid } from "effect/Function"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import type { Stream } from "../../protocol/http2/Http2Connection.js"
import type { Link } from "./grpcLink.js"

/** What has come of a stream and is not decoded. */
export interface Backlog {
  bytes: Buffer | undefined
  size: number
  /** The peer has sent all, which the reader hears behind the backlog. */
  isEnding: boolean
  /** Credit that waits until unfinished messages of other streams have ended. */
  heldCredit: number
}

export const makeBacklog = (): Backlog => ({ bytes: undefined, size: 0, isEnding: false, heldCredit: 0 })

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
  /** Streams whose unfinished messages wait for credit, and the one that goes on although too much is unfinished. */
  const held = new Set<S>()
  let first: S | undefined

  const isTooMuchUnfinished = () => kept.begun > 1 && kept.unfinished > connectionWindow

  const receiving = GrpcReceiving.make<S>(
    {
      ...link,
      pause: constVoid,
      resume: (owner) => resume(owner),
      holdUnfinished: true
    },
    {
      ...events,
      onEnd: (owner) => {
        // Its call goes on, for as long as its handler does: what it held up does not wait for that.
        giveHeld(owner)
        advanceHeld(owner)
        events.onEnd(owner)
      }
    }
  )

  const give = ({ stream }: S, credit: number) => {
    if (stream !== undefined && credit > 0) {
      http2.consume(stream, credit)
    }
  }

  const giveHeld = (owner: S) => {
    const credit = owner.backlog.heldCredit
    held.delete(owner)
    owner.backlog.heldCredit = 0
    owner.messages.since = performance.now()
    give(owner, credit)
  }

  /** The unfinished message of a stream has ended: others may go on. */
  const advance = (owner: S) => {
    if (first === owner) {
      first = undefined
    }
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

  const advanceHeld = (owner: S) => {
    if (held.size > 0 || first !== undefined) {
      advance(owner)
    }
  }

  const credit = (owner: S, size: number) => {
    if (isTooMuchUnfinished() && owner.messages.unfinished > 0) {
      first ??= owner
      if (first !== owner) {
        held.add(owner)
        owner.backlog.heldCredit += size
        return
      }
    } else {
      advanceHeld(owner)
    }
    give(owner, size)
  }

  const setWaiting = (backlog: Backlog, size: number) => {
    waiting.size += size - backlog.size
    backlog.size = size
  }

  /** Decodes bytes as far as the reader has room for messages; returns how many. */
  const decode = (owner: S, chunk: Buffer): number => {
    let at = 0
    while (at < chunk.length && !owner.messages.isPaused) {
      const size = Math.min(chunk.length - at, kept.unread > connectionWindow ? lowDecodeBytes : decodeBytes)
      receiving.receive(owner, size === chunk.length ? chunk : chunk.subarray(at, at + size))
      at += size
    }
    credit(owner, at)
    return at
  }

  const stash = ({ backlog }: S, chunk: Buffer) => {
    const size = backlog.size + chunk.length
    if (backlog.bytes === undefined || backlog.bytes.length < size) {
      const larger = Buffer.allocUnsafeSlow(Math.max(size, 2 * backlog.size))
      backlog.bytes?.copy(larger, 0, 0, backlog.size)
      backlog.bytes = larger
    }
    chunk.copy(backlog.bytes, backlog.size)
    setWaiting(backlog, size)
  }

  const resume = (owner: S) => {
    const { backlog } = owner
    const { bytes, size } = backlog
    if (bytes !== undefined) {
      backlog.bytes = undefined
      setWaiting(backlog, 0)
      const taken = decode(owner, bytes.subarray(0, size))
      if (taken < size) {
        stash(owner, bytes.subarray(taken, size))
      }
    }
    if (backlog.isEnding && !owner.messages.isPaused) {
      backlog.isEnding = false
      receiving.end(owner)
    }
  }

  const forget = (owner: S) => {
    const { backlog } = owner
    receiving.forget(owner)
    backlog.bytes = undefined
    setWaiting(backlog, 0)
    backlog.isEnding = false
    held.delete(owner)
    advanceHeld(owner)
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
