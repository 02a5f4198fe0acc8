/** Metadata and statuses as a wire carries them that has no format of its own for them: entries, and a record. */

import * as Bytes from "../protocol/Bytes.js"
import type * as Entries from "../protocol/Entries.js"
import { isBinary, isOfRequest, isOfResponse, isText } from "../protocol/Entries.js"
import * as Text from "../protocol/Text.js"
import * as ErrorDetails from "../Transport/ErrorDetails.js"
import * as StatusFields from "../Transport/internal/statusFields.js"
import type { Where } from "../Transport/internal/where.js"
import * as Metadata from "../Transport/Metadata.js"
import type { StatusError } from "../Transport/TransportError.js"

/** An error as it travels, beside its metadata. */
export interface Status {
  readonly code: number
  readonly message: string
  /** A `google.rpc.Status`; empty where the error has no details. */
  readonly details: Uint8Array
}

/** The status to send. */
export const fromError = (error: StatusError): Status => ({
  code: error.code,
  message: Text.cut(error.message, Text.maxStatusMessage),
  details: ErrorDetails.encodeToSend(error)
})

/** The error of a status that was received, with the metadata that came beside it. */
export const toError: (status: Status, metadata: Metadata.Metadata, where: Where) => StatusError =
  StatusFields.toStatusError

const received = (entries: Entries.Entries, passes: (name: string) => boolean): Metadata.Metadata =>
  Metadata.unsafeFromEntries(
    entries.filter(
      ([name, value]) =>
        passes(name) && (isBinary(name) ? Bytes.isBytes(value) : typeof value === "string" && isText(value))
    )
  )

/** The metadata of a request that was received: of its entries those that a handler may see, and pass on. */
export const requestMetadata = (entries: Entries.Entries): Metadata.Metadata => received(entries, isOfRequest)

/** The same for response headers and trailers. */
export const responseMetadata = (entries: Entries.Entries): Metadata.Metadata => received(entries, isOfResponse)
