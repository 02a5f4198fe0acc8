/** The receiving half of an HTTP/2 connection: bytes in, checked frame by frame, events out. */

import * as FlowControl from "../FlowControl.js"
import * as Rate from "../Rate.js"
import * as Bdp from "./Http2Bdp.js"
import { codes, Http2Violation, protocolError } from "./Http2Error.js"
import * as FrameReader from "./Http2FrameReader.js"
import * as Frames from "./Http2Frames.js"
import { Flag, Type } from "./Http2Frames.js"
import * as HeaderBlock from "./Http2HeaderBlock.js"
import * as Messages from "./Http2Messages.js"
import * as SendQueue from "./Http2SendQueue.js"
import * as Settings from "./Http2Settings.js"
import * as State from "./Http2State.js"

export interface Receiver<O> {
  readonly state: State.State<O>
  readonly messages: Messages.Messages<O>
  readonly frames: FrameReader.FrameReader
  readonly handler: FrameReader.Handler
  readonly block: HeaderBlock.HeaderBlock
  readonly maxHeaderBlockSize: number
  /** SETTINGS that change every stream's credit cost more than other frames. */
  readonly countSettings: (now: number) => void
  /** How much of the client's preface has come, at a server. */
  prefaceSize: number
  goaways: number
}

/** SETTINGS that a peer may send in a second. */
const maxSettingsRate = 20

/** GOAWAY frames that a peer may send in all: each may lower the last stream. */
const maxGoaways = 16

const makeRate = (limit: number, what: string, name = "") => {
  const isOver = Rate.make(limit)
  return (now: number) => {
    if (isOver(now)) {
      throw new Http2Violation("ENHANCE_YOUR_CALM", `${name}more than ${limit} ${what} in a second`)
    }
  }
}

export const make = <O>(state: State.State<O>): Receiver<O> => {
  const { limits, role } = state
  const receiver: Receiver<O> = {
    state,
    messages: Messages.make(state, {
      countCall: makeRate(limits.maxCallRate, "streams"),
      countCancel: makeRate(limits.maxCancelRate, "resets"),
      countPing: makeRate(limits.maxPingRate, "pings"),
      countUseless: makeRate(limits.maxUselessRate, "frames and calls without use", "ExcessiveLoad, ")
    }),
    frames: FrameReader.make(),
    handler: {
      onHeader: (type, id) => onHeader(receiver, type, id),
      onFrame: (type, flags, id, bytes, start, end) => onFrame(receiver, type, flags, id, bytes, start, end),
      onData: (flags, id, length) => Messages.onData(receiver.messages, flags, id, length),
      onContent: (bytes, start, end, isFrameEnd) => Messages.onContent(receiver.messages, bytes, start, end, isFrameEnd)
    },
    block: HeaderBlock.make(),
    maxHeaderBlockSize: limits.maxHeaderBlockSize ?? 2 * limits.maxHeaderListSize + 16 * 1024,
    countSettings: makeRate(maxSettingsRate, "SETTINGS"),
    prefaceSize: role === "server" ? 0 : Frames.preface.length,
    goaways: 0
  }
  return receiver
}

const onHeader = <O>({ block, messages, state }: Receiver<O>, type: number, id: number) => {
  if (block.id !== 0 && (type !== Type.continuation || id !== block.id)) {
    throw protocolError(`a frame of type ${type} within the header block of stream ${block.id}`)
  }
  if (state.peer === undefined && type !== Type.settings) {
    throw protocolError("the first frame is not SETTINGS")
  }
  if (type > Type.continuation) {
    messages.counters.countUseless(state.now)
  }
}

const onHeaders = <O>(receiver: Receiver<O>, flags: number, id: number, bytes: Buffer, from: number, to: number) => {
  let start = from
  let end = to
  if ((flags & Flag.padded) !== 0) {
    end -= start < end ? bytes.readUInt8(start) : 1
    start += 1
  }
  if ((flags & Flag.priority) !== 0) {
    start += 5
  }
  if (end < start) {
    throw new Http2Violation("PROTOCOL_ERROR", "HEADERS with more padding than payload")
  }
  const isEnd = (flags & Flag.endStream) !== 0
  if ((flags & Flag.endHeaders) !== 0) {
    return Messages.onBlock(receiver.messages, id, isEnd, bytes, start, end)
  }
  const { block, maxHeaderBlockSize } = receiver
  HeaderBlock.begin(block, id, isEnd)
  HeaderBlock.append(block, bytes, start, end, maxHeaderBlockSize)
}

