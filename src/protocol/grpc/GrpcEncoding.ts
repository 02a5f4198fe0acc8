/**
 * Messages are neither compressed nor decompressed: a few bytes could become a message of the largest size.
 *
 * Source: "compression.md" of gRPC.
 */

export const encodingName = "grpc-encoding"
export const acceptName = "grpc-accept-encoding"
export const identity = "identity"

/** What is wrong with a request whose message has the flag of compression though it has no `grpc-encoding`. */
export const compressedRequest = "a message is compressed, and no grpc-encoding says how"

/** What is wrong with a compressed answer: the request said that none is read. */
export const compressedAnswer = "the received message is compressed"
