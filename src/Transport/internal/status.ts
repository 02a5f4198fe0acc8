import * as Metadata from "../Metadata.js"
import { fromCode, HandshakeFailed, type StatusError, Unavailable } from "../TransportError.js"

/** A status as the peer gets it: without what is only known on this side (cause, peer, method). */
export const received = (
  status: StatusError,
  trailers: Metadata.Metadata,
  where: { readonly method: string; readonly peer: string }
): StatusError =>
  fromCode(status.code, {
    message: status.message,
    metadata: Metadata.concat(trailers, status.metadata),
    details: status.details,
    ...where
  })

/** What keeps a connection from being made, as the error of a call that needed it. */
export const ofCall = (failure: HandshakeFailed | Unavailable, method: string): HandshakeFailed | Unavailable => {
  // The message of an Error is not among what a spread copies.
  const { message } = failure
  return failure._tag === "Unavailable"
    ? new Unavailable({ ...failure, message, method })
    : new HandshakeFailed({ ...failure, message, method })
}
