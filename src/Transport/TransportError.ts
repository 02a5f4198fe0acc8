/**
 * The errors of this library: one tagged class per thing that a caller reacts to differently, the same on every
 * transport.
 *
 * @since 0.1.0
 */
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { common, type HandshakeFailed } from "./internal/setupErrors.js"
import * as Metadata from "./Metadata.js"

export {
  BindError,
  BindReason,
  CredentialsError,
  CredentialsReason,
  HandshakeFailed,
  HandshakeReason,
  MissingPackage,
  MissingReason
} from "./internal/setupErrors.js"

/**
 * One entry of `google.rpc.Status.details`: a message packed as `google.protobuf.Any`. `ErrorDetails` packs and unpacks.
 *
 * @since 0.1.0
 * @category models
 */
export const Detail = Schema.Struct({
  /** The full name behind the type URL, as `google.rpc.RetryInfo`. */
  type: Schema.String,
  value: Schema.Uint8ArrayFromSelf
})

/**
 * @since 0.1.0
 * @category models
 */
export type Detail = typeof Detail.Type

const status = {
  ...common,
  /** What came with the status: the response's trailers at the client, what shall be sent at the server. */
  metadata: Schema.optionalWith(Metadata.MetadataSchema, { default: () => Metadata.empty }),
  /** The details of the `google.rpc.Status` that came with the status. */
  details: Schema.optionalWith(Schema.Array(Detail), { default: () => [] })
}

/** May the call have run? `no` where the peer surely never saw it. */
const processed = Schema.optionalWith(Schema.Literal("no", "unknown"), { default: () => "unknown" as const })

/**
 * The call was cancelled, by the caller or by the peer. gRPC status 1.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Cancelled extends Schema.TaggedError<Cancelled>("effect-transport/Cancelled")("Cancelled", {
  ...status,
  processed
}) {
  readonly code = 1 as const
}

/**
 * An error that its source could not name. gRPC status 2.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Unknown extends Schema.TaggedError<Unknown>("effect-transport/Unknown")("Unknown", status) {
  readonly code = 2 as const
}

/**
 * The request is wrong whatever the state of the system. gRPC status 3.
 *
 * @since 0.1.0
 * @category status errors
 */
export class InvalidArgument extends Schema.TaggedError<InvalidArgument>("effect-transport/InvalidArgument")(
  "InvalidArgument",
  status
) {
  readonly code = 3 as const
}

/**
 * The deadline passed before the answer came; the call may have run. gRPC status 4.
 *
 * @since 0.1.0
 * @category status errors
 */
export class DeadlineExceeded extends Schema.TaggedError<DeadlineExceeded>("effect-transport/DeadlineExceeded")(
  "DeadlineExceeded",
  status
) {
  readonly code = 4 as const
}

/**
 * What was asked for does not exist. gRPC status 5.
 *
 * @since 0.1.0
 * @category status errors
 */
export class NotFound extends Schema.TaggedError<NotFound>("effect-transport/NotFound")("NotFound", status) {
  readonly code = 5 as const
}

/**
 * What should be made exists already. gRPC status 6.
 *
 * @since 0.1.0
 * @category status errors
 */
export class AlreadyExists extends Schema.TaggedError<AlreadyExists>("effect-transport/AlreadyExists")(
  "AlreadyExists",
  status
) {
  readonly code = 6 as const
}

/**
 * The caller is known and may not do this. gRPC status 7.
 *
 * @since 0.1.0
 * @category status errors
 */
export class PermissionDenied extends Schema.TaggedError<PermissionDenied>("effect-transport/PermissionDenied")(
  "PermissionDenied",
  status
) {
  readonly code = 7 as const
}

/**
 * A limit was passed: a quota, a message size, the metadata size. gRPC status 8.
 *
 * @since 0.1.0
 * @category status errors
 */
export class ResourceExhausted extends Schema.TaggedError<ResourceExhausted>("effect-transport/ResourceExhausted")(
  "ResourceExhausted",
  status
) {
  readonly code = 8 as const
}

/**
 * The system is not in the state that the call needs; the caller has to change that first. gRPC status 9.
 *
 * @since 0.1.0
 * @category status errors
 */
export class FailedPrecondition extends Schema.TaggedError<FailedPrecondition>("effect-transport/FailedPrecondition")(
  "FailedPrecondition",
  status
) {
  readonly code = 9 as const
}

/**
 * A conflict with something concurrent; retry the whole transaction. gRPC status 10.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Aborted extends Schema.TaggedError<Aborted>("effect-transport/Aborted")("Aborted", status) {
  readonly code = 10 as const
}

/**
 * Past the end of what exists now, as when reading blocks that are not there yet. gRPC status 11.
 *
 * @since 0.1.0
 * @category status errors
 */
export class OutOfRange extends Schema.TaggedError<OutOfRange>("effect-transport/OutOfRange")("OutOfRange", status) {
  readonly code = 11 as const
}

/**
 * The peer has no such service or method. gRPC status 12.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Unimplemented extends Schema.TaggedError<Unimplemented>("effect-transport/Unimplemented")(
  "Unimplemented",
  status
) {
  readonly code = 12 as const
}

/**
 * Something that must not happen happened, at the peer or in the protocol. gRPC status 13.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Internal extends Schema.TaggedError<Internal>("effect-transport/Internal")("Internal", status) {
  readonly code = 13 as const
}

/**
 * The peer can't be reached or does not serve now; trying again may help. gRPC status 14.
 *
 * `processed` says whether the peer may have seen the call, and `idempotent` whether that matters: a call may be repeated
 * where either `processed` is `"no"` or `idempotent` is true.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Unavailable extends Schema.TaggedError<Unavailable>("effect-transport/Unavailable")("Unavailable", {
  ...status,
  processed,
  /**
   * Whether the method's contract allows to repeat the call (`Method.idempotency`), whatever became of it. Default false. Clients
   * set it; it is never sent, so that no peer can.
   */
  idempotent: Schema.optionalWith(Schema.Boolean, { default: () => false })
}) {
  readonly code = 14 as const
}

