/**
 * The messages of calls on their way in: what they cost while they are unfinished or unread, counted for the connection,
 * and how long one that has begun may take.
 */
import * as Duration from "effect/Duration"
import * as CallErrors from "../../Calls/CallErrors.js"
import type { Deadlines } from "../../Calls/Deadlines.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"
import * as IdTable from "../../protocol/IdTable.js"
import type { Where } from "../../Transport/internal/where.js"
import type { StatusError } from "../../Transport/TransportError.js"
import type { Settings } from "../QuicOptions.js"

/** What a message costs beside its bytes. */
export const messageOverhead = 128

/** What is read at a time while a connection keeps more than it may: bytes that hold few messages. */
const lowReadBytes = 1024

/** What the peer of a connection makes this end keep, in bytes. */
export interface Kept {
  unread: number
  unfinished: number
  /** Calls with an unfinished message. */
  begun: number
}

export const makeKept = (): Kept => ({ unread: 0, unfinished: 0, begun: 0 })

/** How much of a stream to read at a time. */
export const readBytes = (kept: Kept, connectionWindow: number): number | undefined =>
  kept.unread > connectionWindow ? lowReadBytes : undefined

/** The messages of one direction of a call. */
export interface Inbound {
  readonly decoder: GrpcMessage.Decoder
  /** What those that nobody has read cost. */
  unread: number
  /** What the unfinished one costs, and when the peer was last free to go on with it. */
  unfinished: number
  since: number
  /** Its reader holds it up. */
  isPaused: boolean
}

export const makeInbound = (limit: number): Inbound => ({
  decoder: GrpcMessage.makeDecoder(limit),
  unread: 0,
  unfinished: 0,
  since: 0,
  isPaused: false
})

/** What a message costs that nobody has read. */
export const costOf = (message: Uint8Array): number => message.length + messageOverhead

/** Counts a message that nobody has read. */
export const hold = (kept: Kept, inbound: Inbound, size: number): void => {
  kept.unread += size + messageOverhead
  inbound.unread += size + messageOverhead
}

/** Messages have been read, or will not be. */
export const giveBack = (kept: Kept, inbound: Inbound, cost: number): void => {
  kept.unread -= cost
  inbound.unread -= cost
}

/** Whether a call's unread messages are too much for the connection. Those of one call alone never are. */
export const isTooMuch = (kept: Kept, inbound: Inbound, connectionWindow: number): boolean =>
  kept.unread > connectionWindow && kept.unread > inbound.unread

interface Call {
  readonly id: number
  readonly messages: Inbound
  /** What its errors tell, at the end that opened it. */
  readonly where?: Where
}

export interface Receiving<C extends Call> {
  /** Takes what comes. */
  readonly receive: (call: C, chunk: Buffer) => void
  /** Drops the unfinished message of a call that has ended, and what may still come. */
  readonly forget: (call: C) => void
}

/** What of a connection its messages on their way in need. */
export interface Context {
  readonly deadlines: Deadlines
  readonly kept: Kept
  readonly settings: Pick<Settings, "connectionWindow" | "messageTimeout">
}

/** `fail` ends a call for a message that is not finished as it should be. */
export const make = <C extends Call>(
  { deadlines, kept, settings }: Context,
  events: GrpcMessage.Events<C>,
  fail: (call: C, error: StatusError) => void
): Receiving<C> => {
  const { connectionWindow } = settings
  const timeout = Duration.toMillis(settings.messageTimeout)
  const unfinished = IdTable.make<C>()
  let isWatching = false

  const expire = () => {
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const [, call] of unfinished.entries()) {
      const { messages } = call
      if (messages.isPaused) {
        messages.since = now
      }
      const left = messages.since + timeout - now
      if (left > 0) {
        next = Math.min(next, left)
      } else if (messages.unfinished > 0) {
        fail(call, CallErrors.messageOverdue(settings.messageTimeout, call.where))
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

  const charge = (call: C, cost: number) => {
    const { messages } = call
    if (messages.unfinished === 0 && cost > 0) {
      kept.begun += 1
      unfinished.add(call.id, call)
      watch()
    } else if (messages.unfinished > 0 && cost === 0) {
      kept.begun -= 1
      unfinished.remove(call.id)
    }
    kept.unfinished += cost - messages.unfinished
    messages.unfinished = cost
  }

  return {
    receive: (call, chunk) => {
      const { messages } = call
      const { decoder } = messages
      GrpcMessage.receive(decoder, events, call, chunk)
      const isUnfinished = GrpcMessage.isMidMessage(decoder) && !decoder.isBroken
      if (!isUnfinished && messages.unfinished === 0) {
        return
      }
      if (messages.unfinished === 0 || decoder.messageAt <= chunk.length) {
        messages.since = performance.now()
      }
      charge(call, isUnfinished ? decoder.message.length + messageOverhead : 0)
      // One alone may be as large as a message may be.
      if (kept.begun > 1 && kept.unfinished > connectionWindow && isUnfinished) {
        fail(call, CallErrors.unfinishedTooMuch(connectionWindow, call.where))
      }
    },
    forget: (call) => {
      charge(call, 0)
      GrpcMessage.drop(call.messages.decoder)
    }
  }
}
