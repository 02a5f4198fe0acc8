/** Errors to and from the status objects of grpc-js, with what grpc-js says in text alone. */
import type * as Grpc from "@grpc/grpc-js"
import type { Field } from "../../../protocol/Fields.js"
import * as GrpcFields from "../../../protocol/grpc/GrpcFields.js"
import * as Text from "../../../protocol/Text.js"
import * as ErrorDetails from "../../../Transport/ErrorDetails.js"
import * as StatusFields from "../../../Transport/internal/statusFields.js"
import type { Where } from "../../../Transport/internal/where.js"
import type * as Metadata from "../../../Transport/Metadata.js"
import { fromCode, type StatusError } from "../../../Transport/TransportError.js"
import * as GrpcJsOptions from "../../GrpcJsOptions.js"
import * as GrpcMetadata from "./GrpcMetadata.js"

const detailsKey = "grpc-status-details-bin"

const internal = 13
const unavailable = 14

/** What grpc-js says of calls that never left this process, or that the peer refused unseen. */
const notProcessed =
  /^(No connection established|Name resolution failed|Stream refused by server|Channel closed before)/

/** The same, where grpc-js would try again if its retries were on: the connection was lost when the call was to begin. */
const notStarted = /^Failed to start HTTP\/2 stream/

/** What grpc-js says of a stream that ended without a word from gRPC, also where its connection did. */
const reset = /^(Received RST_STREAM|Call cancelled$)/

/**
 * Whether a status is none of the peer's: it has sent nothing. A peer that answers with trailers alone sends its
 * content-type among them.
 */
export const isLocal = (status: Grpc.StatusObject, answered: boolean): boolean =>
  !answered && Object.keys(status.metadata.toJSON()).length === 0

/** What grpc-js says where a stream has ended with ENHANCE_YOUR_CALM. */
const calmed = /^Bandwidth exhausted/

/** Whether a peer has ended a connection for its pings: the only reason why servers of gRPC say that of a whole connection. */
export const isTooManyPings = (status: Grpc.StatusObject, answered: boolean, isConnectionLost: boolean): boolean =>
  isConnectionLost && isLocal(status, answered) && calmed.test(status.details)

/**
 * The error of a status other than OK. `answered` says that response headers had come: the status is then the peer's,
 * whatever its text looks like. A stream that was reset because its connection is lost is `Unavailable`.
 */
export const fromStatus = (
  status: Grpc.StatusObject,
  where: Where,
  answered: boolean,
  metadata: Metadata.Metadata = GrpcMetadata.ofResponse(status.metadata),
  isConnectionLost = false
): StatusError => {
  const packed = status.metadata.get(detailsKey)[0]
  const isOwn = isLocal(status, answered)
  const isLost = isOwn && notStarted.test(status.details)
  const isBroken = isConnectionLost && reset.test(status.details)
  return fromCode(isLost || isBroken ? unavailable : (status.code ?? internal), {
    message: status.details ?? "the answer can't be decompressed",
    metadata,
    details: Buffer.isBuffer(packed) ? ErrorDetails.decodeStatus(GrpcMetadata.asBytes(packed)) : [],
    processed: isLost || (isOwn && notProcessed.test(status.details)) ? "no" : "unknown",
    ...where
  })
}

const contentType = (metadata: Grpc.Metadata): string | undefined => {
  const [type] = metadata.get("content-type")
  return typeof type === "string" ? type : undefined
}

/** Whether the headers of an answer say that it is one of gRPC. */
export const isGrpc = (headers: Grpc.Metadata): boolean => GrpcFields.isGrpc(contentType(headers))

/**
 * What is wrong with the head of an answer, if it is none of gRPC: `metadata` is what came before the content, or with the
 * status where that is all that came.
 */
export const checkHead = (
  httpStatus: number,
  metadata: Grpc.Metadata,
  status: number | undefined,
  where: Where
): StatusError | undefined => {
  const type = contentType(metadata)
  const fields: Array<Field> = type === undefined ? [] : [["content-type", type]]
  if (status !== undefined) {
    fields.push(["grpc-status", String(status)])
  }
  return StatusFields.checkHead(httpStatus, fields, where)
}

// grpc-js percent-encodes the text, which throws on a lone surrogate, and may take three times the room.
const textOf = ({ message }: StatusError): string => Text.cut(message, Text.maxStatusMessage).toWellFormed()

/** The largest metadata that has room beside the status of an error. */
export const roomBeside = (error: StatusError): number =>
  GrpcJsOptions.maxMetadataSize -
  encodeURI(textOf(error)).length -
  Math.ceil(ErrorDetails.encodeToSend(error).length / 3) * 4

/** The status to send for an error, with its trailers. */
export const toStatus = (error: StatusError, trailers: Metadata.Metadata): Grpc.StatusObject => {
  const details = ErrorDetails.encodeToSend(error)
  const metadata = GrpcMetadata.toGrpc(trailers).clone()
  if (details.length > 0) {
    metadata.set(detailsKey, GrpcMetadata.asBuffer(details))
  }
  return { code: error.code, details: textOf(error), metadata }
}
