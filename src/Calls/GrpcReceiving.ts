/**
 * The messages of gRPC calls on their way in, on any HTTP: what they cost while they are unfinished or unread, counted for the
 * connection, when their sender has to wait, and how long one that has begun may take.
 */
import * as Duration from "effect/Duration"
import * as GrpcMessage from "../protocol/grpc/GrpcMessage.js"
import * as IdTable from "../protocol/IdTable.js"
import type { Where } from "../Transport/internal/where.js"
import { Internal, type StatusError } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { Deadlines } from "./Deadlines.js"
import * as GrpcInflating from "./GrpcInflating.js"

/** What a message costs beside its bytes. */
const messageOverhead = 128

const costOf = (message: Uint8Array): number => message.length + messageOverhead

const malformedFlags = "a message has flags that gRPC does not define"

/** Bytes of messages that wait for the reader of a call before the peer has to wait. */
const maxUnreadBytes = 64 * 1024

/** What the peer of a connection makes this end keep, in bytes. */
export interface Kept {
  unread: number
  unfinished: number
  /** Calls with an unfinished message. */
  begun: number
}

export const makeKept = (): Kept => ({ unread: 0, unfinished: 0, begun: 0 })

/** The messages of one direction of a call. */
export interface Inbound {
  readonly decoder: GrpcMessage.Decoder
  /** What those that nobody has read cost. */
  unread: number
  /** What the unfinished one costs, and when the peer was last free to go on with it. */
  unfinished: number
  since: number
  /** What its message costs that is whole, where the call is not read before its end and `holdUnfinished` is set. */
  whole: number
  /** Its reader holds it up. */
  isPaused: boolean
  /** This end holds up its sender, because too much is unfinished. */
  isHeld: boolean
  /** Its reader waits for one. */
  isAwaited: boolean
  /** Those that wait because they, or others before them, have to be inflated. */
  packed: GrpcInflating.Packed | undefined
}

export const makeInbound = (limit: number): Inbound => ({
  decoder: GrpcMessage.makeDecoder(limit),
  unread: 0,
  unfinished: 0,
  since: 0,
  whole: 0,
  isPaused: false,
  isHeld: false,
  isAwaited: false,
  packed: undefined
})

/** The messages of a call may be compressed with gzip, as its head has said. */
export const takeCompressed = ({ decoder }: Inbound): void => {
  decoder.takesCompressed = true
}

/** Whether what has come ends within a message. */
export const isCutOff = ({ decoder }: Inbound): boolean => GrpcMessage.isMidMessage(decoder)

/** The part of a wire's record of a call that is needed here. */
export interface GrpcStream {
  readonly id: number
  readonly messages: Inbound
  /** What its errors tell, at the end that opened it. */
  readonly where?: Where
}

/** The parts of a connection that its messages on their way in need. */
export interface Context<S> {
  readonly deadlines: Deadlines
  readonly kept: Kept
  /** Called when something was read: the listener learns what the connection keeps now. */
  readonly account: () => void
  readonly settings: {
    readonly connectionWindow: number
    readonly messageTimeout: Duration.Duration
    readonly maxReceiveMessageSize: number
  }
  /** Reads no more of a stream until it is resumed, so that the peer has to wait. What came already is still received. */
  readonly pause: (stream: S) => void
  readonly resume: (stream: S) => void
  /** Called when messages were reported later than they came, and answers to them may leave. */
  readonly flush: () => void
  /** Ends the connection for what was thrown on it. */
  readonly onThrown: (cause: unknown) => void
  /**
   * The wire gives no more credit for unfinished messages while they are more than `connectionWindow` together; those of
   * calls that are not read before their end are unfinished until then. Without it the call ends whose message brings them
   * above it.
   */
  readonly holdUnfinished?: boolean
}

/** Callbacks for the messages of calls. */
export interface Events<S> {
  /** Whether messages are read while they come, so that the stream can be paused. */
  readonly isReadable: (stream: S) => boolean
  /** A message has come, which costs so much until it is released. */
  readonly onMessage: (stream: S, message: Uint8Array, cost: number) => void
  /** All of the peer's half has come, and its messages were reported. */
  readonly onEnd: (stream: S) => void
  /** Ends a call for messages that can't be taken. */
  readonly fail: (stream: S, error: StatusError) => void
  /** What is wrong with a message that is compressed though no `grpc-encoding` says how. */
  readonly compressedText: string
}

