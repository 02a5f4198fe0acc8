/** Metadata to and from that of grpc-js. */
import * as Grpc from "@grpc/grpc-js"
import * as Entries from "../../../protocol/Entries.js"
import * as Metadata from "../../../Transport/Metadata.js"

/**
 * What `node:http2` sends once only: a second value throws where nobody catches it. HTTP holds several values to be the same
 * as one with commas between (RFC 9110 section 5.3).
 */
const singleValued = new Set([
  "access-control-allow-credentials",
  "access-control-max-age",
  "access-control-request-method",
  "age",
  "authorization",
  "content-encoding",
  "content-language",
  "content-location",
  "content-md5",
  "content-range",
  "date",
  "dnt",
  "etag",
  "expires",
  "from",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "max-forwards",
  "range",
  "referer",
  "retry-after",
  "tk",
  "upgrade-insecure-requests",
  "user-agent",
  "x-content-type-options"
])

const none = new Grpc.Metadata()
const noneButWait = new Grpc.Metadata({ waitForReady: true })

/** Metadata to send. grpc-js copies it, so that calls without any share one. */
export const toGrpc = (metadata: Metadata.Metadata, waitForReady = false): Grpc.Metadata => {
  if (metadata.entries.length === 0) {
    return waitForReady ? noneButWait : none
  }
  const out = new Grpc.Metadata({ waitForReady })
  for (const [key, value] of metadata.entries) {
    if (typeof value !== "string") {
      out.add(key, Buffer.from(value))
    } else if (singleValued.has(key)) {
      const [before] = out.get(key)
      out.set(key, before === undefined ? value : `${String(before)},${value}`)
    } else {
      out.add(key, value)
    }
  }
  return out
}

/** The custom metadata among the headers of a request. */
export const ofRequest = (metadata: Grpc.Metadata): Metadata.Metadata => fromGrpc(metadata, Entries.isOfRequest)

/** The custom metadata among the headers or trailers of a response. */
export const ofResponse = (metadata: Grpc.Metadata): Metadata.Metadata => fromGrpc(metadata, Entries.isOfResponse)

const fromGrpc = (metadata: Grpc.Metadata, isCustom: (key: string) => boolean): Metadata.Metadata => {
  const entries: Array<Metadata.Entry> = []
  for (const key of Object.keys(metadata.toJSON())) {
    if (isCustom(key)) {
      for (const value of metadata.get(key)) {
        if (typeof value !== "string") {
          entries.push([key, asBytes(value)])
        } else if (Entries.isText(value)) {
          entries.push([key, value])
        }
      }
    }
  }
  return Metadata.unsafeFromEntries(entries)
}

export const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Plain bytes: a field of type `bytes` that is cut out of a Buffer would be a Buffer too. */
export const asBytes = (buffer: Buffer): Uint8Array =>
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