/**
 * Data was lost for good. gRPC status 15.
 *
 * @since 0.1.0
 * @category status errors
 */
export class DataLoss extends Schema.TaggedError<DataLoss>("effect-transport/DataLoss")("DataLoss", status) {
  readonly code = 15 as const
}

/**
 * The caller did not prove who it is. gRPC status 16.
 *
 * @since 0.1.0
 * @category status errors
 */
export class Unauthenticated extends Schema.TaggedError<Unauthenticated>("effect-transport/Unauthenticated")(
  "Unauthenticated",
  status
) {
  readonly code = 16 as const
}

/**
 * A call that ended with a status other than OK.
 *
 * @since 0.1.0
 * @category unions
 */
export type StatusError =
  | Cancelled
  | Unknown
  | InvalidArgument
  | DeadlineExceeded
  | NotFound
  | AlreadyExists
  | PermissionDenied
  | ResourceExhausted
  | FailedPrecondition
  | Aborted
  | OutOfRange
  | Unimplemented
  | Internal
  | Unavailable
  | DataLoss
  | Unauthenticated

/**
 * What a call may fail with: a status, or the refusal that keeps its connection from being made again.
 *
 * @since 0.1.0
 * @category unions
 */
export type CallError = StatusError | HandshakeFailed

/**
 * What opening a client may fail with. `InvalidArgument` is a target that can't be read.
 *
 * @since 0.1.0
 * @category unions
 */
export type ConnectError = Unavailable | DeadlineExceeded | HandshakeFailed | InvalidArgument

/**
 * The status errors by gRPC status code, from 1 to 16.
 *
 * Source: "statuscodes.md" of gRPC.
 *
 * @since 0.1.0
 * @category mapping
 */
export const statusErrors = {
  1: Cancelled,
  2: Unknown,
  3: InvalidArgument,
  4: DeadlineExceeded,
  5: NotFound,
  6: AlreadyExists,
  7: PermissionDenied,
  8: ResourceExhausted,
  9: FailedPrecondition,
  10: Aborted,
  11: OutOfRange,
  12: Unimplemented,
  13: Internal,
  14: Unavailable,
  15: DataLoss,
  16: Unauthenticated
} as const

/**
 * What every status error is made from.
 *
 * @since 0.1.0
 * @category models
 */
export interface StatusProps {
  readonly message: string
  readonly peer?: string | undefined
  readonly method?: string | undefined
  readonly cause?: unknown
  readonly metadata?: Metadata.Metadata
  readonly details?: ReadonlyArray<Detail>
  readonly processed?: "no" | "unknown"
}

const ascii = new TextEncoder()

/** A field of a protobuf message that is a string of less than 128 bytes. */
const textField = (number: number, text: string) => [(number << 3) | 2, text.length, ...ascii.encode(text)]

/**
 * The detail that says to the caller of an `Unavailable` that the call has not run: a `google.rpc.ErrorInfo` with the reason
 * `NOT_PROCESSED` and the domain `effect-transport`. gRPC has no other place for that in a status.
 *
 * @internal
 */
export const notProcessed: Detail = {
  type: "google.rpc.ErrorInfo",
  value: Uint8Array.from([...textField(1, "NOT_PROCESSED"), ...textField(2, "effect-transport")])
}

const isNotProcessed = ({ type, value }: Detail): boolean =>
  type === notProcessed.type &&
  value.length === notProcessed.value.length &&
  value.every((byte, i) => byte === notProcessed.value[i])

const isCode = (code: number): code is keyof typeof statusErrors => code in statusErrors

/**
 * The status error of a gRPC status code. A code that gRPC does not know gives `Unknown`. An `Unavailable` whose details say
 * that the call has not run (`google.rpc.ErrorInfo` with the reason `NOT_PROCESSED` of the domain `effect-transport`) has
 * `processed: "no"` in their place.
 *
 * @since 0.1.0
 * @category mapping
 */
export const fromCode = (code: number, { processed, ...props }: StatusProps): StatusError => {
  // The values come from this library, so that they are not checked again on a path that a peer can take at will.
  const options = { disableValidation: true }
  if (code === 14 && props.details?.some(isNotProcessed)) {
    // Left out, so that whoever passes the error on does not say the same of its own call.
    const details = props.details.filter((detail) => !isNotProcessed(detail))
    return new Unavailable({ ...props, details, processed: "no" }, options)
  }
  if (code === 1 || code === 14) {
    return new statusErrors[code]({ ...props, processed: processed ?? "unknown" }, options)
  }
  return isCode(code)
    ? new statusErrors[code](props, options)
    : new Unknown({ ...props, message: `status ${code}: ${props.message}` }, options)
}

const classes = Object.values(statusErrors)

/**
 * @since 0.1.0
 * @category refinements
 */
export const isStatusError = (u: unknown): u is StatusError => classes.some((clazz) => u instanceof clazz)

/**
 * Whether an error is one of this library's, whatever its class.
 *
 * @internal
 */
export const isOwn = (u: unknown): boolean =>
  u instanceof Error &&
  Predicate.hasProperty(u.constructor, "identifier") &&
  typeof u.constructor.identifier === "string" &&
  u.constructor.identifier.startsWith("effect-transport/")
