/**
 * The receiving half of a TlsLive connection: bytes in, checked frame by frame, events out.
 */

import * as Entries from "../Entries.js"
import * as Rate from "../Rate.js"
import * as Wire from "./Wire.js"
import { Flag, Type, Violation } from "./Wire.js"
import * as Frames from "./WireFrames.js"
import * as State from "./WireState.js"

export interface Receiver {
  /**
   * Takes bytes as they come. Throws a `Violation` when the other end broke the rules; nothing may be received then. A chunk
   * that it may not keep is copied where messages lie in it. Returns how many bytes it has taken: all, or as far as the frame
   * with which the other end has begun `maxCalls` calls.
   */
  readonly receive: (chunk: Buffer, now: number, mayKeep?: boolean, maxCalls?: number) => number
  /** Drops the messages that were begun longer ago than `timeout` milliseconds, as far as they lack no credit. */
  readonly expire: (now: number, timeout: number) => void
  /** Counts a call that cost work and brought nothing. Throws as `receive` does. */
  readonly useless: (now: number) => void
  /** Whether a frame has begun and not ended. */
  readonly isMidFrame: () => boolean
  /** Lets go of room that nothing is in. */
  readonly trim: () => void
}

/** What is made ready for a message that has begun to come, at the most. */
const maxExpected = 256 * 1024

const none: Buffer = Buffer.alloc(0)

/** The frame of the largest piece. */
const mostOfPiece = Wire.headerSize + Wire.maxPiece

/** A frame that is worth its own buffer. */
const largeFrame = 2048

/** The message without the room that it did not need; where that is much, in room of its own. */
const finish = (message: Uint8Array, size: number): Uint8Array =>
  size === message.length ? message : 2 * size > message.length ? message.subarray(0, size) : message.slice(0, size)

/** Counts what happens in a second, and throws where that is too much. */
const makeRate = (limit: number, reason: Wire.Reason) => {
  const isOver = Rate.make(limit)
  return (now: number) => {
    if (isOver(now)) {
      throw new Violation(reason, `more than ${limit} in a second`)
    }
  }
}

