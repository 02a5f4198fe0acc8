/**
 * Messages are neither compressed nor decompressed: a few bytes could become a message of the largest size.
 *
 * Source: "compression.md" of gRPC.
 */
import { escapeText } from "../../Transport/internal/boundary.js"
import * as Metadata from "../../Transport/Metadata.js"
import { Unimplemented } from "../../Transport/TransportError.js"

export const acceptName = "grpc-accept-encoding"
export const identity = "identity"

const accepted = Metadata.unsafeFromEntries([[acceptName, identity]])

/** Why a call is refused whose messages may be compressed. */
export const unsupported = (encoding: string): Unimplemented =>
  new Unimplemented({
    message: `the messages are compressed with ${escapeText(encoding)}, which this peer can't read`,
    metadata: accepted
  })

/** What is wrong with a request whose message has the flag of compression though it has no `grpc-encoding`. */
export const compressedRequest = "a message is compressed, and no grpc-encoding says how"

/** What is wrong with a compressed answer: the request said that none is read. */
export const compressedAnswer = "the received message is compressed"
