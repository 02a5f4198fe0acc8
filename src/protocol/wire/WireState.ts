/** What one end of a TlsLive connection knows: its calls, and the credit in both directions. */

import type { Entries } from "../Entries.js"
import * as FlowControl from "../FlowControl.js"
import * as IdTable from "../IdTable.js"
import type * as Wire from "./Wire.js"
import { Violation } from "./Wire.js"
import * as Frames from "./WireFrames.js"
import * as Reassembly from "./WireReassembly.js"
import * as SendQueue from "./WireSendQueue.js"

/** Callbacks for the owner of a connection. All are called from within `receive`, `onDropped` from `expire` too. */
export interface Events {
  /** The peer accepted this end, and calls may be opened. */
  readonly onSettings: (settings: Wire.Settings) => void
  readonly onOpen: (call: number, open: Frames.Open) => void
  /** When the message has been read, the owner calls `consumed` with the costs. */
  readonly onMessage: (call: number, message: Uint8Array, cost: number, costOnConnection: number) => void
  readonly onHalfClose: (call: number) => void
  readonly onHeaders: (call: number, headers: Entries) => void
  readonly onReply: (call: number, reply: Frames.Reply) => void
  readonly onTrailers: (call: number, trailers: Frames.Trailers) => void
  readonly onCancel: (call: number) => void
  /** A message of this call was dropped, and what is still to come of it will be. */
  readonly onDropped: (call: number, reason: Dropped) => void
  readonly onPong: (payload: bigint) => void
  readonly onGoaway: (goaway: Frames.Goaway) => void
}

/**
 * Why an unfinished message is dropped: it is larger than `maxMessageSize`; it brought those of all calls above the window of
 * the connection; or it began too long ago.
 */
export type Dropped = "TooLarge" | "OverBudget" | "Overdue"

export interface Limits extends Wire.Settings {
  /** Calls that the peer may open in a second. */
  readonly maxCallRate: number
  /** Calls that the peer may cancel in a second: each costs this end a handler's start and end. */
  readonly maxCancelRate: number
  /** Pings that the peer may send in a second. */
  readonly maxPingRate: number
  /** Frames and calls without use that the peer may send in a second, as listed at the end of docs/wire.md. */
  readonly maxUselessRate: number
}

/** A call as one end of its connection sees it: its own half of the flow control, of sending and of reassembly. */
export interface Call extends FlowControl.FlowControl, SendQueue.SendStream, Reassembly.PartialMessage {
  readonly isMine: boolean
  /** What of its messages counts against the window of the connection until it is read. */
  unreadOnConnection: number
  isDropping: boolean
  isRemoteDone: boolean
  hasHeaders: boolean
}

export interface State {
  readonly limits: Limits
  readonly events: Events
  readonly flow: FlowControl.FlowControl
  readonly sendQueue: SendQueue.SendQueue
  readonly reassembly: Reassembly.Reassembly
  readonly calls: IdTable.IdTable<Call>
  peer: Wire.Settings | undefined
  nextMine: number
  nextTheirs: number
  /** Open calls of each end. */
  mine: number
  theirs: number
  isGoawaySent: boolean
  isGoawayReceived: boolean
  /** What may still come of messages for calls that have ended, at the most: their windows. */
  late: number
}

export const make = (role: "client" | "server", limits: Limits, events: Events): State => {
  const flow = FlowControl.make(limits.connectionWindow, 0)
  return {
    limits,
    events,
    flow,
    sendQueue: SendQueue.make(flow),
    reassembly: Reassembly.make(),
    calls: IdTable.make(),
    peer: undefined,
    nextMine: role === "client" ? 1 : 2,
    nextTheirs: role === "client" ? 2 : 1,
    mine: 0,
    theirs: 0,
    isGoawaySent: false,
    isGoawayReceived: false,
    late: 0
  }
}

/** The number after a call's; 0 is the connection's own. */
export const follow = (call: number): number => (call + 2) >>> 0 || 2

export const begin = (state: State, id: number, isMine: boolean): Call => {
  const { limits, peer } = state
  const call: Call = {
    id,
    isMine,
    window: limits.streamWindow,
    receiveCredit: limits.streamWindow,
    pendingUpdate: 0,
    sendCredit: peer === undefined ? 0 : peer.streamWindow,
    unreadOnConnection: 0,
    partial: undefined,
    partialSize: 0,
    partialCost: 0,
    partialSince: 0,
    isDropping: false,
    isRemoteDone: false,
    hasHeaders: false,
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

/** Forgets a call. What was received for it and not read counts as read. */
export const finish = (state: State, call: Call): void => {
  state.calls.remove(call.id)
  if (!call.isRemoteDone) {
    state.late += call.receiveCredit
  }
  if (call.isMine) {
    state.mine -= 1
  } else {
    state.theirs -= 1
  }
  Reassembly.drop(state.reassembly, call)
  SendQueue.remove(state.sendQueue, call)
  releaseOnConnection(state, call.unreadOnConnection)
}

/** Bytes of messages, finished or not, that this end keeps until they are read. */
export const unread = (state: State): number => FlowControl.unread(state.flow) + state.reassembly.size

/** Bytes of the connection's window are free again. */
export const releaseOnConnection = (state: State, size: number): void => {
  FlowControl.release(state.flow, size)
  const update = FlowControl.takeUpdate(state.flow)
  if (update > 0) {
    Frames.writeCredit(state.sendQueue.writer, 0, update)
  }
}

/** Bytes of a call count against the window of the connection from now on, until they are read. */
export const retainOnConnection = (state: State, call: Call, size: number): void => {
  call.unreadOnConnection += size
  FlowControl.retain(state.flow, size)
}

/** What of a call was read: its bytes of the call's window, and those of the connection's. */
export const consume = (state: State, call: Call, size: number, sizeOnConnection: number): void => {
  const onConnection = Math.min(sizeOnConnection, call.unreadOnConnection)
  call.unreadOnConnection -= onConnection
  releaseOnConnection(state, onConnection)
  FlowControl.release(call, size)
  const { partialCost } = call
  // A message may be larger than the window: when nothing else is unread, what has come of it makes room for the rest.
  if (partialCost > 0 && FlowControl.unread(call) === partialCost && call.receiveCredit * 2 < call.window) {
    FlowControl.release(call, partialCost)
    call.partialCost = 0
  }
  if (!call.isRemoteDone) {
    const update = FlowControl.takeUpdate(call)
    if (update > 0) {
      Frames.writeCredit(state.sendQueue.writer, call.id, update)
    }
  }
}

export const violation = (text: string): Violation => new Violation("ProtocolError", text)

/** Returns the call of a frame; undefined for one that has ended, whose late frames are dropped. */
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

/** The same for a frame that only the peer of the call's opener may send. */
export const findMine = (state: State, id: number): Call | undefined => {
  const call = find(state, id)
  if (call !== undefined && !call.isMine) {
    throw violation(`an answer to call ${id} from the end that opened it`)
  }
  return call
}

/** The same for a frame that only the call's opener may send. */
export const findTheirs = (state: State, id: number): Call | undefined => {
  const call = find(state, id)
  if (call?.isMine === true) {
    throw violation(`a request frame for call ${id} from the end that did not open it`)
  }
  return call
}
