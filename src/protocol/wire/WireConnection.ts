/**
 * One end of a TlsLive connection as a state machine: bytes in, events and bytes out. It knows no socket, no clock and
 * no Effect. The format is described in docs/wire.md.
 */

import * as Bytes from "../Bytes.js"
import type { Entries } from "../Entries.js"
import * as Beginning from "../ReassemblyBudget.js"
import * as Wire from "./Wire.js"
import { Flag, Type } from "./Wire.js"
import * as Frames from "./WireFrames.js"
import * as Receiver from "./WireReceiver.js"
import * as State from "./WireState.js"

export type { Events, Limits } from "./WireState.js"

export interface WireConnection extends Receiver.Receiver {
  /** Whether the other end's SETTINGS have come. */
  readonly peerSettings: () => Wire.Settings | undefined
  /** Whether the other end takes one more call. */
  readonly canOpen: () => boolean
  readonly open: (
    open: Omit<Frames.Open, "message" | "halfClosed">,
    message: Uint8Array | undefined,
    end: boolean
  ) => number
  /** Sends a message when there is credit for it; `sent` is called then, at once where there is. One at a time a call. */
  readonly sendMessage: (call: number, message: Uint8Array, end: boolean, sent: () => void) => void
  readonly halfClose: (call: number) => void
  readonly sendHeaders: (call: number, headers: Entries) => void
  readonly sendReply: (call: number, reply: Frames.Reply) => void
  readonly sendTrailers: (call: number, trailers: Frames.Trailers) => void
  readonly cancel: (call: number) => void
  /** Gives back the credit of messages that were read: what they cost of both windows. */
  readonly consumed: (call: number, cost: number, costOnConnection: number) => void
  readonly ping: (payload: bigint) => void
  readonly goaway: (reason: Wire.Reason, text: string) => void
  /** Asks the other end to open no more calls. Those that come nevertheless are taken. */
  readonly retire: () => void
  /** Bytes that `output` would give whatever the credit. */
  readonly buffered: () => number
  /** Bytes of messages that wait to be sent. */
  readonly unsent: () => number
  /** Bytes that the other end makes this one keep: messages that are unread, unfinished and unsent. */
  readonly held: () => number
  /** All output has been sent, so that its room may serve again; `trim` lets go of all room that nothing is in. */
  readonly reclaim: () => void
  /** The bytes to send now: everything but what waits for credit, and of large messages no more than the budget. */
  readonly output: (budget: number) => ReadonlyArray<Buffer>
}

/** How much of large messages is written while bytes wait for the socket. Small ones overtake it. */
const maxAhead = 128 * 1024

/** What is worth a record of its own. */
const largePiece = 4096

export const make = (role: "client" | "server", limits: State.Limits, events: State.Events): WireConnection => {
  const state = State.make(role, limits, events)
  const { calls, large, turns, writer } = state
  const size = () => writer.size() + large.size()

  /** The size of the next piece of a large message: up to where a record of TLS ends, so that none is cut in two. */
  const pieceSize = (): number => {
    const left = Wire.recordSize - (large.size() % Wire.recordSize) - Wire.headerSize
    return left >= largePiece ? left : Math.min(Wire.maxPiece, left + Wire.recordSize)
  }

  /** Sends the next piece of a call's message, if there is credit for one; tells whether it did. */
  const sendPiece = (call: State.Call): boolean => {
    const { outgoing } = call
    const room = Math.min(call.sendCredit, state.sendCredit) - Wire.messageOverhead
    if (outgoing === undefined || room < Math.min(1, outgoing.size)) {
      return false
    }
    const left = outgoing.size - outgoing.offset
    // A piece that is not the last must not overtake the ends of others, or the other end sees more that is unfinished.
    const isLarge = outgoing.size >= largePiece || left > room || call.batch === state.batch
    const size = Math.min(left, room, isLarge ? pieceSize() : left)
    const isWhole = size === left
    if (
      !isWhole &&
      outgoing.offset === 0 &&
      !Beginning.mayBegin(state.beginning, call, outgoing.size, state.peer?.connectionWindow ?? 0)
    ) {
      return false
    }
    const flags = isWhole ? (outgoing.end ? Flag.end : 0) : Flag.more
    if (isLarge) {
      call.batch = state.batch
    }
    Frames.writeMessage(isLarge ? large : writer, flags, call.id, outgoing.message, outgoing.offset, size)
    call.sendCredit -= Wire.messageOverhead + size
    state.sendCredit -= Wire.messageOverhead + size
    if (outgoing.offset === 0 && !isWhole) {
      Beginning.begin(state.beginning, outgoing.size)
    }
    Beginning.leave(state.beginning, call)
    state.unsent -= size
    outgoing.offset += size
    if (isWhole) {
      if (size < outgoing.size) {
        Beginning.end(state.beginning, outgoing.size)
      }
      call.outgoing = undefined
      turns.delete(call)
      outgoing.sent()
    }
    return true
  }

  const sendMessage = (id: number, message: Uint8Array, end: boolean, sent: () => void) => {
    const call = calls.get(id)
    if (call === undefined) {
      return
    }
    call.outgoing = { message, size: Bytes.sizeOf(message), offset: 0, end, sent }
    state.unsent += call.outgoing.size
    // Before others that wait comes nobody.
    while (turns.size === 0 && call.outgoing !== undefined && size() < maxAhead && sendPiece(call)) {}
    if (call.outgoing !== undefined) {
      turns.add(call)
    }
  }

  const output = (budget: number) => {
    let blocked = 0
    while (size() < budget && turns.size > blocked) {
      const [call] = turns
      if (call === undefined) {
        break
      }
      turns.delete(call)
      turns.add(call)
      blocked = sendPiece(call) ? 0 : blocked + 1
    }
    state.batch += 1
    return large.size() === 0 ? writer.take() : [...writer.take(), ...large.take()]
  }

  Frames.writeSettings(writer, limits)

  const receiver = Receiver.make(state)

  return {
    receive: receiver.receive,
    expire: receiver.expire,
    useless: receiver.useless,
    isMidFrame: receiver.isMidFrame,
    canOpen: () => state.peer !== undefined && !state.isGoawayReceived && state.mine < state.peer.maxCalls,
    peerSettings: () => state.peer,
    open: (open, message, end) => {
      // What throws here has opened no call.
      const id = state.nextMine
      Frames.writeOpen(writer, id, open, message, end)
      State.begin(state, id, true)
      state.nextMine = State.follow(id)
      return id
    },
    sendMessage,
    halfClose: (id) => {
      const call = calls.get(id)
      if (call !== undefined) {
        State.writerOf(state, call).empty(Type.halfClose, 0, id)
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
        Frames.writeTrailers(State.writerOf(state, call), id, trailers)
        State.finish(state, call)
      }
    },
    cancel: (id) => {
      const call = calls.get(id)
      if (call !== undefined) {
        State.finish(state, call)
        State.writerOf(state, call).empty(Type.cancel, 0, id)
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
    retire: () => Frames.writeGoaway(writer, (state.nextTheirs + Wire.farAhead) >>> 0, "Shutdown", ""),
    buffered: size,
    unsent: () => state.unsent,
    held: () => State.unread(state) + state.unsent + size(),
    reclaim: () => {
      writer.reclaim()
      large.reclaim()
    },
    trim: () => {
      receiver.trim()
      writer.trim()
      large.trim()
    },
    output
  }
}
