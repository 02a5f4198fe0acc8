/**
 * How the messages of a call may be compressed.
 *
 * Source: "compression.md" of gRPC.
 */
import type { Fields } from "../Fields.js"

export const encodingName = "grpc-encoding"
export const acceptName = "grpc-accept-encoding"
export const identity = "identity"
export const gzip = "gzip"

/** The encodings that are understood, as `grpc-accept-encoding` tells them. */
export const accepted = "identity,gzip"

export const isAccepted = (encoding: string): boolean => encoding === identity || encoding === gzip

/** Whether a peer understands messages that are compressed with gzip. */
export const acceptsGzip = (fields: Fields): boolean =>
  fields.some(
    ([name, value]) =>
      name === acceptName && value.split(",").some((encoding) => encoding.trim().toLowerCase() === gzip)
  )

/** What is wrong with a request whose message has the flag of compression though it has no `grpc-encoding`. */
export const compressedRequest = "a message is compressed, and no grpc-encoding says how"

/** What is wrong with a compressed answer that does not say how, or as the request did not allow. */
export const compressedAnswer = "the received message is compressed"
