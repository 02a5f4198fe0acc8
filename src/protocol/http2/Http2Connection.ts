/**
 * One end of an HTTP/2 connection as a state machine: bytes in, events and bytes out, with no socket, no clock and no Effect.
 * docs/http2.md says section by section what of RFC 9113 it implements, and what bounds it.
 */

import { type Fields, isValue } from "../Fields.js"
import type { Head } from "./HpackEncoder.js"
import type { Http2Code } from "./Http2Error.js"
import * as Frames from "./Http2Frames.js"
import { Flag } from "./Http2Frames.js"
import * as HeaderBlock from "./Http2HeaderBlock.js"
import * as Receiver from "./Http2Receiver.js"
import * as SendQueue from "./Http2SendQueue.js"
import * as Settings from "./Http2Settings.js"
import * as State from "./Http2State.js"
import type { Stream } from "./Http2Stream.js"

export { noPrefix } from "./Http2Frames.js"
export type { Events, Limits, Role } from "./Http2State.js"
export type { Stream } from "./Http2Stream.js"

/** Fields that many blocks begin with, which are encoded once. */
export type PreparedHead = Head

export interface Http2Connection<O> {
  /**
   * Takes bytes as they come. Throws a `Http2Violation` when the peer broke the rules; nothing may be received after that. Returns
   * how many bytes it has taken: all, or as far as the frame with which the peer has begun or reset `most` streams.
   */
  readonly receive: (chunk: Buffer, now: number, most?: number) => number
  /** How many streams the peer has begun and reset so far. */
  readonly came: () => number
  /** Counts a stream that cost work and brought nothing. Throws as `receive` does. */
  readonly useless: (now: number) => void
  /** Whether a frame that is not DATA, or a header block, has begun and not ended. */
  readonly isMidFrame: () => boolean
  /** The peer's SETTINGS, once they have come. */
  readonly peerSettings: () => Settings.Settings | undefined
  /** Whether the peer takes one more stream. */
  readonly canOpen: () => boolean
  /** Whether all stream ids are used up: it takes another connection to open more. */
  readonly isExhausted: () => boolean
  /** Open streams of this end, and of the peer. */
  readonly openCount: () => number
  readonly theirs: () => number
  /** The fields that the heads of many streams begin with, for this connection alone. */
  readonly makeHead: (fields: Fields) => PreparedHead
  /** Opens a stream at a client. What throws has opened nothing. */
  readonly open: (head: PreparedHead, rest: Fields, isEnd: boolean, owner: O) => Stream<O>
  /** Sends a response head, or the trailers, which wait for the data that was sent before them. */
  readonly sendHeaders: (stream: Stream<O>, head: PreparedHead | undefined, rest: Fields, isEnd: boolean) => void
  /**
   * Sends data once there is credit for it, and calls `sent` when the last byte is written, which may be at once. One at a time for
   * each stream. With a `prefix` that is not `noPrefix`, that byte and the length go before it.
   */
  readonly sendData: (stream: Stream<O>, data: Uint8Array, prefix: number, isEnd: boolean, sent: () => void) => void
  /** Whether some data of a stream has not been written. */
  readonly isSending: (stream: Stream<O>) => boolean
  /** Ends a stream with RST_STREAM. What it has not sent is not sent. */
  readonly reset: (stream: Stream<O>, code: Http2Code) => void
  /** Bytes of a stream were read; where negative, as many that were count as unread again. */
  readonly consume: (stream: Stream<O>, size: number) => void
  /** `isFull` may have become false: the connection gets the credit that is due then. */
  readonly replenish: () => void
  readonly ping: (payload: bigint) => void
  /** The last frame before the connection is closed, or drained: streams that begin from now on are ignored. */
  readonly goaway: (code: Http2Code, text: string) => void
  /** Asks the peer to open no more streams. Those that come nevertheless are taken. */
  readonly retire: () => void
  /** Bytes that `output` would return whatever the credit. */
  readonly buffered: () => number
  /** Bytes of data that wait to be sent. */
  readonly unsent: () => number
  /** All output has been sent, so that its room may serve again; `trim` lets go of all room that nothing is in. */
  readonly reclaim: () => void
  readonly trim: () => void
  /** The bytes to send now: everything but what waits for credit, and of large messages no more than the budget. */
  readonly output: (budget: number) => ReadonlyArray<Buffer>
  /** The open streams, whatever changes while they are read. */
  readonly streams: () => ReadonlyArray<Stream<O>>
}

