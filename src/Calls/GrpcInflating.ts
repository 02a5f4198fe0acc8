/**
 * Compressed messages of calls on their way in. A few bytes may become as much as a message may have, so they are inflated
 * one by one: those of a stream as fast as its reader takes them, and of a connection one at a time.
 */
import * as EventLoop from "../Transport/internal/eventLoop.js"
import { Internal, type StatusError } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import * as Gzip from "./Gzip.js"

/** A message as it came. */
interface Message {
  readonly bytes: Uint8Array
  readonly isCompressed: boolean
}

/** The messages of a stream that wait to be inflated, and those behind them. */
export interface Packed {
  readonly messages: Array<Message>
  /** What they cost. */
  cost: number
  isQueued: boolean
  /** All of the peer's half has come. */
  hasEnded: boolean
}

interface PackedStream {
  readonly messages: { packed: Packed | undefined }
  readonly where?: CallErrors.Where
}

/** Callbacks for what was inflated, and what that needs of a connection. */
export interface Context<S> {
  readonly maxSize: number
  /** What a message costs that waits. */
  readonly costOf: (message: Uint8Array) => number
  /** Counts what the connection keeps. */
  readonly keep: (size: number) => void
  /** Called when the message that is being inflated has grown. */
  readonly onGrown: () => void
  /** Whether the next message of a stream may be delivered. If not, `advance` follows when it may. */
  readonly isReady: (stream: S) => boolean
  readonly deliver: (stream: S, message: Uint8Array) => void
  /** Called when messages of a stream wait no longer. */
  readonly onLess: (stream: S) => void
  readonly onEnd: (stream: S) => void
  readonly fail: (stream: S, error: StatusError) => void
  /** Called when something was delivered later than it came. */
  readonly flush: () => void
  readonly onThrown: (cause: unknown) => void
}

export interface GrpcInflating<S> {
  /** Takes a message of a stream that is compressed, or behind such. */
  readonly take: (stream: S, message: Uint8Array, isCompressed: boolean) => void
  /** A stream may have become ready. */
  readonly advance: (stream: S) => void
  /** Drops the messages of a stream. */
  readonly forget: (stream: S) => void
}

/** The message of a stream that is being inflated. */
interface Current<S> {
  readonly stream: S
  readonly giveUp: () => void
  size: number
}

export const make = <S extends PackedStream>(context: Context<S>): GrpcInflating<S> => {
  const { costOf, deliver, fail, flush, isReady, keep, maxSize, onEnd, onGrown, onLess, onThrown } = context
  /** Streams that have something to inflate, each once. */
  const queue: Array<S> = []
  let current: Current<S> | undefined
  let isAdvancing = false
  let isScheduled = false

  const enqueue = (stream: S, packed: Packed) => {
    if (!packed.isQueued && current?.stream !== stream && isReady(stream)) {
      packed.isQueued = true
      queue.push(stream)
    }
  }

  /** Removes the first message of a stream, and delivers what it came to. */
  const settle = (stream: S, packed: Packed, result: Gzip.Inflated) => {
    const first = packed.messages.shift()
    const cost = first === undefined ? 0 : costOf(first.bytes)
    packed.cost -= cost
    keep(-cost)
    if (result === "TooLarge") {
      return fail(stream, CallErrors.messageTooLarge(maxSize, stream.where))
    }
    if (result === "Malformed") {
      return fail(stream, new Internal({ message: "a compressed message can't be inflated", ...stream.where }))
    }
    if (packed.messages.length === 0) {
      stream.messages.packed = undefined
    }
    deliver(stream, result)
    if (stream.messages.packed === packed) {
      enqueue(stream, packed)
    } else if (packed.messages.length === 0 && packed.hasEnded) {
      onEnd(stream)
    }
    onLess(stream)
  }

  const inflateLater = (stream: S, packed: Packed, bytes: Uint8Array) => {
    const started: Current<S> = {
      stream,
      size: 0,
      giveUp: Gzip.inflate(
        bytes,
        maxSize,
        (size) => {
          started.size += size
          keep(size)
          guarded(onGrown)
        },
        (result) => {
          current = undefined
          keep(-started.size)
          guarded(() => {
            settle(stream, packed, result)
            run()
            flush()
          })
        }
      )
    }
    current = started
  }

  const guarded = (run: () => void) => {
    try {
      run()
    } catch (cause) {
      onThrown(cause)
    }
  }

  const schedule = () => {
    if (!isScheduled) {
      isScheduled = true
      setImmediate(() => {
        isScheduled = false
        guarded(() => {
          run()
          flush()
        })
      })
    }
  }

  /** Inflates what is small until the turn of the event loop is long, or something is large. */
  const runQueue = () => {
    while (current === undefined && queue.length > 0) {
      if (EventLoop.shouldYield()) {
        return schedule()
      }
      const stream = queue.shift()
      const packed = stream?.messages.packed
      if (stream === undefined || packed === undefined) {
        continue
      }
      packed.isQueued = false
      const [first] = packed.messages
      if (first === undefined || !isReady(stream)) {
        continue
      }
      const result = first.isCompressed ? Gzip.inflateNow(first.bytes, maxSize) : first.bytes
      if (result === "Later") {
        inflateLater(stream, packed, first.bytes)
      } else {
        settle(stream, packed, result)
      }
    }
  }

  const run = () => {
    if (!isAdvancing) {
      isAdvancing = true
      try {
        runQueue()
      } finally {
        isAdvancing = false
      }
    }
  }

  const advance = (stream: S) => {
    const { packed } = stream.messages
    if (packed !== undefined) {
      enqueue(stream, packed)
      run()
    }
  }

  return {
    take: (stream, bytes, isCompressed) => {
      stream.messages.packed ??= { messages: [], cost: 0, isQueued: false, hasEnded: false }
      const { packed } = stream.messages
      const cost = costOf(bytes)
      packed.messages.push({ bytes, isCompressed })
      packed.cost += cost
      keep(cost)
      advance(stream)
    },
    advance,
    forget: (stream) => {
      const { packed } = stream.messages
      if (packed === undefined) {
        return
      }
      stream.messages.packed = undefined
      keep(-packed.cost)
      if (current?.stream === stream) {
        current.giveUp()
        keep(-current.size)
        current = undefined
        schedule()
      }
    }
  }
}