const onContinuation = <O>(receiver: Receiver<O>, flags: number, bytes: Buffer, start: number, end: number) => {
  const { block, maxHeaderBlockSize, messages } = receiver
  if (block.id === 0) {
    throw protocolError("CONTINUATION without HEADERS")
  }
  HeaderBlock.append(block, bytes, start, end, maxHeaderBlockSize)
  if ((flags & Flag.endHeaders) !== 0) {
    const { id, isEnd } = block
    const whole = HeaderBlock.finish(block)
    Messages.onBlock(messages, id, isEnd, whole, 0, whole.length)
  }
}

const onReset = <O>({ messages, state }: Receiver<O>, id: number, code: number) => {
  const stream = State.find(state, id)
  if (stream === undefined) {
    return Messages.onLate(messages)
  }
  if (!stream.isMine) {
    messages.came += 1
    messages.counters.countCancel(state.now)
  }
  State.forget(state, stream)
  state.events.onReset(stream, code, "remote", "")
}

/** The peer gives its streams another window from the start: RFC 9113 section 6.9.2. */
const changeWindows = <O>({ sendQueue, streams }: State.State<O>, change: number) => {
  for (const [, stream] of streams.entries()) {
    if (!FlowControl.addCredit(stream, change, Frames.maxWindow)) {
      throw new Http2Violation("FLOW_CONTROL_ERROR", `a window of stream ${stream.id} of 2^31 or more`)
    }
    SendQueue.wake(sendQueue, stream)
  }
}

/** The peer has read this end's SETTINGS: it counts from the window in them, for streams that have begun too. */
const onSettingsAck = <O>({ messages, state }: Receiver<O>) => {
  if (state.isSettingsAcked) {
    return messages.counters.countUseless(state.now)
  }
  state.isSettingsAcked = true
  const change = state.limits.streamWindow - Settings.defaultWindow
  for (const [, stream] of state.streams.entries()) {
    stream.window += change
    stream.receiveCredit += change
  }
}

const onSettings = <O>(receiver: Receiver<O>, flags: number, bytes: Buffer, start: number, end: number) => {
  const { messages, state } = receiver
  const { sendQueue } = state
  const isFirst = state.peer === undefined
  if ((flags & Flag.ack) !== 0) {
    if (isFirst) {
      throw protocolError("the first frame acknowledges SETTINGS")
    }
    return onSettingsAck(receiver)
  }
  if (!isFirst) {
    receiver.countSettings(state.now)
    messages.counters.countUseless(state.now)
  }
  const before = state.peer ?? Settings.defaults
  const peer = Settings.read(bytes, start, end, before, state.role === "server", sendQueue.encoder.setMaxTableSize)
  state.peer = peer
  if (peer.initialWindowSize !== before.initialWindowSize) {
    changeWindows(state, peer.initialWindowSize - before.initialWindowSize)
  }
  Frames.writeSettingsAck(sendQueue.writer)
  if (isFirst) {
    state.events.onSettings(peer)
  }
}

const onPing = <O>({ messages, state }: Receiver<O>, flags: number, high: number, low: number) => {
  const { counters } = messages
  const { bdp, now, sendQueue } = state
  if ((flags & Flag.ack) === 0) {
    if (sendQueue.freePings > 0) {
      sendQueue.freePings -= 1
    } else {
      counters.countPing(now)
      counters.countUseless(now)
      state.events.onPing(now)
    }
    return Frames.writePing(sendQueue.writer, Flag.ack, high, low)
  }
  if (bdp.isPingOut && high === Bdp.payloadHigh && low === Bdp.payloadLow) {
    return Bdp.onAck(bdp, now)
  }
  counters.countUseless(now)
  state.events.onPong((BigInt(high) << 32n) | BigInt(low))
}

