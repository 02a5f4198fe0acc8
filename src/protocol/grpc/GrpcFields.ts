/**
 * What gRPC says in the header and trailer fields of HTTP, whatever carries them: entries of metadata, and the status.
 *
 * Source: "PROTOCOL-HTTP2.md" and "http-grpc-status-mapping.md" of gRPC.
 */
import { isUtf8 } from "node:buffer"
import * as Entries from "../Entries.js"
import type { Field, Fields } from "../Fields.js"
import * as Text from "../Text.js"

export const contentType = "application/grpc"

const detailsName = "grpc-status-details-bin"

const base64Pattern = /^[A-Za-z0-9+/]*={0,2}$/

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64").replaceAll("=", "")

const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"))

/** The fields of metadata to send. */
export const fromEntries = (entries: Entries.Entries): Fields =>
  entries.map(([name, value]) => [name, typeof value === "string" ? value : base64(value)])

/** The custom metadata among the fields of a request. What can't be metadata is left out. */
export const ofRequest = (fields: Fields): Entries.Entries => toEntries(fields, Entries.isOfRequest)

/** The custom metadata among the headers or trailers of a response. What can't be metadata is left out. */
export const ofResponse = (fields: Fields): Entries.Entries => toEntries(fields, Entries.isOfResponse)

const toEntries = (fields: Fields, isCustom: (name: string) => boolean): Entries.Entries => {
  const entries: Array<Entries.Entry> = []
  for (const [name, value] of fields) {
    if (!isCustom(name)) {
      continue
    }
    if (!Entries.isBinary(name)) {
      // White space around a value says nothing, and strict peers would not let it pass on.
      const text = value.trim()
      if (Entries.isText(text)) {
        entries.push([name, text])
      }
      continue
    }
    // Values under one name may come as one, with commas between.
    for (const each of value.split(",")) {
      const text = each.trim()
      if (base64Pattern.test(text)) {
        entries.push([name, bytesOf(text)])
      }
    }
  }
  return entries
}

/** The value of the first field of that name. */
export const get = (fields: Fields, name: string): string | undefined => fields.find((field) => field[0] === name)?.[1]

export const ok: Field = ["grpc-status", "0"]

/**
 * Percent encoding of all but printable ASCII, of the percent sign itself, and of spaces at either end: a field does not end with
 * one (RFC 9113, section 8.2.1).
 */
const encodeText = (text: string): string => {
  const bytes = Buffer.from(text)
  let encoded = ""
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0
    const isPlain = byte > 0x20 ? byte <= 0x7e && byte !== 0x25 : byte === 0x20 && i > 0 && i < bytes.length - 1
    encoded += isPlain ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
  }
  return encoded
}

/** What is no percent encoding stands for itself, and so does a text whose bytes are no UTF-8. */
const decodeText = (text: string): string => {
  if (!text.includes("%")) {
    return text
  }
  const bytes: Array<number> = []
  for (let at = 0; at < text.length; at++) {
    const hex = text[at] === "%" ? text.slice(at + 1, at + 3) : ""
    if (/^[0-9A-Fa-f]{2}$/.test(hex)) {
      bytes.push(Number.parseInt(hex, 16))
      at += 2
    } else {
      bytes.push(text.charCodeAt(at))
    }
  }
  const decoded = Buffer.from(bytes)
  return isUtf8(decoded) ? decoded.toString("utf8") : text
}

/** How a call ended. */
export interface Status {
  readonly code: number
  readonly message: string
  /** A google.rpc.Status; empty for none. */
  readonly details: Uint8Array
}

const noDetails = new Uint8Array(0)

/** The trailers of a status, with the metadata that goes with it. */
export const fromStatus = ({ code, details, message }: Status, entries: Entries.Entries): Fields => {
  const fields: Array<Field> = [["grpc-status", String(code)]]
  if (message !== "") {
    fields.push(["grpc-message", encodeText(Text.cut(message, Text.maxStatusMessage).toWellFormed())])
  }
  if (details.length > 0) {
    fields.push([detailsName, base64(details)])
  }
  return fields.concat(fromEntries(entries))
}

const unknown = 2

/** What is wrong with trailers, or a whole answer, that have no status. */
export const withoutStatus: Status = { code: unknown, message: "the answer ended without a status", details: noDetails }

/** The status in trailers; undefined where it is OK. */
export const toStatus = (fields: Fields): Status | undefined => {
  const status = get(fields, "grpc-status")
  if (status === "0") {
    return undefined
  }
  if (status === undefined) {
    return withoutStatus
  }
  const details = get(fields, detailsName)
  return {
    code: /^[0-9]{1,2}$/.test(status) ? Number(status) : unknown,
    message: decodeText(get(fields, "grpc-message") ?? ""),
    details: details === undefined ? noDetails : bytesOf(details)
  }
}

const httpStatus = new Map([
  [400, 13],
  [401, 16],
  [403, 7],
  [404, 12],
  [429, 14],
  [502, 14],
  [503, 14],
  [504, 14]
])

const grpcType = /^application\/grpc(?:[+;]|$)/i

/** Whether a content-type is that of gRPC, with whatever encoding of messages. */
export const isGrpc = (type: string | undefined): boolean => type !== undefined && grpcType.test(type)

/**
 * What is wrong with the head of an answer, if it is none of gRPC. A status of gRPC's counts, unless it claims success; for all
 * else HTTP's does.
 */
export const checkHead = (status: number, fields: Fields): Status | undefined => {
  const type = get(fields, "content-type")
  const claimed = get(fields, "grpc-status")
  if ((claimed !== undefined && claimed !== "0") || (status === 200 && isGrpc(type))) {
    return undefined
  }
  return {
    code: httpStatus.get(status) ?? unknown,
    message:
      status === 200 ? `the peer answered with ${type || "no content-type"}` : `the peer answered with HTTP ${status}`,
    details: noDetails
  }
}
