/**
 * The details of a `google.rpc.Status`, as typed protobuf messages.
 *
 * Source: https://google.aip.dev/193 and `google/rpc/error_details.proto`.
 *
 * @since 0.1.0
 */
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary
} from "@bufbuild/protobuf"
import { AnySchema } from "@bufbuild/protobuf/wkt"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { StatusSchema } from "../gen/google/rpc/status_pb.js"
import * as Text from "../protocol/Text.js"
import type { Detail, StatusError } from "./TransportError.js"

/**
 * The standard detail messages.
 *
 * @since 0.1.0
 * @category schemas
 */
export {
  BadRequestSchema as BadRequest,
  DebugInfoSchema as DebugInfo,
  ErrorInfoSchema as ErrorInfo,
  HelpSchema as Help,
  LocalizedMessageSchema as LocalizedMessage,
  PreconditionFailureSchema as PreconditionFailure,
  QuotaFailureSchema as QuotaFailure,
  RequestInfoSchema as RequestInfo,
  ResourceInfoSchema as ResourceInfo,
  RetryInfoSchema as RetryInfo
} from "../gen/google/rpc/error_details_pb.js"

const typeUrlPrefix = "type.googleapis.com/"

/**
 * Packs a message as a detail.
 *
 * @example
 * ```ts
 * import { ErrorDetails, ResourceExhausted } from "effect-transport"
 *
 * const error = new ResourceExhausted({
 *   message: "too many transactions",
 *   details: [ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay: { seconds: 2n } })]
 * })
 * ```
 *
 * @since 0.1.0
 * @category constructors
 */
export const pack = <Desc extends DescMessage>(schema: Desc, message: MessageInitShape<Desc>): Detail => ({
  type: schema.typeName,
  value: toBinary(schema, create(schema, message))
})

/**
 * The first detail of the wanted type; none when there is none, or when its bytes are not of that type.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { ErrorDetails, type ResourceExhausted } from "effect-transport"
 *
 * const tell = (error: ResourceExhausted) => Effect.logInfo(ErrorDetails.get(error, ErrorDetails.QuotaFailure))
 * ```
 *
 * @since 0.1.0
 * @category getters
 */
export const get: {
  <Desc extends DescMessage>(schema: Desc): (error: Pick<StatusError, "details">) => Option.Option<MessageShape<Desc>>
  <Desc extends DescMessage>(error: Pick<StatusError, "details">, schema: Desc): Option.Option<MessageShape<Desc>>
} = dual(
  2,
  <Desc extends DescMessage>(error: Pick<StatusError, "details">, schema: Desc): Option.Option<MessageShape<Desc>> => {
    const found = error.details.find((detail) => detail.type === schema.typeName)
    return found === undefined ? Option.none() : Option.liftThrowable(fromBinary)(schema, found.value)
  }
)

/**
 * The `google.rpc.Status` message that holds the details, for the `grpc-status-details-bin` trailer.
 *
 * @internal
 */
export const encodeStatus = (error: Pick<StatusError, "code" | "message" | "details">): Uint8Array =>
  toBinary(
    StatusSchema,
    create(StatusSchema, {
      code: error.code,
      message: Text.cut(error.message, Text.maxStatusMessage),
      details: error.details.map((detail) =>
        create(AnySchema, { typeUrl: typeUrlPrefix + detail.type, value: detail.value })
      )
    })
  )

/**
 * What does not fit beside the status and the metadata of trailers, in bytes. Frames and field sections hold 64 KiB.
 *
 * @internal
 */
export const maxSize = 16 * 1024

const none = new Uint8Array(0)

/**
 * The same, to send: no bytes where there are no details, and where they are too large or can't be encoded. The status
 * itself must arrive.
 *
 * @internal
 */
export const encodeToSend = (error: Pick<StatusError, "code" | "message" | "details">): Uint8Array => {
  if (error.details.length === 0) {
    return none
  }
  try {
    const bytes = encodeStatus(error)
    return bytes.length > maxSize ? none : bytes
  } catch {
    return none
  }
}

/**
 * The details in a `google.rpc.Status` message; none when the bytes are not one, for they come from a peer.
 *
 * @internal
 */
export const decodeStatus = (bytes: Uint8Array): ReadonlyArray<Detail> =>
  Option.match(Option.liftThrowable(fromBinary)(StatusSchema, bytes), {
    onNone: () => [],
    onSome: (status) =>
      status.details.map((any) => ({
        type: any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1),
        // A copy: what came in a Buffer would be one, and would keep the whole frame in memory.
        value: new Uint8Array(any.value)
      }))
  })
