/**
 * Each frame of docs/wire.md: what it holds, and a function that writes it.
 */

import * as Bytes from "../Bytes.js"
import type { Entries } from "../Entries.js"
import * as Text from "../Text.js"
import * as Wire from "./Wire.js"
import { Flag, Type } from "./Wire.js"
import * as Writer from "./WireWriter.js"

export interface Open {
  readonly path: string
  /** Milliseconds; `Infinity` for none. */
  readonly timeout: number
  readonly metadata: Entries
  readonly message: Uint8Array | undefined
  readonly halfClosed: boolean
}

export interface Reply {
  readonly message: Uint8Array
  readonly headers: Entries
  readonly trailers: Entries
}

export interface Trailers {
  readonly code: number
  readonly message: string
  readonly details: Uint8Array
  readonly metadata: Entries
}

export interface Goaway {
  readonly lastCall: number
  readonly reason: Wire.Reason
  readonly text: string
}

/** Writes bytes and returns the position behind them. Throws where there are not as many as room was reserved for. */
const put = (buffer: Buffer, bytes: Uint8Array, at: number, size: number): number => {
  if (Bytes.sizeOf(bytes) !== size) {
    throw new RangeError("bytes whose number changes while they are written")
  }
  buffer.set(bytes, at)
  return at + size
}

export const writeSettings = (writer: Writer.Writer, settings: Wire.Settings): void => {
  const at = Writer.reserve(writer, Wire.settingsSize)
  const { buffer } = writer
  buffer.writeUInt32BE(settings.maxMessageSize, at)
  buffer.writeUInt32BE(settings.maxMetadataSize, at + 4)
  buffer.writeUInt32BE(settings.maxCalls, at + 8)
  buffer.writeUInt32BE(settings.streamWindow, at + 12)
  buffer.writeUInt32BE(settings.connectionWindow, at + 16)
  Writer.commit(writer, Type.settings, 0, 0, at, at + Wire.settingsSize)
}

export const writeOpen = (
  writer: Writer.Writer,
  call: number,
  { metadata, path, timeout }: Omit<Open, "message" | "halfClosed">,
  message: Uint8Array | undefined,
  end: boolean
): void => {
  if (path.length > Wire.maxPath) {
    throw new RangeError(`a path of ${path.length} bytes`)
  }
  const flags = (end ? Flag.end : 0) | (message === undefined ? 0 : Flag.message)
  const messageSize = message === undefined ? 0 : Bytes.sizeOf(message)
  const start = Writer.reserve(writer, 6 + path.length + Wire.metadataSize(metadata) + messageSize)
  const { buffer } = writer
  let at = buffer.writeUInt32BE(Math.min(Math.ceil(timeout), Wire.noTimeout), start)
  at = buffer.writeUInt16BE(path.length, at)
  at += buffer.write(path, at, "latin1")
  at = Wire.writeMetadata(buffer, at, metadata)
  at = message === undefined ? at : put(buffer, message, at, messageSize)
  Writer.commit(writer, Type.open, flags, call, start, at)
}

/** A piece of a message. Where the message has become smaller since (its memory was given away), zeros take its place. */
export const writeMessage = (
  writer: Writer.Writer,
  flags: number,
  call: number,
  message: Uint8Array,
  offset: number,
  size: number
): void => {
  const at = Writer.reserve(writer, size)
  const left = Bytes.sizeOf(message)
  if (left < offset + size) {
    writer.buffer.fill(0, at, at + size)
  } else {
    writer.buffer.set(size === left ? message : Bytes.part(message, offset, size), at)
  }
  Writer.commit(writer, Type.message, flags, call, at, at + size)
}

export const writeHeaders = (writer: Writer.Writer, call: number, headers: Entries): void => {
  const at = Writer.reserve(writer, Wire.metadataSize(headers))
  Writer.commit(writer, Type.headers, 0, call, at, Wire.writeMetadata(writer.buffer, at, headers))
}

export const writeReply = (writer: Writer.Writer, call: number, { headers, message, trailers }: Reply): void => {
  const hasHeaders = headers.length > 0
  const hasTrailers = trailers.length > 0
  const messageSize = Bytes.sizeOf(message)
  const start = Writer.reserve(
    writer,
    messageSize + (hasHeaders ? Wire.metadataSize(headers) : 0) + (hasTrailers ? Wire.metadataSize(trailers) : 0)
  )
  const { buffer } = writer
  let at = start
  if (hasHeaders) {
    at = Wire.writeMetadata(buffer, at, headers)
  }
  if (hasTrailers) {
    at = Wire.writeMetadata(buffer, at, trailers)
  }
  const flags = (hasHeaders ? Flag.headers : 0) | (hasTrailers ? Flag.trailers : 0)
  Writer.commit(writer, Type.reply, flags, call, start, put(buffer, message, at, messageSize))
}

/** Details that are too large, and what is too much of the text, are left out: the status itself must arrive. */
export const writeTrailers = (writer: Writer.Writer, call: number, trailers: Trailers): void => {
  const { code, metadata } = trailers
  const text = Buffer.from(Text.cut(trailers.message, Text.maxStatusMessage))
  const details = Bytes.sizeOf(trailers.details) > Wire.maxDetails ? noDetails : trailers.details
  const detailsSize = Bytes.sizeOf(details)
  const start = Writer.reserve(writer, 5 + text.length + detailsSize + Wire.metadataSize(metadata))
  const { buffer } = writer
  let at = buffer.writeUInt8(code, start)
  at = buffer.writeUInt16BE(text.length, at)
  at = put(buffer, text, at, text.length)
  at = buffer.writeUInt16BE(detailsSize, at)
  at = put(buffer, details, at, detailsSize)
  Writer.commit(writer, Type.trailers, 0, call, start, Wire.writeMetadata(buffer, at, metadata))
}

const noDetails = new Uint8Array(0)

export const writeCredit = (writer: Writer.Writer, call: number, size: number): void => {
  const at = Writer.reserve(writer, 4)
  Writer.commit(writer, Type.credit, 0, call, at, writer.buffer.writeUInt32BE(size, at))
}

export const writePing = (writer: Writer.Writer, flags: number, payload: bigint): void => {
  const at = Writer.reserve(writer, 8)
  Writer.commit(writer, Type.ping, flags, 0, at, writer.buffer.writeBigUInt64BE(payload, at))
}

export const writeGoaway = (writer: Writer.Writer, lastCall: number, reason: Wire.Reason, text: string): void => {
  const bytes = Buffer.from(Text.cut(text, Wire.maxGoawayText))
  const start = Writer.reserve(writer, 5 + bytes.length)
  let at = writer.buffer.writeUInt32BE(lastCall, start)
  at = writer.buffer.writeUInt8(Wire.reasons.indexOf(reason), at)
  Writer.commit(writer, Type.goaway, 0, 0, start, put(writer.buffer, bytes, at, bytes.length))
}
