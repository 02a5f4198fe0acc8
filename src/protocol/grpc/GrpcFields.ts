/**
 * What gRPC says in the header and trailer fields of HTTP, whatever carries them: metadata and status.
 *
 * Source: "PROTOCOL-HTTP2.md" and "http-grpc-status-mapping.md" of gRPC.
 */
import { isUtf8 } from "node:buffer"
import * as ErrorDetails from "../../Transport/ErrorDetails.js"
import * as Metadata from "../../Transport/Metadata.js"
import { fromCode, type StatusError } from "../../Transport/TransportError.js"
import * as Text from "../Text.js"

/** A header or trailer field. */
export type Field = readonly [name: string, value: string]

export type Fields = ReadonlyArray<Field>

export const contentType = "application/grpc"

const detailsName = "grpc-status-details-bin"

const base64Pattern = /^[A-Za-z0-9+/]*={0,2}$/

const isBinary = (name: string) => name.endsWith("-bin")

const base64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64").replaceAll("=", "")

const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "base64"))

/** The fields of metadata to send. */
export const fromMetadata = (metadata: Metadata.Metadata): Fields =>
  metadata.entries.map(([name, value]) => [name, typeof value === "string" ? value : base64(value)])

/** The custom metadata among the fields of a request. What can't be metadata is left out. */
export const ofRequest = (fields: Fields): Metadata.Metadata => toMetadata(fields, Metadata.isOfRequest)

/** The custom metadata among the headers or trailers of a response. What can't be metadata is left out. */
export const ofResponse = (fields: Fields): Metadata.Metadata => toMetadata(fields, Metadata.isOfResponse)

const toMetadata = (fields: Fields, isCustom: (name: string) => boolean): Metadata.Metadata => {
  const entries: Array<Metadata.Entry> = []
  for (const [name, value] of fields) {
    if (!isCustom(name)) {
      continue
    }
    if (!isBinary(name)) {
      if (Metadata.isText(value)) {
        entries.push([name, value])
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
  return Metadata.unsafeFromEntries(entries)
}

/** The value of the first field of that name. */
export const get = (fields: Fields, name: string): string | undefined => fields.find((field) => field[0] === name)?.[1]

export const ok: Field = ["grpc-status", "0"]

/** Percent encoding of all but printable ASCII, and of the percent sign itself. */
const encodeText = (text: string): string => {
  let encoded = ""
  for (const byte of Buffer.from(text)) {
    encoded +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
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

/** The trailers of an error, with metadata that goes with it. */
export const fromError = (error: StatusError, metadata: Metadata.Metadata): Fields => {
  const fields: Array<Field> = [["grpc-status", String(error.code)]]
  if (error.message !== "") {
    fields.push(["grpc-message", encodeText(Text.cut(error.message, Text.maxStatusMessage).toWellFormed())])
  }
  const details = ErrorDetails.encodeToSend(error)
  if (details.length > 0) {
    fields.push([detailsName, base64(details)])
  }
  return fields.concat(fromMetadata(metadata))
}

interface Where {
  readonly method: string
  readonly peer: string
}

const unknown = 2

/** The status in trailers; undefined where it is OK. */
export const toError = (
  fields: Fields,
  where: Where,
  metadata: Metadata.Metadata = ofResponse(fields)
): StatusError | undefined => {
  const status = get(fields, "grpc-status")
  if (status === "0") {
    return undefined
  }
  if (status === undefined) {
    return fromCode(unknown, { message: "the answer ended without a status", ...where })
  }
  const details = get(fields, detailsName)
  return fromCode(/^[0-9]{1,2}$/.test(status) ? Number(status) : unknown, {
    message: decodeText(get(fields, "grpc-message") ?? ""),
    metadata,
    details: details === undefined ? [] : ErrorDetails.decodeStatus(bytesOf(details)),
    ...where
  })
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
export const checkHead = (status: number, fields: Fields, where: Where): StatusError | undefined => {
  const type = get(fields, "content-type")
  const claimed = get(fields, "grpc-status")
  if ((claimed !== undefined && claimed !== "0") || (status === 200 && isGrpc(type))) {
    return undefined
  }
  return fromCode(httpStatus.get(status) ?? unknown, {
    message:
      status === 200 ? `the peer answered with ${type || "no content-type"}` : `the peer answered with HTTP ${status}`,
    ...where
  })
}
