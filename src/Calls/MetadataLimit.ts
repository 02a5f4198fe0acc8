/**
 * `maxMetadataSize`: the same limit, class and text on every wire, for requests, response headers and trailers.
 */
import * as Either from "effect/Either"
import type { Response } from "../Transport/IncomingCall.js"
import type { Where } from "../Transport/internal/where.js"
import * as Metadata from "../Transport/Metadata.js"
import { ResourceExhausted } from "../Transport/TransportError.js"

export const tooLarge = (limit: number, where?: Where): ResourceExhausted =>
  new ResourceExhausted({ message: `metadata has more than the ${limit} bytes allowed`, ...where })

export const fits = (metadata: Metadata.Metadata, limit: number): boolean =>
  metadata.entries.length === 0 || Metadata.byteSize(metadata) <= limit

export const check = (
  metadata: Metadata.Metadata,
  limit: number,
  where?: Where
): Either.Either<void, ResourceExhausted> => (fits(metadata, limit) ? Either.void : Either.left(tooLarge(limit, where)))

/** What a handler set, where all of it can be sent. */
export const checkResponse = (
  { headers, isTooLarge, trailers }: Response,
  limit: number
): Either.Either<void, ResourceExhausted> =>
  !isTooLarge && fits(headers, limit) && fits(trailers, limit) ? Either.void : Either.left(tooLarge(limit))

/** The trailers of an error. The status must arrive: what does not fit beside it is left out. */
export const ofError = (trailers: Metadata.Metadata, own: Metadata.Metadata, limit: number): Metadata.Metadata =>
  [Metadata.concat(trailers, own), own, trailers].find((metadata) => fits(metadata, limit)) ?? Metadata.empty
