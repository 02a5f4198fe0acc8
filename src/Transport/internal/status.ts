/** Statuses as they are sent and received: without what belongs to one side alone. */
import * as Either from "effect/Either"
import * as Text from "../../protocol/Text.js"
import * as ErrorDetails from "../ErrorDetails.js"
import * as Metadata from "../Metadata.js"
import { fromCode, HandshakeFailed, type StatusError, Unavailable } from "../TransportError.js"

/**
 * A status as the peer gets it: with the trailers that fit, and without what is only known on this side (cause, peer,
 * method).
 */
export const received = (
  status: StatusError,
  metadata: Metadata.Metadata,
  where: { readonly method: string; readonly peer: string }
): StatusError =>
  fromCode(status.code, {
    message: Text.cut(status.message, Text.maxStatusMessage),
    metadata,
    details: ErrorDetails.encodeToSend(status).length === 0 ? [] : status.details,
    ...where
  })

/** A status that a handler failed with, whose metadata has been checked. Too much of that is left out. */
export const toSend = (status: StatusError): Either.Either<StatusError, Metadata.MetadataError> => {
  const { message, metadata } = status
  if (metadata === Metadata.empty) {
    return Either.right(status)
  }
  const checked = Metadata.fromInput(metadata)
  if (Either.isLeft(checked) && checked.left.reason === "Invalid") {
    return Either.left(checked.left)
  }
  const sent = Either.getOrElse(checked, () => Metadata.empty)
  // The message of an Error is not among what a spread copies.
  return Either.right(sent === metadata ? status : fromCode(status.code, { ...status, message, metadata: sent }))
}

/** What keeps a connection from being made, as the error of a call that needed it. */
export const ofCall = (failure: HandshakeFailed | Unavailable, method: string): HandshakeFailed | Unavailable => {
  // The message of an Error is not among what a spread copies.
  const { message } = failure
  return failure._tag === "Unavailable"
    ? new Unavailable({ ...failure, message, method })
    : new HandshakeFailed({ ...failure, message, method })
}
