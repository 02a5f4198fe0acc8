/**
 * One end of a TlsLive connection as a state machine: bytes in, events and bytes out, with no socket, no clock and no Effect.
 * The format is described in docs/wire.md.
 */

import type { Entries } from "../Entries.js"
import type * as Wire from "./Wire.js"
import { farAhead, Type } from "./Wire.js"
import * as FrameBuffer from "./WireFrameBuffer.js"
import * as Frames from "./WireFrames.js"
import * as Messages from "./WireMessages.js"
import * as Receiver from "./WireReceiver.js"
import * as SendQueue from "./WireSendQueue.js"
import * as State from "./WireState.js"
import * as Writer from "./WireWriter.js"

export type { Events, Limits } from "./WireState.js"

export interface WireConnection {
  /**
   * Takes bytes as they come. Throws a `Violation` when the peer broke the rules; nothing may be received after that. Without
   * `mayKeep`, messages are copied out of the chunk. Returns how many bytes it has taken: all, or as far as the frame with
   * which the peer has begun or given up `most` calls.
   */
  readonly receive: (chunk: Buffer, now: number, most?: number, mayKeep?: boolean) => number
  /** How many calls the peer has begun and given up so far. */
  readonly came: () => number
  /** Drops the messages that began longer ago than `timeout` milliseconds, unless they lack credit. */
  readonly expire: (now: number, timeout: number) => void
  /** Counts a call that cost work and brought nothing. Throws as `receive` does. */
  readonly useless: (now: number) => void
  /** Whether a frame has begun and not ended. */
  readonly isMidFrame: () => boolean
  /** The peer's SETTINGS, once they have come. */
  readonly peerSettings: () => Wire.Settings | undefined
  /** Whether the peer takes one more call. */
  readonly canOpen: () => boolean
  readonly open: (
    open: Omit<Frames.Open, "message" | "halfClosed">,
    message: Uint8Array | undefined,
    end: boolean
  ) => number
  /** Sends a message once there is credit for it, and calls `sent` then, which may be at once. One at a time for each call. */
  readonly sendMessage: (call: number, message: Uint8Array, end: boolean, sent: () => void) => void
  readonly halfClose: (call: number) => void
  readonly sendHeaders: (call: number, headers: Entries) => void
  readonly sendReply: (call: number, reply: Frames.Reply) => void
  readonly sendTrailers: (call: number, trailers: Frames.Trailers) => void
  readonly cancel: (call: number) => void
  /** Returns the credit of messages that were read: what they cost of both windows. */
  readonly consumed: (call: number, cost: number, costOnConnection: number) => void
  readonly ping: (payload: bigint) => void
  readonly goaway: (reason: Wire.Reason, text: string) => void
  /** Asks the peer to open no more calls. Those that come nevertheless are taken. */
  readonly retire: () => void
  /** Bytes that `output` would return whatever the credit. */
  readonly buffered: () => number
  /** Bytes of messages that wait to be sent. */
  readonly unsent: () => number
  /** Bytes that the peer makes this end keep: messages that are unread, unfinished and unsent. */
  readonly pendingData: () => number
  /** All output has been sent, so that its room may serve again; `trim` lets go of all room that nothing is in. */
  readonly reclaim: () => void
  readonly trim: () => void
  /** The bytes to send now: everything but what waits for credit, and of large messages no more than the budget. */
  readonly output: (budget: number) => ReadonlyArray<Buffer>
}

export const make = (role: "client" | "server", limits: State.Limits, events: State.Events): WireConnection => {
  const state = State.make(role, limits, events)
  const { calls, sendQueue } = state
  const { writer } = sendQueue
  const receiver = Receiver.make(state)
  const buffered = () => SendQueue.buffered(sendQueue)

  Frames.writeSettings(writer, limits)

  return {
    receive: (chunk, now, most = Number.POSITIVE_INFINITY, mayKeep = true) =>
      Receiver.receive(receiver, chunk, now, mayKeep, most),
    came: () => receiver.came,
    expire: (now, timeout) => Messages.expire(state, now, timeout),
    useless: receiver.countUseless,
    isMidFrame: () => FrameBuffer.isMidFrame(receiver.frames),
    peerSettings: () => state.peer,
    canOpen: () => state.peer !== undefined && !state.isGoawayReceived && state.mine < state.peer.maxCalls,
    open: (open, message, end) => {
      // What throws here has opened no call.
      const id = state.nextMine
      Frames.writeOpen(writer, id, open, message, end)
      State.begin(state, id, true)
      state.nextMine = State.follow(id)
      return id
    },
    sendMessage: (id, message, end, sent) => {
      const call = calls.get(id)
      if (call !== undefined) {
        SendQueue.add(sendQueue, call, message, end, sent)
      }
    },
    halfClose: (id) => {
      const call = calls.get(id)
      if (call !== undefined) {
        Writer.empty(SendQueue.writerOf(sendQueue, call), Type.halfClose, 0, id)
      }
    },
    sendHeaders: (id, headers) => {
      if (calls.get(id) !== undefined) {
        Frames.writeHeaders(writer, id, headers)
      }
    },
    sendReply: (id, reply) => {
      const call = calls.get(id)
      if (call !== undefined) {
        Frames.writeReply(writer, id, reply)
        State.finish(state, call)
      }
    },
    sendTrailers: (id, trailers) => {
      const call = calls.get(id)
      if (call !== undefined) {
        Frames.writeTrailers(SendQueue.writerOf(sendQueue, call), id, trailers)
        State.finish(state, call)
      }
    },
    cancel: (id) => {
      const call = calls.get(id)
      if (call !== undefined) {
        State.finish(state, call)
        Writer.empty(SendQueue.writerOf(sendQueue, call), Type.cancel, 0, id)
      }
    },
    consumed: (id, cost, costOnConnection) => {
      const call = calls.get(id)
      if (call !== undefined) {
        State.consume(state, call, cost, costOnConnection)
      }
    },
    ping: (payload) => Frames.writePing(writer, 0, payload),
    goaway: (reason, text) => {
      state.isGoawaySent = true
      Frames.writeGoaway(writer, (state.nextTheirs - 2) >>> 0, reason, text)
    },
    retire: () => Frames.writeGoaway(writer, (state.nextTheirs + farAhead) >>> 0, "Shutdown", ""),
    buffered,
    unsent: () => sendQueue.unsent,
    pendingData: () => State.unread(state) + sendQueue.unsent + buffered(),
    reclaim: () => SendQueue.reclaim(sendQueue),
    trim: () => {
      FrameBuffer.trim(receiver.frames)
      SendQueue.trim(sendQueue)
    },
    output: (budget) => SendQueue.take(sendQueue, budget)
  }
}
