/**
 * What one end of a TlsLive connection knows: its calls, and the credit in both directions.
 */

import type { Entries } from "../Entries.js"
import * as IdTable from "../IdTable.js"
import * as Beginning from "../ReassemblyBudget.js"
import type * as Wire from "./Wire.js"
import { Violation } from "./Wire.js"
import * as Frames from "./WireFrames.js"
import * as Writer from "./WireWriter.js"

/** What a connection tells its owner. All are called from within `receive`. */
export interface Events {
  /** The other end has spoken: it accepted this end, and calls may be opened. */
  readonly onSettings: (settings: Wire.Settings) => void
  readonly onOpen: (call: number, open: Frames.Open) => void
  /** `consumed` is due with the costs when the message has been read. */
  readonly onMessage: (call: number, message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onHalfClose: (call: number) => void
  readonly onHeaders: (call: number, headers: Entries) => void
  readonly onReply: (call: number, reply: Frames.Reply) => void
  readonly onTrailers: (call: number, trailers: Frames.Trailers) => void
  readonly onCancel: (call: number) => void
  /** A message of this call was dropped, and so is what is left of it. */
  readonly onDropped: (call: number, reason: Dropped) => void
  readonly onPong: (payload: bigint) => void
  readonly onGoaway: (goaway: Frames.Goaway) => void
}

/**
 * Why an unfinished message is dropped: it is larger than `maxMessageSize`; by it those of all calls are more than the
 * window of the connection; or it was begun too long ago.
 */
export type Dropped = "TooLarge" | "OverBudget" | "Overdue"

export interface Limits extends Wire.Settings {
  /** Calls that the other end may open in a second. */
  readonly maxCallRate: number
  /** Calls that the other end may cancel in a second: each costs this end a handler's start and end. */
  readonly maxCancelRate: number
  /** Pings that the other end may send in a second. */
  readonly maxPingRate: number
  readonly maxUselessRate: number
}

/** A message on its way out, of which `offset` bytes have left. */
export interface Outgoing {
  readonly message: Uint8Array
  readonly size: number
  offset: number
  readonly end: boolean
  readonly sent: () => void
}

export interface Call {
  readonly id: number
  readonly isMine: boolean
  /** What the other end may still send on this call. */
  receiveCredit: number
  /** Received and not yet read; how much of that the connection's window waits for too; and the unfinished message in it. */
  held: number
  heldOnConnection: number
  partial: number
  /** Read, and not yet given back as credit. */
  owed: number
  /** An unfinished message, of which so many bytes have come, and when the other end was last free to go on with it. */
  message: Uint8Array | undefined
  messageSize: number
  messageSince: number
  isDropping: boolean
  isRemoteDone: boolean
  hasHeaders: boolean
  /** What this end may still send on this call. */
  sendCredit: number
  outgoing: Outgoing | undefined
  /** The last batch of large pieces that holds one of this call. */
  batch: number
}

export interface State {
  readonly writer: Writer.Writer
  /** Pieces of large messages. All that is in `writer` overtakes them. */
  readonly large: Writer.Writer
  /** The number of the batch that is being collected there. */
  batch: number
  /** The size of the last message that came in pieces: the next may be as large. */
  expected: number
  /** Messages that the other end has begun and not finished, and what has come of them. */
  unfinished: number
  unfinishedSize: number
  /** This end's messages of which a piece has left, by their calls. */
  readonly beginning: Beginning.Beginning<Call>
  /** What is left to send of messages. */
  unsent: number
  readonly limits: Limits
  readonly events: Events
  readonly calls: IdTable.IdTable<Call>
  /** Calls with a message to send, in the order of their turns. */
  readonly turns: Set<Call>
  peer: Wire.Settings | undefined
  nextMine: number
  nextTheirs: number
  /** Open calls of each end. */
  mine: number
  theirs: number
  /** What this end may send on the connection, what the other end may, and what is not yet given back of that. */
  sendCredit: number
  receiveCredit: number
  owed: number
  isGoawaySent: boolean
  isGoawayReceived: boolean
  /** What may still come of messages for calls that have ended, at the most: their windows. */
  late: number
}

export const make = (role: "client" | "server", limits: Limits, events: Events): State => ({
  writer: Writer.make(),
  large: Writer.make(32 * 1024, 160 * 1024),
  batch: 1,
  expected: 0,
  unfinished: 0,
  unfinishedSize: 0,
  beginning: Beginning.make(),
  unsent: 0,
  limits,
  events,
  calls: IdTable.make(),
  turns: new Set(),
  peer: undefined,
  nextMine: role === "client" ? 1 : 2,
  nextTheirs: role === "client" ? 2 : 1,
  mine: 0,
  theirs: 0,
  sendCredit: 0,
  receiveCredit: limits.connectionWindow,
  owed: 0,
  isGoawaySent: false,
  isGoawayReceived: false,
  late: 0
})

/** The number after a call's; 0 is the connection's own. */
export const follow = (call: number): number => (call + 2) >>> 0 || 2

export const begin = (state: State, id: number, isMine: boolean): Call => {
  const call: Call = {
    id,
    isMine,
    receiveCredit: state.limits.streamWindow,
    held: 0,
    heldOnConnection: 0,
    partial: 0,
    owed: 0,
    message: undefined,
    messageSize: 0,
    messageSince: 0,
    isDropping: false,
    isRemoteDone: false,
    hasHeaders: false,
    sendCredit: state.peer?.streamWindow ?? 0,
    outgoing: undefined,
    batch: 0
  }
  state.calls.add(id, call)
  if (isMine) {
    state.mine += 1
  } else {
    state.theirs += 1
  }
  return call
}

/** Where the next frame of a call goes: not before pieces of its own. */
export const writerOf = (state: State, call: Call): Writer.Writer =>
  call.batch === state.batch ? state.large : state.writer

/** Forgets a call. What was received for it and not read counts as read. */
export const finish = (state: State, call: Call): void => {
  state.calls.remove(call.id)
  state.turns.delete(call)
  if (!call.isRemoteDone) {
    state.late += call.receiveCredit
  }
  if (call.isMine) {
    state.mine -= 1
  } else {
    state.theirs -= 1
  }
  forgetUnfinished(state, call)
  forgetOutgoing(state, call)
  giveBack(state, call.heldOnConnection)
}

/** The unfinished message of a call is whole, or dropped. */
export const forgetUnfinished = (state: State, call: Call): void => {
  if (call.message !== undefined) {
    state.unfinished -= 1
    state.unfinishedSize -= call.messageSize
    call.message = undefined
    call.messageSize = 0
    call.partial = 0
  }
}

/** The message that a call sends has been sent, or is no longer wanted. */
export const forgetOutgoing = (state: State, call: Call): void => {
  const { outgoing } = call
  if (outgoing !== undefined) {
    state.unsent -= outgoing.size - outgoing.offset
    if (outgoing.offset > 0) {
      Beginning.end(state.beginning, outgoing.size)
    }
    call.outgoing = undefined
    Beginning.leave(state.beginning, call)
  }
}

/** Bytes of messages, finished or not, that this end keeps until they are read. */
export const unread = (state: State): number =>
  state.limits.connectionWindow - state.receiveCredit - state.owed + state.unfinishedSize

/** Bytes of the connection's window that are free again. */
export const giveBack = (state: State, size: number): void => {
  state.owed += size
  if (state.owed > 0 && state.owed * 2 >= state.limits.connectionWindow) {
    Frames.writeCredit(state.writer, 0, state.owed)
    state.receiveCredit += state.owed
    state.owed = 0
  }
}

/** Bytes of a call that count against the window of the connection from now on, until they are read. */
export const hold = (state: State, call: Call, size: number): void => {
  call.heldOnConnection += size
  state.owed -= size
}

/** What of a call was read: its bytes of the call's window, and those of the connection's. */
export const consume = (state: State, call: Call, size: number, sizeOnConnection: number): void => {
  const { streamWindow } = state.limits
  const onConnection = Math.min(sizeOnConnection, call.heldOnConnection)
  call.heldOnConnection -= onConnection
  giveBack(state, onConnection)
  call.held -= size
  call.owed += size
  // A message may be larger than the window: when nothing else is unread, what has come of it makes room for the rest.
  if (call.partial > 0 && call.held === call.partial && call.receiveCredit * 2 < streamWindow) {
    call.owed += call.partial
    call.held = 0
    call.partial = 0
  }
  if (call.owed * 2 >= streamWindow && !call.isRemoteDone) {
    Frames.writeCredit(state.writer, call.id, call.owed)
    call.receiveCredit += call.owed
    call.owed = 0
  }
}

export const violation = (text: string): Violation => new Violation("ProtocolError", text)

/** The call of a frame; undefined for one that has ended, whose late frames are dropped. */
export const find = (state: State, id: number): Call | undefined => {
  const call = state.calls.get(id)
  if (call !== undefined) {
    return call
  }
  const isMine = id % 2 === state.nextMine % 2
  const next = isMine ? state.nextMine : state.nextTheirs
  if (id === 0 || (((id - next) | 0) >= 0 && (isMine || !state.isGoawaySent))) {
    throw violation(`a frame for call ${id}, which never was`)
  }
  return undefined
}

/** A call that the other end answers. */
export const findMine = (state: State, id: number): Call | undefined => {
  const call = find(state, id)
  if (call !== undefined && !call.isMine) {
    throw violation(`an answer to call ${id} from the end that opened it`)
  }
  return call
}

/** A call that the other end opened. */
export const findTheirs = (state: State, id: number): Call | undefined => {
  const call = find(state, id)
  if (call?.isMine === true) {
    throw violation(`a request frame for call ${id} from the end that did not open it`)
  }
  return call
}
