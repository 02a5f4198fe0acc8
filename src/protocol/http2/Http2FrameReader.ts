/**
 * Bytes in, frames out, however the bytes are cut. A frame is kept until it is whole, but for DATA, whose content is passed on as
 * it comes, without its padding, and for frames of unknown types, which are dropped as they come.
 */

import { protocolError } from "./Http2Error.js"
import { check, Flag, headerSize, Type } from "./Http2Frames.js"

export interface Handler {
  /** A header, which `check` has taken. Throws for a frame that is out of place. */
  readonly onHeader: (type: number, id: number) => void
  /** A whole frame of a known type: its payload stands between the two positions. */
  readonly onFrame: (type: number, flags: number, id: number, bytes: Buffer, start: number, end: number) => void
  /** A DATA frame begins. All its length counts for flow control. */
  readonly onData: (flags: number, id: number, length: number) => void
  /** Some of its content; nothing where it ends with padding, or is empty. */
  readonly onContent: (bytes: Buffer, start: number, end: number, isFrameEnd: boolean) => void
}

/** Where the rest of a frame goes that has begun. */
type Phase = "header" | "whole" | "padLength" | "content" | "padding" | "drop"

export interface FrameReader {
  readonly header: Buffer
  headerFilled: number
  phase: Phase
  type: number
  flags: number
  id: number
  /** The payload of a frame that comes in parts, filled up to a place. */
  frame: Buffer
  filled: number
  /** What is to come of the content of a DATA frame, or of the payload of a frame that is dropped. */
  left: number
  padding: number
}

const none = Buffer.alloc(0)

export const make = (): FrameReader => ({
  header: Buffer.alloc(headerSize),
  headerFilled: 0,
  phase: "header",
  type: 0,
  flags: 0,
  id: 0,
  frame: none,
  filled: 0,
  left: 0,
  padding: 0
})

/** Whether a frame that is neither DATA nor of an unknown type has begun and not ended. */
export const isMidFrame = (reader: FrameReader): boolean => reader.headerFilled > 0 || reader.phase === "whole"

/** Passes on the content of a DATA frame, as far as the chunk has it. */
const passContent = (reader: FrameReader, handler: Handler, chunk: Buffer, at: number): number => {
  const end = Math.min(chunk.length, at + reader.left)
  reader.left -= end - at
  if (reader.left > 0) {
    handler.onContent(chunk, at, end, false)
  } else if (reader.padding > 0) {
    reader.phase = "padding"
    if (end > at) {
      handler.onContent(chunk, at, end, false)
    }
  } else {
    reader.phase = "header"
    handler.onContent(chunk, at, end, true)
  }
  return end
}

const skipPadding = (reader: FrameReader, handler: Handler, chunk: Buffer, at: number): number => {
  const end = Math.min(chunk.length, at + reader.padding)
  reader.padding -= end - at
  if (reader.padding === 0) {
    reader.phase = "header"
    handler.onContent(chunk, end, end, true)
  }
  return end
}

const readPadLength = (reader: FrameReader, handler: Handler, chunk: Buffer, at: number): number => {
  reader.padding = chunk.readUInt8(at)
  reader.left -= 1 + reader.padding
  if (reader.left < 0) {
    throw protocolError("more padding than payload")
  }
  reader.phase = "content"
  return reader.left === 0 ? passContent(reader, handler, chunk, at + 1) : at + 1
}

const drop = (reader: FrameReader, chunk: Buffer, at: number): number => {
  const end = Math.min(chunk.length, at + reader.left)
  reader.left -= end - at
  if (reader.left === 0) {
    reader.phase = "header"
  }
  return end
}

const fill = (reader: FrameReader, handler: Handler, chunk: Buffer, at: number): number => {
  const { frame } = reader
  const taken = chunk.copy(frame, reader.filled, at)
  reader.filled += taken
  if (reader.filled === frame.length) {
    reader.frame = none
    reader.phase = "header"
    handler.onFrame(reader.type, reader.flags, reader.id, frame, 0, frame.length)
  }
  return at + taken
}

/** A DATA frame whose header has been read: as much of it as the chunk has. */
const beginData = (reader: FrameReader, handler: Handler, length: number, chunk: Buffer, at: number): number => {
  handler.onData(reader.flags, reader.id, length)
  reader.left = length
  reader.padding = 0
  if ((reader.flags & Flag.padded) !== 0) {
    if (length === 0) {
      throw protocolError("a padded frame without a pad length")
    }
    reader.phase = "padLength"
    return at
  }
  reader.phase = "content"
  return length === 0 || at < chunk.length ? passContent(reader, handler, chunk, at) : at
}

/** Reads the header that stands in `bytes` at a place, and as much of its frame as the chunk has at another. */
const begin = (
  reader: FrameReader,
  handler: Handler,
  bytes: Buffer,
  place: number,
  chunk: Buffer,
  at: number
): number => {
  const lengthAndType = bytes.readUInt32BE(place)
  const length = lengthAndType >>> 8
  const type = lengthAndType & 0xff
  const flags = bytes.readUInt8(place + 4)
  const id = bytes.readUInt32BE(place + 5) & 0x7fff_ffff
  check(type, flags, id, length)
  handler.onHeader(type, id)
  if (type !== Type.data && type <= Type.continuation && length <= chunk.length - at) {
    handler.onFrame(type, flags, id, chunk, at, at + length)
    return at + length
  }
  reader.type = type
  reader.flags = flags
  reader.id = id
  if (type === Type.data) {
    return beginData(reader, handler, length, chunk, at)
  }
  if (type <= Type.continuation) {
    reader.frame = Buffer.allocUnsafeSlow(length)
    reader.filled = 0
    reader.phase = "whole"
    return fill(reader, handler, chunk, at)
  }
  reader.left = length
  reader.phase = "drop"
  return drop(reader, chunk, at)
}

/** Reads the next frame, or what the chunk has of it, and returns the position behind. */
export const read = (reader: FrameReader, handler: Handler, chunk: Buffer, at: number): number => {
  switch (reader.phase) {
    case "header": {
      if (reader.headerFilled === 0 && chunk.length - at >= headerSize) {
        return begin(reader, handler, chunk, at, chunk, at + headerSize)
      }
      const taken = chunk.copy(reader.header, reader.headerFilled, at)
      reader.headerFilled += taken
      if (reader.headerFilled < headerSize) {
        return at + taken
      }
      reader.headerFilled = 0
      return begin(reader, handler, reader.header, 0, chunk, at + taken)
    }
    case "whole":
      return fill(reader, handler, chunk, at)
    case "padLength":
      return readPadLength(reader, handler, chunk, at)
    case "content":
      return passContent(reader, handler, chunk, at)
    case "padding":
      return skipPadding(reader, handler, chunk, at)
    case "drop":
      return drop(reader, chunk, at)
  }
}
