/** What one end of an HTTP/2 connection knows: its streams, and the credit in both directions. */

import type { Fields } from "../Fields.js"
import * as FlowControl from "../FlowControl.js"
import type { RequestHead, ResponseHead } from "../http/HttpFields.js"
import * as IdTable from "../IdTable.js"
import * as Bdp from "./Http2Bdp.js"
import { type Http2Code, protocolError } from "./Http2Error.js"
import * as Frames from "./Http2Frames.js"
import * as SendQueue from "./Http2SendQueue.js"
import type * as Settings from "./Http2Settings.js"
import { defaults, defaultWindow } from "./Http2Settings.js"
import type { Stream } from "./Http2Stream.js"
import * as Streams from "./Http2Stream.js"

export type Role = "client" | "server"

/** Callbacks for the owner of a connection. All are called from within `receive`. */
export interface Events<O> {
  /** The peer's first SETTINGS. */
  readonly onSettings: (settings: Settings.Settings) => void
  readonly onRequest: (stream: Stream<O>, head: RequestHead, isEnd: boolean) => void
  /** The final response; those before it (1xx) are dropped. */
  readonly onResponse: (stream: Stream<O>, head: ResponseHead, isEnd: boolean) => void
  /** A header list above the limits. A request has a stream nevertheless, so that it can be answered. */
  readonly onTooLarge: (stream: Stream<O>, isTrailers: boolean) => void
  /**
   * Some data, never empty: a view of what was received, which must be copied by who keeps it. It counts against the stream's
   * window until `consume`.
   */
  readonly onData: (stream: Stream<O>, bytes: Buffer, isEnd: boolean) => void
  readonly onTrailers: (stream: Stream<O>, fields: Fields) => void
  /** The peer's half is closed. Once, behind what closed it, unless the stream was reset. */
  readonly onEnd: (stream: Stream<O>) => void
  /** The stream is over before its end: the peer has reset it ("remote"), or broken a rule ("local"). */
  readonly onReset: (stream: Stream<O>, code: number, by: "remote" | "local", text: string) => void
  /** The streams that this end opened beyond the last one are reset behind it, with REFUSED_STREAM. */
  readonly onGoaway: (lastStreamId: number, code: number, debugData: string) => void
  /** A PING came that asks for an answer, and that follows nothing this end has sent. May throw a `Http2Violation`. */
  readonly onPing: (now: number) => void
  readonly onPong: (payload: bigint) => void
  /** Whether more is unread than may be: the connection gets no credit then, until `replenish`. */
  readonly isFull: () => boolean
}

export interface Limits {
  /** Streams that the peer may have open at a time. */
  readonly maxConcurrentStreams: number
  /** The largest header list, as RFC 9113 section 6.5.2 counts it. */
  readonly maxHeaderListSize: number
  /** The largest header block in bytes, CONTINUATION frames included. Default twice `maxHeaderListSize` and 16 KiB. */
  readonly maxHeaderBlockSize?: number | undefined
  /** What a stream's window is at first, and what it may grow to. */
  readonly streamWindow: number
  readonly maxStreamWindow: number
  /** What the windows of all streams may grow by together, and the window of the connection. */
  readonly connectionWindow: number
  /** Streams that the peer may open in a second. */
  readonly maxCallRate: number
  /** Streams that the peer may reset, or make this end reset, in a second. */
  readonly maxCancelRate: number
  /** PING frames that the peer may send in a second, but for those that answer DATA. */
  readonly maxPingRate: number
  /** Frames and calls without use that the peer may send in a second, as listed in docs/http2.md. */
  readonly maxUselessRate: number
}

export interface State<O> {
  readonly role: Role
  readonly limits: Limits
  readonly events: Events<O>
  readonly flow: FlowControl.FlowControl
  readonly sendQueue: SendQueue.SendQueue<O>
  readonly streams: IdTable.IdTable<Stream<O>>
  readonly bdp: Bdp.Bdp
  /** The peer's SETTINGS, once they have come. */
  peer: Settings.Settings | undefined
  /** The peer knows this end's SETTINGS. */
  isSettingsAcked: boolean
  nextMine: number
  nextTheirs: number
  /** Open streams of each end. */
  mine: number
  theirs: number
  /** The last stream of the peer that is taken, and the last of this end's that the peer takes. */
  lastTheirs: number
  lastMine: number
  isGoawayReceived: boolean
  /** How much the windows of all streams have grown. */
  grown: number
  /** What may still come for streams that have ended: bytes of DATA, and other frames. */
  lateBytes: number
  lateFrames: number
  /** When something was last received. */
  now: number
}

/** What of such frames is expected at once, later. */
const maxLateFrames = 65_536

/** A head, trailers, an update and a reset may be under way when a stream is reset; of one that has ended, the last two. */
const lateFramesOfReset = 4
const lateFramesOfEnded = 2

