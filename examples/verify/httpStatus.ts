import type { BindError, CallError } from "effect-transport"

/** What goes wrong in the app itself, beside what comes from the library. */
type OwnTag =
  | "BodyTooLarge"
  | "Forbidden"
  | "NodeNotRunning"
  | "NodeRunning"
  | "RetriesExhausted"
  | "TooBusy"
  | "TransportAbsent"

export type FailureTag = CallError["_tag"] | BindError["_tag"] | OwnTag

/**
 * The HTTP status of each error, by tag. This is the only place where one is chosen.
 *
 * Source: the HTTP mapping in google.rpc.Code, "code.proto"; 502 for `HandshakeFailed`, because the node answered, but is
 * not one that this gateway talks to.
 */
export const httpStatus = {
  Cancelled: 499,
  Unknown: 500,
  InvalidArgument: 400,
  DeadlineExceeded: 504,
  NotFound: 404,
  AlreadyExists: 409,
  PermissionDenied: 403,
  ResourceExhausted: 429,
  FailedPrecondition: 400,
  Aborted: 409,
  OutOfRange: 400,
  Unimplemented: 501,
  Internal: 500,
  Unavailable: 503,
  DataLoss: 500,
  Unauthenticated: 401,
  HandshakeFailed: 502,
  BindError: 503,
  BodyTooLarge: 413,
  Forbidden: 403,
  NodeNotRunning: 409,
  NodeRunning: 409,
  RetriesExhausted: 500,
  TooBusy: 429,
  TransportAbsent: 501
} as const satisfies Record<FailureTag, number>
