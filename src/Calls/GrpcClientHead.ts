/** The head of a gRPC request to send, and what an answer says of how the call ended, on any HTTP. */
import * as Either from "effect/Either"
import type { Field, Fields } from "../protocol/Fields.js"
import * as GrpcEncoding from "../protocol/grpc/GrpcEncoding.js"
import * as GrpcFields from "../protocol/grpc/GrpcFields.js"
import * as GrpcTimeout from "../protocol/grpc/GrpcTimeout.js"
import type { ResponseHead } from "../protocol/http/HttpFields.js"
import type { Compression } from "../Transport/Connection.js"
import * as StatusFields from "../Transport/internal/statusFields.js"
import type { Where } from "../Transport/internal/where.js"
import * as Metadata from "../Transport/Metadata.js"
import {
  Cancelled,
  Internal,
  PermissionDenied,
  ResourceExhausted,
  type StatusError,
  Unavailable
} from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import * as GrpcReceiving from "./GrpcReceiving.js"

/** Where a call goes, and how its messages are compressed. */
export interface Target {
  readonly scheme: "https" | "http"
  readonly authority: string
  readonly path: string
  readonly compression: Compression
}

const gzipField: Field = [GrpcEncoding.encodingName, GrpcEncoding.gzip]

/** The fields with which all calls of one method begin, before the timeout and the metadata. */
export const requestFields = ({ authority, compression, path, scheme }: Target): Fields => [
  [":method", "POST"],
  [":scheme", scheme],
  [":authority", authority],
  [":path", path],
  ["content-type", GrpcFields.contentType],
  ["te", "trailers"],
  [GrpcEncoding.acceptName, GrpcEncoding.accepted],
  ...(compression === GrpcEncoding.gzip ? [gzipField] : [])
]

/** The field of a timeout in milliseconds; undefined for none. */
export const timeoutField = (millis: number): Field | undefined =>
  Number.isFinite(millis) ? ["grpc-timeout", GrpcTimeout.format(millis)] : undefined

/** What has come of an answer beside its messages. */
export interface Answer {
  hasContent: boolean
  trailers: Fields | undefined
}

export const makeAnswer = (): Answer => ({ hasContent: false, trailers: undefined })

/** The part of a wire's record of a call that is needed here. */
export interface AnswerStream {
  readonly answer: Answer
  readonly messages: GrpcReceiving.Inbound
  readonly where: Where
}

/** Takes the head of an answer; returns its metadata, or the error of an answer that is none of gRPC. */
export const receiveHead = (
  { answer, messages, where }: AnswerStream,
  { fields, status }: ResponseHead
): Either.Either<Metadata.Metadata, StatusError> => {
  const error = StatusFields.checkHead(status, fields, where)
  if (error !== undefined) {
    return Either.left(error)
  }
  // An answer of one section: its fields are the trailers.
  if (GrpcFields.get(fields, "grpc-status") !== undefined) {
    answer.trailers = fields
    return Either.right(Metadata.empty)
  }
  if (GrpcFields.get(fields, GrpcEncoding.encodingName) === GrpcEncoding.gzip) {
    GrpcReceiving.takeCompressed(messages)
  }
  return Either.right(Metadata.unsafeFromEntries(GrpcFields.ofResponse(fields)))
}

/** The metadata of the trailers. */
export const trailersOf = ({ trailers }: Answer): Metadata.Metadata =>
  trailers === undefined ? Metadata.empty : Metadata.unsafeFromEntries(GrpcFields.ofResponse(trailers))

/** The error that a whole answer comes to; undefined for OK. `metadata` goes with the error of a status. */
export const errorOf = (
  { answer: { hasContent, trailers }, messages, where }: AnswerStream,
  metadata: Metadata.Metadata
): StatusError | undefined => {
  if (trailers === undefined && hasContent) {
    return new Internal({ message: GrpcFields.withoutStatus.message, ...where })
  }
  return (
    StatusFields.toError(trailers ?? [], metadata, where) ??
    (GrpcReceiving.isCutOff(messages) ? CallErrors.replyCutOff(where) : undefined)
  )
}

/** What a peer means by resetting a stream: "PROTOCOL-HTTP2.md" of gRPC, and gRFC G2 for HTTP/3. */
export type ResetMeaning = "Refused" | "Cancelled" | "Excessive" | "Insecure" | "Broken"

/** The error of a call whose stream was reset with the code of that name. */
export const resetError = (
  meaning: ResetMeaning,
  name: string,
  headersReceived: boolean,
  where: Where
): StatusError => {
  const message = `the peer broke the call off: ${name}`
  switch (meaning) {
    case "Refused":
      return new Unavailable({ message, processed: headersReceived ? "unknown" : "no", ...where })
    case "Cancelled":
      return new Cancelled({ message, ...where })
    case "Excessive":
      return new ResourceExhausted({ message, ...where })
    case "Insecure":
      return new PermissionDenied({ message, ...where })
    case "Broken":
      return new Internal({ message, ...where })
  }
}