/** What this end sends first: RFC 9113 section 3.4, and the window of the connection, which SETTINGS can't change. */
const begin = <O>({ flow, limits, role, sendQueue: { writer } }: State.State<O>) => {
  if (role === "client") {
    const at = writer.reserve(Frames.preface.length)
    writer.buffer.set(Frames.preface, at)
    writer.commit(at + Frames.preface.length)
  }
  Frames.writeSettings(writer, Settings.entries(role, limits))
  const more = flow.window - Settings.defaultWindow
  if (more > 0) {
    Frames.writeWindowUpdate(writer, 0, more)
  }
}

const isHead = (fields: Fields): boolean => fields.some(([name, value]) => name === ":method" && value === "HEAD")

export const make = <O>(role: State.Role, limits: State.Limits, events: State.Events<O>): Http2Connection<O> => {
  const state = State.make(role, limits, events)
  const { sendQueue, streams } = state
  const { encoder, writer } = sendQueue
  const receiver = Receiver.make(state)

  begin(state)

  const isExhausted = () => state.nextMine > Frames.maxStreamId

  return {
    receive: (chunk, now, most = Number.POSITIVE_INFINITY) => Receiver.receive(receiver, chunk, now, most),
    came: () => receiver.messages.came,
    useless: receiver.messages.counters.countUseless,
    isMidFrame: () => Receiver.isMidFrame(receiver),
    peerSettings: () => state.peer,
    canOpen: () =>
      state.peer !== undefined &&
      !state.isGoawayReceived &&
      state.mine < state.peer.maxConcurrentStreams &&
      !isExhausted(),
    isExhausted,
    openCount: () => state.mine,
    theirs: () => state.theirs,
    makeHead: (fields) => {
      if (!fields.every(([, value]) => isValue(value))) {
        throw new RangeError("a head with values that can't be sent")
      }
      return encoder.makeHead(fields)
    },
    open: (head, rest, isEnd, owner) => {
      const id = state.nextMine
      if (role !== "client" || isExhausted()) {
        throw new Error("only clients open streams, and only as many as there are ids")
      }
      HeaderBlock.write(writer, encoder, id, isEnd ? Flag.endStream : 0, head, rest)
      state.nextMine = id + 2
      const stream = State.begin(state, id, true)
      stream.owner = owner
      stream.isLocalDone = isEnd
      stream.isHeadRequest = isHead(head.fields)
      return stream
    },
    sendHeaders: (stream, head, rest, isEnd) => {
      if (!stream.isGone) {
        SendQueue.addHeaders(sendQueue, stream, head, rest, isEnd)
      }
    },
    sendData: (stream, data, prefix, isEnd, sent) => {
      if (!stream.isGone) {
        SendQueue.add(sendQueue, stream, data, prefix, isEnd, sent)
      }
    },
    isSending: (stream) => stream.data !== undefined,
    reset: (stream, code) => {
      if (!stream.isGone) {
        State.reset(state, stream, code)
      }
    },
    consume: (stream, size) => State.consume(state, stream, size),
    replenish: () => {
      if (!events.isFull()) {
        State.replenish(state)
      }
    },
    ping: (payload) => {
      Frames.writePing(writer, 0, Number(BigInt.asUintN(32, payload >> 32n)), Number(BigInt.asUintN(32, payload)))
    },
    goaway: (code, text) => {
      if (state.lastTheirs === Frames.maxStreamId) {
        state.lastTheirs = Math.max(0, state.nextTheirs - 2)
        // As many may have begun at the peer as it may have open, and all of them will be ignored.
        State.expectLate(state, 0, limits.maxConcurrentStreams)
      }
      Frames.writeGoaway(writer, state.lastTheirs, code, text)
    },
    retire: () => Frames.writeGoaway(writer, state.lastTheirs, "NO_ERROR", ""),
    buffered: () => SendQueue.buffered(sendQueue),
    unsent: () => sendQueue.unsent,
    reclaim: () => SendQueue.reclaim(sendQueue),
    trim: () => SendQueue.trim(sendQueue),
    output: (budget) => SendQueue.take(sendQueue, budget),
    streams: () => streams.entries().map(([, stream]) => stream)
  }
}
