/** The credit of streams, which is held back while too much of the messages of a connection is unfinished. */
import type * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import type * as ByteQueue from "../../protocol/ByteQueue.js"
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
  /** Credit of what was decoded ahead, which waits for the reader. */
  aheadCredit: number
}

export const makeBacklog = (): Backlog => ({
  bytes: undefined,
  isResuming: false,
  isEnding: false,
  heldCredit: 0,
  aheadCredit: 0
})

/** A stream as its owner knows it. */
export interface Owner<O> extends GrpcReceiving.GrpcStream {
  readonly stream: Stream<O> | undefined
  readonly backlog: Backlog
}

export interface Holding<S> {
  /** Whether unfinished messages have to wait, but for one. */
  readonly isTooMuchUnfinished: () => boolean
  /** Gives a stream credit, whatever is unfinished. */
  readonly give: (owner: S, credit: number) => void
  /** Gives a stream credit for what was decoded, or holds it back. */
  readonly credit: (owner: S, size: number) => void
  /** A stream no longer keeps others from going on: its message has ended, or waits for its reader. */
  readonly leave: (owner: S) => void
}

export const make = <O, S extends Owner<O>>({
  http2,
  kept,
  settings: { connectionWindow }
}: Pick<Link<O>, "http2" | "kept" | "settings">): Holding<S> => {
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

  return { isTooMuchUnfinished, give, credit, leave }
}
