/**
 * Each frame of docs/wire.md: what it holds, and a function that writes it.
 */

import * as Bytes from "../Bytes.js"
import type { Entries } from "../Entries.js"
import * as Text from "../Text.js"
import * as Wire from "./Wire.js"
import { Flag, Type } from "./Wire.js"
import type { Writer } from "./WireWriter.js"

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

export const writeSettings = (writer: Writer, settings: Wire.Settings): void => {
  const at = writer.reserve(Wire.settingsSize)
  const { buffer } = writer
  buffer.writeUInt32BE(settings.maxMessageSize, at)
  buffer.writeUInt32BE(settings.maxMetadataSize, at + 4)
  buffer.writeUInt32BE(settings.maxCalls, at + 8)
  buffer.writeUInt32BE(settings.streamWindow, at + 12)
  buffer.writeUInt32BE(settings.connectionWindow, at + 16)
  writer.commit(Type.settings, 0, 0, at + Wire.settingsSize)
}

export const writeOpen = (
  writer: Writer,
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
  let at = writer.reserve(6 + path.length + Wire.metadataSize(metadata) + messageSize)
  const { buffer } = writer
  at = buffer.writeUInt32BE(Math.min(Math.ceil(timeout), Wire.noTimeout), at)
  at = buffer.writeUInt16BE(path.length, at)
  at += buffer.write(path, at, "latin1")
  at = Wire.writeMetadata(buffer, at, metadata)
  writer.commit(Type.open, flags, call, message === undefined ? at : put(buffer, message, at, messageSize))
}

/** A piece of a message. Where the message has become smaller since (its memory was given away), zeros take its place. */
export const writeMessage = (
  writer: Writer,
  flags: number,
  call: number,
  message: Uint8Array,
  offset: number,
  size: number
): void => {
  const at = writer.reserve(size)
  const left = Bytes.sizeOf(message)
  if (left < offset + size) {
    writer.buffer.fill(0, at, at + size)
  } else {
    writer.buffer.set(size === left ? message : Bytes.part(message, offset, size), at)
  }
  writer.commit(Type.message, flags, call, at + size)
}

export const writeHeaders = (writer: Writer, call: number, headers: Entries): void => {
  const at = writer.reserve(Wire.metadataSize(headers))
  writer.commit(Type.headers, 0, call, Wire.writeMetadata(writer.buffer, at, headers))
}

export const writeReply = (writer: Writer, call: number, { headers, message, trailers }: Reply): void => {
  const hasHeaders = headers.length > 0
  const hasTrailers = trailers.length > 0
  const messageSize = Bytes.sizeOf(message)
  let at = writer.reserve(
    messageSize + (hasHeaders ? Wire.metadataSize(headers) : 0) + (hasTrailers ? Wire.metadataSize(trailers) : 0)
  )
  const { buffer } = writer
  if (hasHeaders) {
    at = Wire.writeMetadata(buffer, at, headers)
  }
  if (hasTrailers) {
    at = Wire.writeMetadata(buffer, at, trailers)
  }
  const flags = (hasHeaders ? Flag.headers : 0) | (hasTrailers ? Flag.trailers : 0)
  writer.commit(Type.reply, flags, call, put(buffer, message, at, messageSize))
}

/** Details that are too large, and what is too much of the text, are left out: the status itself must arrive. */
export const writeTrailers = (writer: Writer, call: number, trailers: Trailers): void => {
  const { code, metadata } = trailers
  const text = Buffer.from(Text.cut(trailers.message, Text.maxStatusMessage))
  const details = Bytes.sizeOf(trailers.details) > Wire.maxDetails ? noDetails : trailers.details
  const detailsSize = Bytes.sizeOf(details)
  let at = writer.reserve(5 + text.length + detailsSize + Wire.metadataSize(metadata))
  const { buffer } = writer
  at = buffer.writeUInt8(code, at)
  at = buffer.writeUInt16BE(text.length, at)
  at = put(buffer, text, at, text.length)
  at = buffer.writeUInt16BE(detailsSize, at)
  at = put(buffer, details, at, detailsSize)
  writer.commit(Type.trailers, 0, call, Wire.writeMetadata(buffer, at, metadata))
}

const noDetails = new Uint8Array(0)

export const writeCredit = (writer: Writer, call: number, size: number): void => {
  const at = writer.reserve(4)
  writer.commit(Type.credit, 0, call, writer.buffer.writeUInt32BE(size, at))
}

export const writePing = (writer: Writer, flags: number, payload: bigint): void => {
  const at = writer.reserve(8)
  writer.commit(Type.ping, flags, 0, writer.buffer.writeBigUInt64BE(payload, at))
}

export const writeGoaway = (writer: Writer, lastCall: number, reason: Wire.Reason, text: string): void => {
  const bytes = Buffer.from(Text.cut(text, Wire.maxGoawayText))
  let at = writer.reserve(5 + bytes.length)
  at = writer.buffer.writeUInt32BE(lastCall, at)
  at = writer.buffer.writeUInt8(Wire.reasons.indexOf(reason), at)
  writer.commit(Type.goaway, 0, 0, put(writer.buffer, bytes, at, bytes.length))
}
