import * as Metadata from "../Metadata.js"
import { fromCode, type StatusError } from "../TransportError.js"

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
