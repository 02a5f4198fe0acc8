/** Errors as the status fields of gRPC, and back: the same for all wires that carry them in header fields. */

import type { Fields } from "../../protocol/Fields.js"
import * as GrpcEncoding from "../../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../../protocol/grpc/GrpcFields.js"
import * as ErrorDetails from "../ErrorDetails.js"
import * as Metadata from "../Metadata.js"
import { fromCode, type StatusError, Unimplemented } from "../TransportError.js"
import { escapeText } from "./boundary.js"
import type { Where } from "./where.js"

/** The trailers of an error, with the metadata that goes with it. */
export const fromError = (error: StatusError, metadata: Metadata.Metadata): Fields => {
  const { code, message } = error
  return GrpcFields.fromStatus({ code, message, details: ErrorDetails.encodeToSend(error) }, metadata.entries)
}

/** The error of a status as a wire carries it. */
export const toStatusError = (
  { code, details, message }: GrpcFields.Status,
  metadata: Metadata.Metadata,
  where: Where
): StatusError =>
  fromCode(code, {
    message,
    metadata,
    details: details.length === 0 ? [] : ErrorDetails.decodeStatus(details),
    ...where
  })

/** The error that trailers tell, with their metadata; undefined where they say OK. */
export const toError = (fields: Fields, metadata: Metadata.Metadata, where: Where): StatusError | undefined => {
  const status = GrpcFields.toStatus(fields)
  return status === undefined
    ? undefined
    : toStatusError(status, status === GrpcFields.withoutStatus ? Metadata.empty : metadata, where)
}

/** The error of an answer whose head is none of gRPC. */
export const checkHead = (status: number, fields: Fields, where: Where): StatusError | undefined => {
  const wrong = GrpcFields.checkHead(status, fields)
  return wrong === undefined ? undefined : toStatusError(wrong, Metadata.empty, where)
}

/** Why a call is refused whose messages may be compressed in another way than those accepted. */
export const unsupportedEncoding = (encoding: string, accepted: string): Unimplemented =>
  new Unimplemented({
    message: `the messages are compressed with ${escapeText(encoding)}, which this peer can't read`,
    metadata: Metadata.unsafeFromEntries([[GrpcEncoding.acceptName, accepted]])
  })
