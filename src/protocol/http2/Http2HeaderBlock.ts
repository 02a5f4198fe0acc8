/** Header blocks: cut into HEADERS and CONTINUATION frames, and put together from them. RFC 9113 section 4.3. */

import type { ByteWriter } from "../ByteWriter.js"
import type { Fields } from "../Fields.js"
import type { Encoder, Head } from "./HpackEncoder.js"
import { Http2Violation } from "./Http2Error.js"
import { Flag, headerSize, maxPayload, putHeader, Type } from "./Http2Frames.js"

/** A block whose HEADERS frame has come, and not its last CONTINUATION. */
export interface HeaderBlock {
  /** Its stream, or 0 while there is none. */
  id: number
  isEnd: boolean
  fragments: Array<Buffer>
  size: number
}

/** The most CONTINUATION frames of a block. Of the usual size they hold a mebibyte. */
export const maxContinuations = 64

const none = Buffer.alloc(0)

export const make = (): HeaderBlock => ({ id: 0, isEnd: false, fragments: [], size: 0 })

/** A HEADERS frame without END_HEADERS. */
export const begin = (block: HeaderBlock, id: number, isEnd: boolean): void => {
  block.id = id
  block.isEnd = isEnd
}

/** Keeps a copy of a fragment, the bytes between the two positions. */
export const append = (block: HeaderBlock, bytes: Buffer, start: number, end: number, maxSize: number): void => {
  block.size += end - start
  if (block.size > maxSize) {
    throw new Http2Violation("ENHANCE_YOUR_CALM", `a header block of more than ${maxSize} bytes`)
  }
  if (block.fragments.length > maxContinuations) {
    throw new Http2Violation("ENHANCE_YOUR_CALM", `a header block of more than ${maxContinuations} CONTINUATION frames`)
  }
  // Empty ones count too, and cost next to nothing.
  block.fragments.push(start === end ? none : Buffer.from(bytes.subarray(start, end)))
}

/** Returns the whole block; there is none that has begun then. */
export const finish = (block: HeaderBlock): Buffer => {
  const whole = Buffer.concat(block.fragments)
  block.id = 0
  block.fragments = []
  block.size = 0
  return whole
}

/** Cuts a block that may be larger than a frame. */
const writeCut = (writer: ByteWriter, id: number, flags: number, block: Buffer) => {
  for (let offset = 0; offset === 0 || offset < block.length; offset += maxPayload) {
    const size = Math.min(maxPayload, block.length - offset)
    const isLast = offset + size === block.length
    const at = writer.reserve(headerSize + size)
    const type = offset === 0 ? Type.headers : Type.continuation
    putHeader(writer.buffer, at, size, type, (offset === 0 ? flags : 0) | (isLast ? Flag.endHeaders : 0), id)
    block.copy(writer.buffer, at + headerSize, offset, offset + size)
    writer.commit(at + headerSize + size)
  }
}

/**
 * Writes a block, in frames that every peer takes, whatever its SETTINGS_MAX_FRAME_SIZE. What the encoder throws leaves nothing
 * behind.
 */
export const write = (
  writer: ByteWriter,
  encoder: Encoder,
  id: number,
  flags: number,
  head: Head | undefined,
  rest: Fields
): void => {
  const room = encoder.maxSize(head, rest)
  if (room <= maxPayload) {
    const at = writer.reserve(headerSize + room)
    const { buffer } = writer
    const end = encoder.write(buffer, at + headerSize, head, rest)
    putHeader(buffer, at, end - at - headerSize, Type.headers, flags | Flag.endHeaders, id)
    writer.commit(end)
  } else {
    const block = Buffer.allocUnsafe(room)
    const end = encoder.write(block, 0, head, rest)
    writeCut(writer, id, flags, block.subarray(0, end))
  }
}
