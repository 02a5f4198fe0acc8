/** The receiving half of a TlsLive connection: bytes in, checked frame by frame, events out. */

import * as Entries from "../Entries.js"
import * as FlowControl from "../FlowControl.js"
import * as Rate from "../Rate.js"
import * as Wire from "./Wire.js"
import { Flag, Type, Violation } from "./Wire.js"
import * as FrameBuffer from "./WireFrameBuffer.js"
import * as Frames from "./WireFrames.js"
import * as Messages from "./WireMessages.js"
import * as State from "./WireState.js"

export interface Receiver {
  readonly state: State.State
  readonly frames: FrameBuffer.FrameBuffer
  /** Calls that the peer has begun, and those that it has given up. */
  came: number
  /** Each throws a `Violation` when the peer does more in a second than its limit. */
  readonly countCall: (now: number) => void
  readonly countCancel: (now: number) => void
  readonly countPing: (now: number) => void
  readonly countUseless: (now: number) => void
}

/** A frame of at least this size may keep the buffer that it came in. */
const minOwnFrame = 2048

const makeRate = (limit: number, reason: Wire.Reason) => {
  const isOver = Rate.make(limit)
  return (now: number) => {
    if (isOver(now)) {
      throw new Violation(reason, `more than ${limit} in a second`)
    }
  }
}

export const make = (state: State.State): Receiver => {
  const { limits } = state
  return {
    state,
    frames: FrameBuffer.make(),
    came: 0,
    countCall: makeRate(limits.maxCallRate, "CallRate"),
    countCancel: makeRate(limits.maxCancelRate, "CallRate"),
    countPing: makeRate(limits.maxPingRate, "PingRate"),
    countUseless: makeRate(limits.maxUselessRate, "ExcessiveLoad")
  }
}

const onSettings = ({ state }: Receiver, reader: Wire.Reader) => {
  if (state.peer !== undefined) {
    throw State.violation("a second SETTINGS frame")
  }
  const peer = {
    maxMessageSize: Wire.readUint32(reader),
    maxMetadataSize: Wire.readUint32(reader),
    maxCalls: Wire.readUint32(reader),
    streamWindow: Wire.readUint32(reader),
    connectionWindow: Wire.readUint32(reader)
  }
  state.peer = peer
  state.flow.sendCredit = peer.connectionWindow
  state.sendQueue.maxBegun = peer.connectionWindow
  state.events.onSettings(peer)
}

const onOpen = (receiver: Receiver, flags: number, id: number, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  const { limits } = state
  if (state.isGoawaySent) {
    return receiver.countUseless(now)
  }
  if (id !== state.nextTheirs) {
    throw State.violation(`call ${id} was opened where ${state.nextTheirs} was due`)
  }
  state.nextTheirs = State.follow(id)
  receiver.came += 1
  receiver.countCall(now)
  if (state.theirs >= limits.maxCalls) {
    throw new Violation("TooManyCalls", `more than ${limits.maxCalls} calls at a time`)
  }
  const timeout = Wire.readUint32(reader)
  const pathSize = Wire.readUint16(reader)
  if (pathSize > Wire.maxPath) {
    throw new Violation("FrameTooLarge", `a path of ${pathSize} bytes`)
  }
  const path = Wire.readText(reader, pathSize, "latin1")
  const metadata = Wire.readMetadata(reader, limits.maxMetadataSize, Entries.isOfRequest)
  let message: Uint8Array | undefined
  if ((flags & Flag.message) !== 0) {
    Messages.checkPiece(Wire.rest(reader))
    message = Wire.readBytes(reader, Wire.rest(reader))
  }
  const halfClosed = (flags & Flag.end) !== 0
  const call = State.begin(state, id, false)
  call.isRemoteDone = halfClosed
  state.events.onOpen(id, {
    path,
    timeout: timeout === Wire.noTimeout ? Number.POSITIVE_INFINITY : timeout,
    metadata,
    message,
    halfClosed
  })
}

const onHalfClose = (receiver: Receiver, id: number, now: number) => {
  const { state } = receiver
  const call = State.findTheirs(state, id)
  if (call === undefined) {
    return receiver.countUseless(now)
  }
  if (call.isRemoteDone || call.partial !== undefined) {
    throw State.violation(`call ${id} was half-closed twice or in the middle of a message`)
  }
  call.isRemoteDone = true
  state.events.onHalfClose(id)
}

const readResponse = (state: State.State, reader: Wire.Reader) =>
  Wire.readMetadata(reader, state.limits.maxMetadataSize, Entries.isOfResponse)

const onHeaders = (receiver: Receiver, id: number, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  const headers = readResponse(state, reader)
  const call = State.findMine(state, id)
  if (call === undefined) {
    return receiver.countUseless(now)
  }
  if (call.hasHeaders) {
    throw State.violation(`second response headers of call ${id}`)
  }
  call.hasHeaders = true
  state.events.onHeaders(id, headers)
}

const onReply = (receiver: Receiver, flags: number, id: number, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  const headers = (flags & Flag.headers) === 0 ? Entries.none : readResponse(state, reader)
  const trailers = (flags & Flag.trailers) === 0 ? Entries.none : readResponse(state, reader)
  Messages.checkPiece(Wire.rest(reader))
  const call = State.findMine(state, id)
  if (call === undefined) {
    return receiver.countUseless(now)
  }
  const message = Wire.readBytes(reader, Wire.rest(reader))
  State.finish(state, call)
  state.events.onReply(id, { headers, trailers, message })
}

