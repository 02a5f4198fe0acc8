/**
 * The frames of HTTP/3 as bytes: RFC 9114 section 7.
 */

import type { Fields } from "../Fields.js"
import * as Varint from "../quic/Varint.js"
import { onConnection } from "./Http3Error.js"
import * as Qpack from "./Qpack.js"

export const Type = {
  data: 0x00,
  headers: 0x01,
  cancelPush: 0x03,
  settings: 0x04,
  pushPromise: 0x05,
  goaway: 0x07,
  maxPushId: 0x0d
} as const

/** Frames of HTTP/2 that HTTP/3 has not: PRIORITY, PING, WINDOW_UPDATE, CONTINUATION. RFC 9114 section 7.2.8. */
export const isReserved = (type: number): boolean => type === 0x02 || type === 0x06 || type === 0x08 || type === 0x09

/**
 * Writes a HEADERS frame: a header or trailer section, which begins with `prepared` where many begin alike
 * (`Qpack.encodeLines`).
 */
export const writeHeaders = (writer: Varint.Writer, fields: Fields, prepared?: Uint8Array): void => {
  const most = Qpack.maxEncodedSize(fields) + (prepared?.length ?? 0)
  Varint.reserve(writer, 9 + most)
  const { buffer } = writer
  buffer[writer.at] = Type.headers
  // Its length is known when it is written, and then written into the room that the longest would need.
  const width = Varint.size(most)
  const start = writer.at + 1 + width
  let at = Qpack.writePrefix(buffer, start)
  if (prepared !== undefined) {
    buffer.set(prepared, at)
    at += prepared.length
  }
  at = Qpack.writeLines(buffer, at, fields)
  Varint.writeSized(buffer, writer.at + 1, at - start, width)
  writer.at = at
}

/** Writes the head of a DATA frame, whose `size` bytes the caller sends next, `room` of them with the same writer. */
export const writeDataHead = (writer: Varint.Writer, size: number, room = 0): void => {
  Varint.reserve(writer, 9 + room)
  writer.buffer[writer.at] = Type.data
  writer.at = Varint.write(writer.buffer, writer.at + 1, size)
}

/** Writes a DATA frame. */
export const writeData = (writer: Varint.Writer, payload: Uint8Array): void => {
  writeDataHead(writer, payload.length, payload.length)
  writer.buffer.set(payload, writer.at)
  writer.at += payload.length
}

/** Writes a frame that holds integers: SETTINGS, GOAWAY. */
export const writeIntegers = (writer: Varint.Writer, type: number, values: ReadonlyArray<number>): void => {
  Varint.reserve(writer, 16 + 8 * values.length)
  const { buffer } = writer
  let length = 0
  for (const value of values) {
    length += Varint.size(value)
  }
  let at = Varint.write(buffer, writer.at, type)
  at = Varint.write(buffer, at, length)
  for (const value of values) {
    at = Varint.write(buffer, at, value)
  }
  writer.at = at
}

/** The integers that a frame holds to its end. */
export const readIntegers = (bytes: Uint8Array, start: number, end: number): ReadonlyArray<number> => {
  const values: Array<number> = []
  for (let at = start; at < end; ) {
    const reader = Varint.makeReader()
    at = Varint.read(reader, bytes, at, end)
    if (reader.missing > 0) {
      throw onConnection("H3_FRAME_ERROR", "a frame that ends within an integer")
    }
    values.push(reader.value)
  }
  return values
}

/** What becomes of a frame's payload: kept until it is whole, handed on as it comes, or dropped. */
export type Treatment = "whole" | "pass" | "drop"

/** What hears of the frames of many streams, with that for which each is read. */
export interface Handler<For> {
  /** A frame has begun. Throws a violation where it may not, or is too long to be kept. */
  readonly onFrame: (type: number, length: number, to: For) => Treatment
  /** The payload of a frame, whole; it stands between the two positions. */
  readonly onWhole: (type: number, bytes: Buffer, start: number, end: number, to: For) => void
  /** A piece of a payload that is handed on: a view of what was received. */
  readonly onPass: (chunk: Buffer, to: For) => void
}

/**
 * A DATA frame without content, to end a stream with of which all else was sent before. An end that comes without any
 * bytes is not sent again by quiche where its packet is lost: it takes a stream for complete whose bytes have arrived.
 */
export const lastData = Buffer.of(0, 0)

/** Where a stream of frames is. */
export interface Decoder extends Varint.Reader {
  /** The type of the frame, -1 before it is known. */
  type: number
  /** Bytes of the payload that are missing, -1 before its length is known. */
  left: number
  treatment: Treatment
  /** Room for a payload that is kept and comes in pieces, and how much of it has come. */
  kept: Buffer | undefined
  keptSize: number
}

export const makeDecoder = (): Decoder => ({
  value: 0,
  missing: -1,
  type: -1,
  left: -1,
  treatment: "drop",
  kept: undefined,
  keptSize: 0
})

/** Whether a frame has begun and not ended. */
export const isMidFrame = (decoder: Decoder): boolean => decoder.type >= 0 || decoder.missing >= 0

/** Takes bytes from `start` on as they come; keeps none of the chunk. */
export const receive = <For>(decoder: Decoder, handler: Handler<For>, to: For, chunk: Buffer, start = 0): void => {
  const end = chunk.length
  let at = start
  while (at < end) {
    if (decoder.left < 0) {
      at = Varint.read(decoder, chunk, at, end)
      if (decoder.missing > 0) {
        return
      }
      decoder.missing = -1
      if (decoder.type < 0) {
        decoder.type = decoder.value
        continue
      }
      decoder.left = decoder.value
      decoder.treatment = handler.onFrame(decoder.type, decoder.left, to)
    }
    const next = Math.min(end, at + decoder.left)
    decoder.left -= next - at
    take(decoder, handler, to, chunk, at, next)
    at = next
  }
}

/** Takes what has come of a payload, and ends the frame when that is all. */
const take = <For>(decoder: Decoder, handler: Handler<For>, to: For, chunk: Buffer, start: number, end: number) => {
  const { left, treatment, type } = decoder
  if (left === 0) {
    decoder.type = -1
    decoder.left = -1
  }
  if (treatment === "pass" && end > start) {
    handler.onPass(start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end), to)
  } else if (treatment === "whole") {
    if (left === 0 && decoder.kept === undefined) {
      return handler.onWhole(type, chunk, start, end, to)
    }
    const kept = decoder.kept ?? Buffer.allocUnsafeSlow(end - start + left)
    decoder.keptSize += chunk.copy(kept, decoder.keptSize, start, end)
    decoder.kept = kept
    if (left === 0) {
      decoder.kept = undefined
      decoder.keptSize = 0
      handler.onWhole(type, kept, 0, kept.length, to)
    }
  }
}
