/** Frames of TlsLive on their way out: room for each, and its header. */
import * as ByteWriter from "../ByteWriter.js"
import * as Wire from "./Wire.js"

export type Writer = ByteWriter.ByteWriter

export const { make } = ByteWriter

/**
 * Room for a frame of up to `length` bytes of payload; returns the position of the payload in the writer's `buffer`. Nothing
 * of it is sent before `commit`.
 */
export const reserve = (writer: Writer, length: number): number => {
  if (!(length >= 0 && length <= Wire.maxPayload)) {
    throw new RangeError(`a frame of ${length} bytes`)
  }
  return writer.reserve(Wire.headerSize + length) + Wire.headerSize
}

/** Sends the frame that was reserved last: its payload stands from `start` to `end`. */
export const commit = (writer: Writer, type: number, flags: number, call: number, start: number, end: number): void => {
  const { buffer } = writer
  const at = start - Wire.headerSize
  const length = end - start
  writer.commit(end)
  buffer[at] = type
  buffer[at + 1] = flags
  buffer[at + 2] = length >>> 8
  buffer[at + 3] = length
  buffer[at + 4] = call >>> 24
  buffer[at + 5] = call >>> 16
  buffer[at + 6] = call >>> 8
  buffer[at + 7] = call
}

/** A frame without payload. */
export const empty = (writer: Writer, type: number, flags: number, call: number): void => {
  const start = reserve(writer, 0)
  commit(writer, type, flags, call, start, start)
}