const onGoaway = <O>(receiver: Receiver<O>, bytes: Buffer, start: number, end: number) => {
  const { messages, state } = receiver
  messages.counters.countUseless(state.now)
  receiver.goaways += 1
  if (receiver.goaways > maxGoaways) {
    throw new Http2Violation("ENHANCE_YOUR_CALM", `more than ${maxGoaways} GOAWAY frames`)
  }
  const last = bytes.readUInt32BE(start) & Frames.maxStreamId
  const code = bytes.readUInt32BE(start + 4)
  const debugData = bytes.toString("utf8", start + 8, Math.min(end, start + 8 + Frames.maxDebugData))
  state.isGoawayReceived = true
  state.events.onGoaway(last, code, debugData)
  if (last >= state.lastMine) {
    return
  }
  state.lastMine = last
  for (const [id, stream] of state.streams.entries()) {
    if (stream.isMine && id > last && !stream.isGone) {
      State.forget(state, stream)
      state.events.onReset(stream, codes.REFUSED_STREAM, "remote", debugData)
    }
  }
}

const onWindowUpdate = <O>({ messages, state }: Receiver<O>, id: number, size: number) => {
  const { flow, sendQueue } = state
  if (sendQueue.freeUpdates > 0) {
    sendQueue.freeUpdates -= 1
  } else {
    messages.counters.countUseless(state.now)
  }
  if (id === 0) {
    if (size === 0) {
      throw protocolError("a WINDOW_UPDATE of nothing")
    }
    if (!FlowControl.addCredit(flow, size, Frames.maxWindow)) {
      throw new Http2Violation("FLOW_CONTROL_ERROR", "a window of the connection of 2^31 or more")
    }
    return
  }
  const stream = State.find(state, id)
  if (stream === undefined) {
    return
  }
  if (size === 0) {
    return Messages.fail(messages, stream, "PROTOCOL_ERROR", "a WINDOW_UPDATE of nothing")
  }
  if (!FlowControl.addCredit(stream, size, Frames.maxWindow)) {
    return Messages.fail(messages, stream, "FLOW_CONTROL_ERROR", "a window of 2^31 or more")
  }
  SendQueue.wake(sendQueue, stream)
}

const onFrame = <O>(
  receiver: Receiver<O>,
  type: number,
  flags: number,
  id: number,
  bytes: Buffer,
  start: number,
  end: number
) => {
  switch (type) {
    case Type.headers:
      return onHeaders(receiver, flags, id, bytes, start, end)
    case Type.continuation:
      return onContinuation(receiver, flags, bytes, start, end)
    case Type.rstStream:
      return onReset(receiver, id, bytes.readUInt32BE(start))
    case Type.settings:
      return onSettings(receiver, flags, bytes, start, end)
    case Type.ping:
      return onPing(receiver, flags, bytes.readUInt32BE(start), bytes.readUInt32BE(start + 4))
    case Type.goaway:
      return onGoaway(receiver, bytes, start, end)
    case Type.windowUpdate:
      return onWindowUpdate(receiver, id, bytes.readUInt32BE(start) & Frames.maxWindow)
    case Type.pushPromise:
      throw protocolError("PUSH_PROMISE, which no end of this library allows")
    case Type.priority:
      return receiver.messages.counters.countUseless(receiver.state.now)
  }
}

/** Checks the preface of a client as it comes, so that one of another protocol is told at once. */
const readPreface = <O>(receiver: Receiver<O>, chunk: Buffer): number => {
  const { prefaceSize } = receiver
  const size = Math.min(Frames.preface.length - prefaceSize, chunk.length)
  if (chunk.compare(Frames.preface, prefaceSize, prefaceSize + size, 0, size) !== 0) {
    throw protocolError("no client of HTTP/2")
  }
  receiver.prefaceSize += size
  return size
}

/** `Http2Connection.receive`. */
export const receive = <O>(receiver: Receiver<O>, chunk: Buffer, now: number, most: number): number => {
  const { frames, handler, messages, state } = receiver
  const before = messages.came
  state.now = now
  let at = receiver.prefaceSize < Frames.preface.length ? readPreface(receiver, chunk) : 0
  while (at < chunk.length) {
    at = FrameReader.read(frames, handler, chunk, at)
    if (messages.came - before >= most) {
      break
    }
  }
  return at
}

/** `Http2Connection.isMidFrame`. */
export const isMidFrame = <O>({ block, frames }: Receiver<O>): boolean =>
  block.id !== 0 || FrameReader.isMidFrame(frames)
