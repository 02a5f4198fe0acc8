/** A frame that comes in parts: room for its header first, then for all of it. */

import * as Wire from "./Wire.js"
import { Flag, Type } from "./Wire.js"

export interface FrameBuffer {
  readonly header: Buffer
  /** Where the bytes go: `header`, or room for the whole frame. */
  frame: Buffer
  filled: number
  /** Room that serves every piece of a message, since pieces are copied out of it. */
  piece: Buffer
}

const none: Buffer = Buffer.alloc(0)

const maxPieceFrame = Wire.headerSize + Wire.maxPiece

export const make = (): FrameBuffer => {
  const header = Buffer.alloc(Wire.headerSize)
  return { header, frame: header, filled: 0, piece: none }
}

/** Whether a frame has begun and not ended. */
export const isMidFrame = (buffer: FrameBuffer): boolean => buffer.filled > 0

/** Whether a header is complete that has no room for its frame yet. */
export const needsRoom = (buffer: FrameBuffer): boolean =>
  buffer.frame === buffer.header && buffer.filled === Wire.headerSize

/** Makes room for a frame of so many bytes in all, whose header stands in `bytes`. */
export const begin = (buffer: FrameBuffer, bytes: Buffer, at: number, size: number): void => {
  const isPiece = bytes[at] === Type.message && ((bytes[at + 1] ?? 0) & Flag.more) !== 0 && size <= maxPieceFrame
  if (!isPiece) {
    buffer.frame = Buffer.allocUnsafeSlow(size)
    return
  }
  if (buffer.piece.length === 0) {
    buffer.piece = Buffer.allocUnsafeSlow(maxPieceFrame)
  }
  buffer.frame = buffer.piece.subarray(0, size)
}

/** The same for the header that has come in parts itself. */
export const beginBuffered = (buffer: FrameBuffer, size: number): void => {
  begin(buffer, buffer.header, 0, size)
  buffer.header.copy(buffer.frame)
}

/** Takes of a chunk what the header or the frame lacks, and returns how much that was. */
export const fill = (buffer: FrameBuffer, chunk: Buffer, at: number): number => {
  const taken = chunk.copy(buffer.frame, buffer.filled, at)
  buffer.filled += taken
  return taken
}

/** Returns the frame if it is whole. */
export const take = (buffer: FrameBuffer): Buffer | undefined => {
  const { filled, frame, header } = buffer
  if (filled < frame.length) {
    return undefined
  }
  buffer.frame = header
  buffer.filled = 0
  return frame
}

/** Lets go of room that nothing is in. */
export const trim = (buffer: FrameBuffer): void => {
  if (buffer.filled === 0) {
    buffer.piece = none
  }
}