export const make = <O>(role: Role, limits: Limits, events: Events<O>): State<O> => {
  const flow = FlowControl.make(Math.max(limits.connectionWindow, defaultWindow), defaultWindow)
  const state: State<O> = {
    role,
    limits,
    events,
    flow,
    sendQueue: SendQueue.make<O>(flow, (stream) => {
      stream.isLocalDone = true
      if (stream.isRemoteDone) {
        finish(state, stream)
      }
    }),
    streams: IdTable.make(),
    bdp: Bdp.make(limits.streamWindow, limits.maxStreamWindow),
    peer: undefined,
    isSettingsAcked: false,
    nextMine: role === "client" ? 1 : 2,
    nextTheirs: role === "client" ? 2 : 1,
    mine: 0,
    theirs: 0,
    lastTheirs: Frames.maxStreamId,
    lastMine: Frames.maxStreamId,
    isGoawayReceived: false,
    grown: 0,
    lateBytes: 0,
    lateFrames: 0,
    now: Number.NEGATIVE_INFINITY
  }
  return state
}

/** What a stream's window is at first: the default until the peer knows better. */
export const initialWindow = <O>({ isSettingsAcked, limits }: State<O>): number =>
  isSettingsAcked ? limits.streamWindow : defaultWindow

export const begin = <O>(state: State<O>, id: number, isMine: boolean): Stream<O> => {
  const { initialWindowSize } = state.peer ?? defaults
  const stream = Streams.make<O>(id, isMine, initialWindow(state), initialWindowSize)
  state.streams.add(id, stream)
  if (isMine) {
    state.mine += 1
  } else {
    state.theirs += 1
  }
  // A peer may widen the window of a stream before it gets anything.
  SendQueue.allowUpdates(state.sendQueue, 2)
  return stream
}

/** So much may still come for a stream that has ended. */
export const expectLate = <O>(state: State<O>, bytes: number, frames: number): void => {
  state.lateBytes += Math.max(0, bytes)
  state.lateFrames = Math.min(maxLateFrames, state.lateFrames + frames)
}

/** Forgets a stream. */
const leave = <O>(state: State<O>, stream: Stream<O>) => {
  stream.isGone = true
  state.streams.remove(stream.id)
  if (stream.isMine) {
    state.mine -= 1
  } else {
    state.theirs -= 1
  }
  state.grown -= stream.grown
  SendQueue.remove(state.sendQueue, stream)
}

/** Both halves of a stream are closed. */
export const finish = <O>(state: State<O>, stream: Stream<O>): void => {
  leave(state, stream)
  expectLate(state, 0, lateFramesOfEnded)
}

/** The peer has reset a stream: nothing more comes of it. */
export const forget = <O>(state: State<O>, stream: Stream<O>): void => {
  stream.isReset = true
  leave(state, stream)
}

/** Resets a stream. What the peer has sent before it reads that is tolerated. */
export const reset = <O>(state: State<O>, stream: Stream<O>, code: Http2Code): void => {
  forget(state, stream)
  expectLate(state, stream.isRemoteDone ? 0 : stream.receiveCredit, lateFramesOfReset)
  SendQueue.reset(state.sendQueue, stream, code)
}

/** Refuses a stream that was never begun. */
export const refuse = <O>(state: State<O>, id: number, code: Http2Code): void => {
  expectLate(state, initialWindow(state), lateFramesOfReset)
  Frames.writeReset(state.sendQueue.writer, id, code)
}

/**
 * The least credit that is given at once. A path feels what is missing until then: three quarters of a window, at least, are what
 * it has, so that `Http2Bdp` finds a window that is too small.
 */
const minUpdate = (window: number): number =>
  window >= 1024 * 1024 ? window / 8 : window >= defaultWindow ? window / 4 : window / 2

/** Gives the connection the credit back that is due. */
export const replenish = <O>({ flow, sendQueue }: State<O>): void => {
  const update = FlowControl.takeUpdate(flow, minUpdate(flow.window))
  if (update > 0) {
    Frames.writeWindowUpdate(sendQueue.writer, 0, update)
  }
}

/** A stream whose reader keeps up gets the window that the path can use, as far as all windows together may grow. */
const grow = <O>(state: State<O>, stream: Stream<O>) => {
  const { bdp, grown, limits } = state
  const size = Math.min(bdp.target - stream.window, limits.connectionWindow - grown)
  // Until the peer knows what the window is, both ends would count from another one.
  if (size > 0 && state.isSettingsAcked) {
    FlowControl.grow(stream, size)
    stream.grown += size
    state.grown += size
  }
}

/** Bytes of a stream were read, or count as unread again where the size is negative. */
export const consume = <O>(state: State<O>, stream: Stream<O>, size: number): void => {
  if (stream.isGone) {
    return
  }
  FlowControl.release(stream, size)
  if (stream.isRemoteDone || stream.pendingUpdate <= 0 || stream.pendingUpdate < minUpdate(stream.window)) {
    return
  }
  Bdp.onUpdateDue(state.bdp)
  grow(state, stream)
  const update = FlowControl.takeUpdate(stream, 0)
  if (update > 0) {
    Frames.writeWindowUpdate(state.sendQueue.writer, stream.id, update)
  }
}

/** Whether no frame may have come for a stream yet: nobody has opened it. Only clients open streams. */
const isIdle = <O>({ nextMine, nextTheirs, role }: State<O>, id: number): boolean =>
  id % 2 === 0 || id >= (role === "client" ? nextMine : nextTheirs)

/** Returns the stream of a frame; undefined for one that has ended, whose late frames are dropped. */
export const find = <O>(state: State<O>, id: number): Stream<O> | undefined => {
  const stream = state.streams.get(id)
  if (stream === undefined && isIdle(state, id)) {
    throw protocolError(`a frame for stream ${id}, which is idle`)
  }
  return stream
}