export interface Receiving<S> {
  /** Takes bytes as they come; keeps none of the chunk. */
  readonly receive: (stream: S, chunk: Buffer) => void
  /** All has come. */
  readonly end: (stream: S) => void
  /** Messages were read, which cost so much together: the peer may go on if it had to wait. */
  readonly release: (stream: S, cost: number) => void
  /** A reader waits for a message. */
  readonly onWaiting: (stream: S) => void
  /** Pauses a stream whose reader has no room for another message. */
  readonly pauseIfFull: (stream: S) => void
  /** Nobody will read what has come. */
  readonly releaseAll: (stream: S) => void
  /** The call is over: drops what was not reported of it, and what may still come. */
  readonly forget: (stream: S) => void
}

export const make = <S extends GrpcStream>(context: Context<S>, events: Events<S>): Receiving<S> => {
  const { account, deadlines, flush, holdUnfinished = false, kept, onThrown, pause, resume, settings } = context
  const { connectionWindow, maxReceiveMessageSize } = settings
  const { fail, isReadable } = events
  const timeout = Duration.toMillis(settings.messageTimeout)
  const unfinished = IdTable.make<S>()
  let isWatching = false

  const expire = () => {
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const [, stream] of unfinished.entries()) {
      const { messages } = stream
      if (messages.isPaused || messages.isHeld) {
        messages.since = now
      }
      const left = messages.since + timeout - now
      if (left > 0) {
        next = Math.min(next, left)
      } else if (messages.unfinished > 0) {
        fail(stream, CallErrors.messageOverdue(settings.messageTimeout, stream.where))
      }
    }
    isWatching = next !== Number.POSITIVE_INFINITY
    if (isWatching) {
      deadlines.add(next, expire)
    }
  }

  const watch = () => {
    if (!isWatching && timeout !== Number.POSITIVE_INFINITY) {
      isWatching = true
      deadlines.add(timeout, expire)
    }
  }

  const charge = (stream: S, cost: number) => {
    const { messages } = stream
    if (messages.unfinished === 0 && cost > 0) {
      kept.begun += 1
      unfinished.add(stream.id, stream)
      watch()
    } else if (messages.unfinished > 0 && cost === 0) {
      kept.begun -= 1
      unfinished.remove(stream.id)
    }
    kept.unfinished += cost - messages.unfinished
    messages.unfinished = cost
  }

  const retain = (messages: Inbound, cost: number) => {
    kept.unread += cost
    messages.unread += cost
  }

  const isWithinBudget = ({ unread }: Inbound) => unread <= maxUnreadBytes && kept.unread <= connectionWindow

  /** The stream of a reader that waits goes on, whatever others leave unread. */
  const hasRoom = (messages: Inbound) => (messages.unread === 0 && messages.isAwaited) || isWithinBudget(messages)

  /** Whether a call's unread messages are too much for the connection. Those of one call alone never are. */
  const isTooMuch = ({ packed, unread }: Inbound) =>
    kept.unread > connectionWindow && kept.unread > unread + (packed?.cost ?? 0)

  const failUnread = (stream: S) => fail(stream, CallErrors.unreadTooMuch(connectionWindow, stream.where))

  const pauseIfFull = (stream: S) => {
    const { messages } = stream
    if (!messages.isPaused && (!hasRoom(messages) || (messages.packed?.cost ?? 0) > maxUnreadBytes)) {
      messages.isPaused = true
      pause(stream)
    }
  }

  const resumeIfRoom = (stream: S) => {
    const { messages } = stream
    if (messages.isPaused && hasRoom(messages) && (messages.packed?.cost ?? 0) <= maxUnreadBytes) {
      messages.isPaused = false
      messages.since = performance.now()
      resume(stream)
    }
  }

  const deliver = (stream: S, message: Uint8Array) => {
    const { messages } = stream
    const cost = costOf(message)
    messages.isAwaited = false
    if (holdUnfinished && !isReadable(stream)) {
      messages.whole += cost
      charge(stream, messages.unfinished + cost)
      return events.onMessage(stream, message, 0)
    }
    retain(messages, cost)
    if (isReadable(stream)) {
      pauseIfFull(stream)
      events.onMessage(stream, message, cost)
    } else if (isTooMuch(messages)) {
      retain(messages, -cost)
      failUnread(stream)
    } else {
      events.onMessage(stream, message, cost)
    }
  }

  /**
   * Whether the next message of a stream may be inflated. Stricter than for what was not compressed, since its sender pays
   * nothing for what it becomes: for a reader that waits, for a call that is whole, or within the budget.
   */
  const isReady = (stream: S) => {
    const { messages } = stream
    return isReadable(stream)
      ? messages.isAwaited || isWithinBudget(messages)
      : messages.packed?.hasEnded === true || kept.unread + kept.unfinished <= connectionWindow
  }

  /** All of the peer's half was reported. */
  const finish = (stream: S) => {
    stream.messages.whole = 0
    charge(stream, 0)
    events.onEnd(stream)
  }

  const inflating = GrpcInflating.make<S>({
    maxSize: maxReceiveMessageSize,
    costOf,
    keep: (size) => {
      kept.unread += size
    },
    onGrown: account,
    isReady,
    deliver,
    onLess: resumeIfRoom,
    onEnd: finish,
    fail,
    flush,
    onThrown
  })

  const messageEvents: GrpcMessage.Events<S> = {
    onMessage: (message, stream, isCompressed) => {
      const { messages } = stream
      if (!isCompressed && messages.packed === undefined) {
        return deliver(stream, message)
      }
      inflating.take(stream, message, isCompressed)
      if (isReadable(stream)) {
        pauseIfFull(stream)
      } else if (messages.packed !== undefined && isTooMuch(messages)) {
        failUnread(stream)
      }
    },
    onBroken: (why, stream) =>
      fail(
        stream,
        why === "TooLarge"
          ? CallErrors.messageTooLarge(maxReceiveMessageSize, stream.where)
          : new Internal({ message: why === "Malformed" ? malformedFlags : events.compressedText, ...stream.where })
      )
  }

  return {
    receive: (stream, chunk) => {
      const { messages } = stream
      const { decoder } = messages
      GrpcMessage.receive(decoder, messageEvents, stream, chunk)
      const isUnfinished = (GrpcMessage.isMidMessage(decoder) || messages.whole > 0) && !decoder.isBroken
      if (!isUnfinished && messages.unfinished === 0) {
        return
      }
      if (messages.unfinished === 0 || decoder.messageAt <= chunk.length) {
        messages.since = performance.now()
      }
      charge(stream, isUnfinished ? decoder.message.length + messageOverhead + messages.whole : 0)
      // One alone may be as large as a message may be.
      if (!holdUnfinished && kept.begun > 1 && kept.unfinished > connectionWindow && isUnfinished) {
        fail(stream, CallErrors.unfinishedTooMuch(connectionWindow, stream.where))
      }
    },
    end: (stream) => {
      const { packed } = stream.messages
      if (packed === undefined) {
        finish(stream)
      } else {
        packed.hasEnded = true
        inflating.advance(stream)
      }
    },
    release: (stream, cost) => {
      const { messages } = stream
      retain(messages, -Math.min(cost, messages.unread))
      if (isReadable(stream)) {
        account()
        inflating.advance(stream)
        resumeIfRoom(stream)
      }
    },
    onWaiting: (stream) => {
      stream.messages.isAwaited = true
      inflating.advance(stream)
      resumeIfRoom(stream)
    },
    pauseIfFull: (stream) => {
      if (isReadable(stream)) {
        pauseIfFull(stream)
      }
    },
    releaseAll: ({ messages }) => retain(messages, -messages.unread),
    forget: (stream) => {
      charge(stream, 0)
      inflating.forget(stream)
      GrpcMessage.drop(stream.messages.decoder)
    }
  }
}
