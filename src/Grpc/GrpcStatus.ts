import type * as Grpc from "@grpc/grpc-js"
import * as ErrorDetails from "../Transport/ErrorDetails.js"
import * as Metadata from "../Transport/Metadata.js"
import { fromCode, type StatusError } from "../Transport/TransportError.js"
import * as GrpcMetadata from "./GrpcMetadata.js"

const detailsKey = "grpc-status-details-bin"

/** Longer texts are cut: they travel in the trailers, whose size peers limit. */
const maxMessageLength = 4096

interface Where {
  readonly method: string
  readonly peer: string
}

/** What grpc-js says of calls that never left this process, or that the peer refused unseen. */
const notProcessed = /^(No connection established|Name resolution failed|Stream refused by server|Channel closed before)/

/** The error of a status other than OK. */
export const fromStatus = (status: Grpc.StatusObject, where: Where): StatusError => {
  const packed = status.metadata.get(detailsKey)[0]
  return fromCode(status.code, {
    message: status.details,
    metadata: GrpcMetadata.fromGrpc(status.metadata),
    details: Buffer.isBuffer(packed) ? ErrorDetails.decodeStatus(GrpcMetadata.asBytes(packed)) : [],
    processed: notProcessed.test(status.details) ? "no" : "unknown",
    ...where
  })
}

/** The status to send for an error, with the trailers that the handler set. */
export const toStatus = (error: StatusError, trailers: Metadata.Metadata): Grpc.StatusObject => {
  const metadata = GrpcMetadata.toGrpc(Metadata.concat(trailers, error.metadata)).clone()
  if (error.details.length > 0) {
    metadata.set(detailsKey, GrpcMetadata.asBuffer(ErrorDetails.encodeStatus(error)))
  }
  return {
    code: error.code,
    // grpc-js percent-encodes the text, which throws on a lone surrogate.
    details: error.message.slice(0, maxMessageLength).toWellFormed(),
    metadata
  }
}