export const make = (state: State.State): Receiver => {
  const { calls, events, limits } = state
  const checkCallRate = makeRate(limits.maxCallRate, "CallRate")
  const checkCancelRate = makeRate(limits.maxCancelRate, "CallRate")
  const checkPingRate = makeRate(limits.maxPingRate, "PingRate")
  const checkUseless = makeRate(limits.maxUselessRate, "ExcessiveLoad")

  /** A frame for a call that has ended, or was not taken. Some may be under way. */
  const onLate = (now: number): undefined => {
    checkUseless(now)
  }

  const readResponse = (reader: Wire.Reader) => Wire.readMetadata(reader, limits.maxMetadataSize, Entries.isOfResponse)

  const onSettings = (reader: Wire.Reader) => {
    if (state.peer !== undefined) {
      throw State.violation("a second SETTINGS frame")
    }
    state.peer = {
      maxMessageSize: Wire.readUint32(reader),
      maxMetadataSize: Wire.readUint32(reader),
      maxCalls: Wire.readUint32(reader),
      streamWindow: Wire.readUint32(reader),
      connectionWindow: Wire.readUint32(reader)
    }
    state.sendCredit = state.peer.connectionWindow
    events.onSettings(state.peer)
  }

  const onOpen = (flags: number, id: number, reader: Wire.Reader, now: number) => {
    if (state.isGoawaySent) {
      return onLate(now)
    }
    if (id !== state.nextTheirs) {
      throw State.violation(`call ${id} was opened where ${state.nextTheirs} was due`)
    }
    state.nextTheirs = State.follow(id)
    checkCallRate(now)
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
      checkPiece(Wire.rest(reader))
      message = Wire.readBytes(reader, Wire.rest(reader))
    }
    const halfClosed = (flags & Flag.end) !== 0
    const call = State.begin(state, id, false)
    call.isRemoteDone = halfClosed
    events.onOpen(id, {
      path,
      timeout: timeout === Wire.noTimeout ? Number.POSITIVE_INFINITY : timeout,
      metadata,
      message,
      halfClosed
    })
  }

  const checkPiece = (size: number) => {
    if (size > Wire.maxPiece) {
      throw new Violation("FrameTooLarge", `a piece of ${size} bytes`)
    }
  }

  /** Puts a piece behind those of its message that have come. */
  const append = (call: State.Call, reader: Wire.Reader, size: number, now: number): Uint8Array => {
    const needed = call.messageSize + size
    let { message } = call
    if (message === undefined) {
      state.unfinished += 1
      call.messageSince = now
    }
    state.unfinishedSize += size
    if (message === undefined || needed > message.length) {
      const wanted = message === undefined ? state.expected : 2 * message.length
      const grown = Wire.allocate(Math.max(needed, Math.min(wanted, limits.maxMessageSize)))
      grown.set(message === undefined ? none : message.subarray(0, call.messageSize))
      message = grown
      call.message = grown
    }
    Wire.readInto(reader, message, call.messageSize, size)
    call.messageSize = needed
    return message
  }

  /** Drops what has come of a call's message, and what is still to come. */
  const drop = (call: State.Call) => {
    call.isDropping = true
    State.forgetUnfinished(state, call)
    State.consume(state, call, call.held, call.heldOnConnection)
  }

  const expire = (now: number, timeout: number) => {
    if (state.unfinished === 0) {
      return
    }
    for (const [id, call] of calls.entries()) {
      if (call.message === undefined) {
        continue
      }
      if (Math.min(call.receiveCredit, state.receiveCredit) <= Wire.messageOverhead) {
        call.messageSince = now
      } else if (now - call.messageSince > timeout) {
        drop(call)
        events.onDropped(id, "Overdue")
      }
    }
  }

  const onMessage = (flags: number, id: number, reader: Wire.Reader, now: number) => {
    const size = Wire.rest(reader)
    const cost = Wire.messageOverhead + size
    checkPiece(size)
    if (cost > state.receiveCredit) {
      throw new Violation("FlowControl", "more bytes than the window of the connection")
    }
    state.receiveCredit -= cost
    const call = State.find(state, id)
    if (call === undefined) {
      state.late -= cost
      if (state.late < 0) {
        state.late = 0
        checkUseless(now)
      }
      return State.giveBack(state, cost)
    }
    if (call.isRemoteDone) {
      throw State.violation(`a message after the last of call ${id}`)
    }
    if (cost > call.receiveCredit) {
      throw new Violation("FlowControl", `more bytes than the window of call ${id}`)
    }
    call.receiveCredit -= cost
    call.held += cost
    const isLast = (flags & Flag.end) !== 0
    const goesOn = (flags & Flag.more) !== 0
    if ((isLast && (call.isMine || goesOn)) || (goesOn && size === 0)) {
      throw State.violation(`a wrong flag on a message of call ${id}`)
    }
    call.isRemoteDone = isLast
    if (goesOn || call.message !== undefined) {
      // An unfinished message must not hold up the connection: others could then never finish theirs.
      State.giveBack(state, cost)
      call.partial += cost
    } else {
      call.heldOnConnection += cost
    }
    if (call.isDropping || call.messageSize + size > limits.maxMessageSize) {
      const isFirst = !call.isDropping
      drop(call)
      return isFirst ? events.onDropped(id, "TooLarge") : undefined
    }
    if (goesOn) {
      append(call, reader, size, now)
      // One alone may be as large as a message may be.
      if (state.unfinished > 1 && state.unfinishedSize > limits.connectionWindow) {
        drop(call)
        return events.onDropped(id, "OverBudget")
      }
      return State.consume(state, call, 0, 0)
    }
    if (call.message === undefined) {
      events.onMessage(id, Wire.readBytes(reader, size), cost, cost)
    } else {
      const message = finish(append(call, reader, size, now), call.messageSize)
      const messageCost = call.partial
      state.expected = Math.min(call.messageSize, maxExpected)
      State.forgetUnfinished(state, call)
      // Whole, it counts as unread on the connection, as one that came in one piece does.
      const costOnConnection = message.length + Wire.messageOverhead
      State.hold(state, call, costOnConnection)
      events.onMessage(id, message, messageCost, costOnConnection)
    }
    if (isLast) {
      events.onHalfClose(id)
    }
  }

  const onHalfClose = (id: number, now: number) => {
    const call = State.findTheirs(state, id)
    if (call === undefined) {
      return onLate(now)
    }
    if (call.isRemoteDone || call.message !== undefined) {
      throw State.violation(`call ${id} was half-closed twice or in the middle of a message`)
    }
    call.isRemoteDone = true
    events.onHalfClose(id)
  }

  const onHeaders = (id: number, reader: Wire.Reader, now: number) => {
    const headers = readResponse(reader)
    const call = State.findMine(state, id)
    if (call === undefined) {
      return onLate(now)
    }
    if (call.hasHeaders) {
      throw State.violation(`second response headers of call ${id}`)
    }
    call.hasHeaders = true
    events.onHeaders(id, headers)
  }

  const onReply = (flags: number, id: number, reader: Wire.Reader, now: number) => {
    const headers = (flags & Flag.headers) === 0 ? Entries.none : readResponse(reader)
    const trailers = (flags & Flag.trailers) === 0 ? Entries.none : readResponse(reader)
    checkPiece(Wire.rest(reader))
    const call = State.findMine(state, id)
    if (call === undefined) {
      return onLate(now)
    }
    const message = Wire.readBytes(reader, Wire.rest(reader))
    State.finish(state, call)
    events.onReply(id, { headers, trailers, message })
  }

  const onTrailers = (id: number, reader: Wire.Reader, now: number) => {
    const code = Wire.readUint8(reader)
    const message = Wire.readText(reader, Wire.readUint16(reader), "utf8")
    const details = Wire.readBytes(reader, Wire.readUint16(reader))
    const metadata = readResponse(reader)
    const call = State.findMine(state, id)
    if (call === undefined) {
      return onLate(now)
    }
    State.finish(state, call)
    events.onTrailers(id, { code, message, details, metadata })
  }

  const onCancel = (id: number, now: number) => {
    const call = State.findTheirs(state, id)
    if (call !== undefined) {
      checkCancelRate(now)
    }
    checkUseless(now)
    if (call !== undefined) {
      State.finish(state, call)
      events.onCancel(id)
    }
  }

  const onCredit = (id: number, reader: Wire.Reader, now: number) => {
    const size = Wire.readUint32(reader)
    // No message costs less.
    if (size < Wire.messageOverhead) {
      checkUseless(now)
    }
    if (id === 0) {
      state.sendCredit += size
    } else {
      const call = State.find(state, id)
      if (call !== undefined) {
        call.sendCredit += size
        checkWindow(call.sendCredit)
      }
    }
    checkWindow(state.sendCredit)
  }

  const checkWindow = (credit: number) => {
    if (credit > 0xffff_ffff) {
      throw new Violation("FlowControl", "a window of 2^32 or more")
    }
  }

  const onPing = (flags: number, reader: Wire.Reader, now: number) => {
    const high = Wire.readUint32(reader)
    const low = Wire.readUint32(reader)
    const payload = (BigInt(high) << 32n) | BigInt(low)
    if ((flags & Flag.ack) !== 0) {
      checkUseless(now)
      return events.onPong(payload)
    }
    checkPingRate(now)
    checkUseless(now)
    Frames.writePing(state.writer, Flag.ack, payload)
  }

  const onGoaway = (reader: Wire.Reader, now: number) => {
    checkUseless(now)
    const lastCall = Wire.readUint32(reader)
    const reason = Wire.reasons[Wire.readUint8(reader)] ?? "ProtocolError"
    const text = Wire.readText(reader, Math.min(Wire.rest(reader), Wire.maxGoawayText), "utf8")
    state.isGoawayReceived = true
    events.onGoaway({ lastCall, reason, text })
  }

  /** Before the frame is whole, so that whoever speaks another protocol hears of it at once. */
  const checkType = (type: number) => {
    if (type < Type.settings || type > Type.goaway) {
      throw State.violation(`a frame of unknown type ${type}`)
    }
    if (state.peer === undefined && type !== Type.settings && type !== Type.goaway) {
      throw State.violation("the first frame is not SETTINGS")
    }
  }

  const onFrame = (type: number, flags: number, id: number, reader: Wire.Reader, now: number) => {
    switch (type) {
      case Type.settings:
        return onSettings(reader)
      case Type.open:
        return onOpen(flags, id, reader, now)
      case Type.message:
        return onMessage(flags, id, reader, now)
      case Type.halfClose:
        return onHalfClose(id, now)
      case Type.headers:
        return onHeaders(id, reader, now)
      case Type.trailers:
        return onTrailers(id, reader, now)
      case Type.reply:
        return onReply(flags, id, reader, now)
      case Type.cancel:
        return onCancel(id, now)
      case Type.credit:
        return onCredit(id, reader, now)
      case Type.ping:
        return onPing(flags, reader, now)
      case Type.goaway:
        return onGoaway(reader, now)
    }
  }

  const sizeOf = (bytes: Buffer, at: number) => {
    checkType(bytes.readUInt8(at))
    return Wire.headerSize + bytes.readUInt16BE(at + 2)
  }

  const onBytes = (bytes: Buffer, at: number, size: number, isOwn: boolean, now: number) => {
    const reader = { bytes, at: at + Wire.headerSize, end: at + size, isOwn }
    onFrame(bytes.readUInt8(at), bytes.readUInt8(at + 1), bytes.readUInt32BE(at + 4), reader, now)
  }

  /** A frame that comes in parts: first room for its header alone, then for all of it, and how much of that is there. */
  const header = Buffer.alloc(Wire.headerSize)
  let pending: Buffer = header
  let filled = 0
  let piece: Buffer = none

  /** Pieces of a message are copied out of their frame, so that it serves the next one too. */
  const roomFor = (bytes: Buffer, at: number, size: number): Buffer => {
    if (bytes[at] !== Type.message || ((bytes[at + 1] ?? 0) & Flag.more) === 0 || size > mostOfPiece) {
      return Buffer.allocUnsafeSlow(size)
    }
    if (piece.length === 0) {
      piece = Buffer.allocUnsafeSlow(mostOfPiece)
    }
    return piece.subarray(0, size)
  }

  /** Takes what the unfinished frame lacks of the chunk; gives how much that was. */
  const fill = (chunk: Buffer, at: number): number => {
    const taken = chunk.copy(pending, filled, at)
    filled += taken
    return taken
  }

  const receive = (chunk: Buffer, now: number, mayKeep = true, maxCalls = Number.POSITIVE_INFINITY): number => {
    const before = state.nextTheirs
    let at = 0
    if (filled > 0) {
      at += fill(chunk, at)
      if (pending === header && filled === Wire.headerSize) {
        pending = roomFor(header, 0, sizeOf(header, 0))
        header.copy(pending)
        at += fill(chunk, at)
      }
      if (filled < pending.length) {
        return at
      }
      const whole = pending
      pending = header
      filled = 0
      onBytes(whole, 0, whole.length, true, now)
    }
    while (chunk.length - at >= Wire.headerSize) {
      const size = sizeOf(chunk, at)
      if (at + size > chunk.length) {
        pending = roomFor(chunk, at, size)
        break
      }
      onBytes(chunk, at, size, mayKeep && size >= largeFrame && 4 * size > 3 * chunk.buffer.byteLength, now)
      at += size
      if ((state.nextTheirs - before) >>> 1 >= maxCalls) {
        return at
      }
    }
    return at < chunk.length ? at + fill(chunk, at) : at
  }

  const trim = () => {
    if (filled === 0) {
      piece = none
    }
  }

  return { receive, expire, useless: checkUseless, isMidFrame: () => filled > 0, trim }
}