const onTrailers = (receiver: Receiver, id: number, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  const code = Wire.readUint8(reader)
  const message = Wire.readText(reader, Wire.readUint16(reader), "utf8")
  const details = Wire.readBytes(reader, Wire.readUint16(reader))
  const metadata = readResponse(state, reader)
  const call = State.findMine(state, id)
  if (call === undefined) {
    return receiver.countUseless(now)
  }
  State.finish(state, call)
  state.events.onTrailers(id, { code, message, details, metadata })
}

const onCancel = (receiver: Receiver, id: number, now: number) => {
  const { state } = receiver
  const call = State.findTheirs(state, id)
  if (call !== undefined) {
    receiver.came += 1
    receiver.countCancel(now)
  }
  receiver.countUseless(now)
  if (call !== undefined) {
    State.finish(state, call)
    state.events.onCancel(id)
  }
}

const addCredit = (flow: FlowControl.FlowControl, size: number) => {
  if (!FlowControl.addCredit(flow, size)) {
    throw new Violation("FlowControl", "a window of 2^32 or more")
  }
}

const onCredit = (receiver: Receiver, id: number, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  const size = Wire.readUint32(reader)
  // No message costs less.
  if (size < Wire.messageOverhead) {
    receiver.countUseless(now)
  }
  if (id === 0) {
    return addCredit(state.flow, size)
  }
  const call = State.find(state, id)
  if (call !== undefined) {
    addCredit(call, size)
  }
}

const onPing = (receiver: Receiver, flags: number, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  const high = Wire.readUint32(reader)
  const low = Wire.readUint32(reader)
  const payload = (BigInt(high) << 32n) | BigInt(low)
  if ((flags & Flag.ack) !== 0) {
    receiver.countUseless(now)
    return state.events.onPong(payload)
  }
  receiver.countPing(now)
  receiver.countUseless(now)
  Frames.writePing(state.sendQueue.writer, Flag.ack, payload)
}

const onGoaway = (receiver: Receiver, reader: Wire.Reader, now: number) => {
  const { state } = receiver
  receiver.countUseless(now)
  const lastCall = Wire.readUint32(reader)
  const reason = Wire.reasons[Wire.readUint8(reader)] ?? "ProtocolError"
  const text = Wire.readText(reader, Math.min(Wire.rest(reader), Wire.maxGoawayText), "utf8")
  state.isGoawayReceived = true
  state.events.onGoaway({ lastCall, reason, text })
}

/** Reads the frame of `size` bytes at a place. `isOwn`: a message in it may keep its buffer. */
const onFrame = (receiver: Receiver, bytes: Buffer, at: number, size: number, isOwn: boolean, now: number) => {
  const flags = bytes.readUInt8(at + 1)
  const id = bytes.readUInt32BE(at + 4)
  const reader: Wire.Reader = { bytes, at: at + Wire.headerSize, end: at + size, isOwn }
  switch (bytes.readUInt8(at)) {
    case Type.settings:
      return onSettings(receiver, reader)
    case Type.open:
      return onOpen(receiver, flags, id, reader, now)
    case Type.message:
      return Messages.onMessage(receiver.state, flags, id, reader, now, receiver.countUseless)
    case Type.halfClose:
      return onHalfClose(receiver, id, now)
    case Type.headers:
      return onHeaders(receiver, id, reader, now)
    case Type.trailers:
      return onTrailers(receiver, id, reader, now)
    case Type.reply:
      return onReply(receiver, flags, id, reader, now)
    case Type.cancel:
      return onCancel(receiver, id, now)
    case Type.credit:
      return onCredit(receiver, id, reader, now)
    case Type.ping:
      return onPing(receiver, flags, reader, now)
    case Type.goaway:
      return onGoaway(receiver, reader, now)
  }
}

/** The size of a frame. Its type is checked before it is whole, so that a peer of another protocol is told at once. */
const frameSize = (state: State.State, bytes: Buffer, at: number): number => {
  const type = bytes.readUInt8(at)
  if (type < Type.settings || type > Type.goaway) {
    throw State.violation(`a frame of unknown type ${type}`)
  }
  if (state.peer === undefined && type !== Type.settings && type !== Type.goaway) {
    throw State.violation("the first frame is not SETTINGS")
  }
  return Wire.headerSize + bytes.readUInt16BE(at + 2)
}

/** `WireConnection.receive`. */
export const receive = (receiver: Receiver, chunk: Buffer, now: number, mayKeep: boolean, most: number): number => {
  const { frames, state } = receiver
  const before = receiver.came
  let at = 0
  if (FrameBuffer.isMidFrame(frames)) {
    at += FrameBuffer.fill(frames, chunk, at)
    if (FrameBuffer.needsRoom(frames)) {
      FrameBuffer.beginBuffered(frames, frameSize(state, frames.header, 0))
      at += FrameBuffer.fill(frames, chunk, at)
    }
    const frame = FrameBuffer.take(frames)
    if (frame === undefined) {
      return at
    }
    onFrame(receiver, frame, 0, frame.length, true, now)
  }
  while (chunk.length - at >= Wire.headerSize) {
    const size = frameSize(state, chunk, at)
    if (at + size > chunk.length) {
      FrameBuffer.begin(frames, chunk, at, size)
      break
    }
    // A message that keeps its buffer must be most of it.
    const isOwn = mayKeep && size >= minOwnFrame && 4 * size > 3 * chunk.buffer.byteLength
    onFrame(receiver, chunk, at, size, isOwn, now)
    at += size
    if (receiver.came - before >= most) {
      return at
    }
  }
  return at < chunk.length ? at + FrameBuffer.fill(frames, chunk, at) : at
}
