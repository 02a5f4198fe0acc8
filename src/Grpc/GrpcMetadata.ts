import * as Grpc from "@grpc/grpc-js"
import * as Metadata from "../Transport/Metadata.js"

/** What HTTP/2 and gRPC themselves put among the headers. */
const reserved = new Set(["content-type", "te", "date", "grpc-status-details-bin"])
const passed = "grpc-retry-pushback-ms"

const isCustom = (key: string) => !reserved.has(key) && (!key.startsWith("grpc-") || key === passed)

const none = new Grpc.Metadata()
const noneButWait = new Grpc.Metadata({ waitForReady: true })

/** Metadata to send. grpc-js copies it, so that calls without any share one. */
export const toGrpc = (metadata: Metadata.Metadata, waitForReady = false): Grpc.Metadata => {
  if (metadata.entries.length === 0) {
    return waitForReady ? noneButWait : none
  }
  const out = new Grpc.Metadata({ waitForReady })
  for (const [key, value] of metadata.entries) {
    out.add(key, typeof value === "string" ? value : asBuffer(value))
  }
  return out
}

/** The custom metadata among received headers or trailers. */
export const fromGrpc = (metadata: Grpc.Metadata): Metadata.Metadata => {
  const entries: Array<Metadata.Entry> = []
  for (const key of Object.keys(metadata.toJSON())) {
    if (isCustom(key)) {
      for (const value of metadata.get(key)) {
        entries.push([key, typeof value === "string" ? value : asBytes(value)])
      }
    }
  }
  return Metadata.unsafeFromEntries(entries)
}

export const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** Plain bytes: a field of type `bytes` that is cut out of a Buffer would be a Buffer too. */
export const asBytes = (buffer: Buffer): Uint8Array =>
  new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength)
