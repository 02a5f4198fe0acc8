/**
 * The entries of metadata as frames and header fields carry them, and the rule for keys and values that holds on every
 * wire. `Metadata` says what the rule is, and builds on it.
 */
import * as Bytes from "./Bytes.js"

/** Bytes under a key that ends in `-bin`, text under any other. */
export type Value = string | Uint8Array

export type Entry = readonly [key: string, value: Value]

export type Entries = ReadonlyArray<Entry>

export const none: Entries = Object.freeze([])

/** TlsLive has one byte for a key's length. */
export const maxKeyLength = 255

const keyPattern = /^[0-9a-z_.-]+$/
const textPattern = /^[\x20-\x7e]*$/

const reserved = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "te",
  "trailer",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-authentication-info",
  "host",
  "content-length",
  "content-type",
  // The objects that hold header fields in Node and grpc-js have no place for it.
  "__proto__"
])
/** The one reserved key that handlers set: gRFC A6 leaves it to them. */
const pushback = "grpc-retry-pushback-ms"

/** Whether a key, in lower case, belongs to HTTP, to gRPC or to one hop. */
export const isReserved = (name: string): boolean =>
  reserved.has(name) || (name.startsWith("grpc-") && name !== pushback)

const isPassedOn = (name: string): boolean => !isReserved(name) && name.length <= maxKeyLength && keyPattern.test(name)

/** Whether a field of a request that was received is metadata: one that may be sent on. */
export const isOfRequest = (name: string): boolean =>
  name !== "user-agent" && name !== "accept-encoding" && isPassedOn(name)

/** The same for response headers and trailers. */
export const isOfResponse = (name: string): boolean => name !== "date" && isPassedOn(name)

/** Whether a received value is one that may be sent on. */
export const isText = (value: string): boolean => textPattern.test(value)

export const isBinary = (name: string): boolean => name.endsWith("-bin")

/** The size of an entry as RFC 9113 counts it, of bytes in base64. */
export const sizeOf = (key: string, value: Value): number =>
  32 + key.length + (typeof value === "string" ? value.length : Math.ceil(Bytes.sizeOf(value) / 3) * 4)
