/**
 * Each frame of docs/wire.md as a function that writes it.
 */
import type * as Metadata from "../Transport/Metadata.js"
import * as Wire from "./Wire.js"
import { Flag, Type } from "./Wire.js"
import type { Open, Reply, Trailers } from "./WireState.js"
import type { Writer } from "./WireWriter.js"

export const writeSettings = (writer: Writer, settings: Wire.Settings): void => {
  const at = writer.frame(Type.settings, 0, 0, Wire.settingsSize)
  const { buffer } = writer
  buffer.writeUInt32BE(settings.maxMessageSize, at)
  buffer.writeUInt32BE(settings.maxMetadataSize, at + 4)
  buffer.writeUInt32BE(settings.maxCalls, at + 8)
  buffer.writeUInt32BE(settings.callWindow, at + 12)
  buffer.writeUInt32BE(settings.connectionWindow, at + 16)
}

export const writeOpen = (
  writer: Writer,
  call: number,
  { metadata, path, timeout }: Omit<Open, "message" | "halfClosed">,
  message: Uint8Array | undefined,
  end: boolean
): void => {
  const flags = (end ? Flag.end : 0) | (message === undefined ? 0 : Flag.message)
  const length = 6 + path.length + Wire.metadataSize(metadata) + (message?.length ?? 0)
  let at = writer.frame(Type.open, flags, call, length)
  const { buffer } = writer
  at = buffer.writeUInt32BE(Math.min(Math.ceil(timeout), Wire.noTimeout), at)
  at = buffer.writeUInt16BE(path.length, at)
  at += buffer.write(path, at, "latin1")
  at = Wire.writeMetadata(buffer, at, metadata)
  if (message !== undefined) {
    buffer.set(message, at)
  }
}

export const writeMessage = (
  writer: Writer,
  flags: number,
  call: number,
  message: Uint8Array,
  offset: number,
  size: number
): void => {
  const at = writer.frame(Type.message, flags, call, size)
  writer.buffer.set(size === message.length ? message : message.subarray(offset, offset + size), at)
}

export const writeHeaders = (writer: Writer, call: number, headers: Metadata.Metadata): void => {
  const at = writer.frame(Type.headers, 0, call, Wire.metadataSize(headers))
  Wire.writeMetadata(writer.buffer, at, headers)
}

export const writeReply = (writer: Writer, call: number, { headers, message, trailers }: Reply): void => {
  const hasHeaders = headers.entries.length > 0
  const hasTrailers = trailers.entries.length > 0
  const length =
    message.length + (hasHeaders ? Wire.metadataSize(headers) : 0) + (hasTrailers ? Wire.metadataSize(trailers) : 0)
  const flags = (hasHeaders ? Flag.headers : 0) | (hasTrailers ? Flag.trailers : 0)
  let at = writer.frame(Type.reply, flags, call, length)
  const { buffer } = writer
  if (hasHeaders) {
    at = Wire.writeMetadata(buffer, at, headers)
  }
  if (hasTrailers) {
    at = Wire.writeMetadata(buffer, at, trailers)
  }
  buffer.set(message, at)
}

export const writeTrailers = (writer: Writer, call: number, { code, details, message, metadata }: Trailers): void => {
  const text = Buffer.from(message)
  const length = 5 + text.length + details.length + Wire.metadataSize(metadata)
  let at = writer.frame(Type.trailers, 0, call, length)
  const { buffer } = writer
  at = buffer.writeUInt8(code, at)
  at = buffer.writeUInt16BE(text.length, at)
  buffer.set(text, at)
  at = buffer.writeUInt16BE(details.length, at + text.length)
  buffer.set(details, at)
  Wire.writeMetadata(buffer, at + details.length, metadata)
}

export const writeCredit = (writer: Writer, call: number, size: number): void => {
  const at = writer.frame(Type.credit, 0, call, 4)
  writer.buffer.writeUInt32BE(size, at)
}

export const writePing = (writer: Writer, flags: number, payload: bigint): void => {
  const at = writer.frame(Type.ping, flags, 0, 8)
  writer.buffer.writeBigUInt64BE(payload, at)
}

export const writeGoaway = (writer: Writer, lastCall: number, reason: Wire.Reason, text: string): void => {
  const bytes = Buffer.from(text).subarray(0, Wire.maxGoawayText)
  let at = writer.frame(Type.goaway, 0, 0, 5 + bytes.length)
  at = writer.buffer.writeUInt32BE(lastCall, at)
  at = writer.buffer.writeUInt8(Wire.reasons.indexOf(reason), at)
  writer.buffer.set(bytes, at)
}
