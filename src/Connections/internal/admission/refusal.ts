/** What a caller gets whose call is not let in: the same on every wire, with the time after which to try again. */
import * as ErrorDetails from "../../../Transport/ErrorDetails.js"
import * as Metadata from "../../../Transport/Metadata.js"
import {
  type Detail,
  notProcessed,
  PermissionDenied,
  ResourceExhausted,
  Unavailable
} from "../../../Transport/TransportError.js"

/** Nobody is told to wait longer than this. */
const maxDelayMillis = 60_000

/** Delays are told in steps, so that their details can be kept. */
const stepMillis = 25

const details = new Map<number, Detail>()

const retryInfo = (millis: number): Detail => {
  const found = details.get(millis)
  if (found !== undefined) {
    return found
  }
  const retryDelay = { seconds: BigInt(Math.floor(millis / 1000)), nanos: (millis % 1000) * 1_000_000 }
  const made = ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay })
  details.set(millis, made)
  return made
}

const rounded = (millis: number): number =>
  Math.max(1, Math.ceil(Math.min(millis, maxDelayMillis) / stepMillis)) * stepMillis

const unchecked = { disableValidation: true } as const

/** Its own share is used up, and has room again after so long: known for rates, a guess for what others hold. */
export const exhausted = (message: string, millis: number, isKnown: boolean): ResourceExhausted => {
  const delay = rounded(millis)
  return new ResourceExhausted(
    {
      message,
      details: [retryInfo(delay)],
      metadata: isKnown ? Metadata.unsafeFromEntries([["grpc-retry-pushback-ms", String(delay)]]) : Metadata.empty
    },
    unchecked
  )
}

/** The node has too much to do. The call has not run. */
export const overloaded = (message: string, millis: number): Unavailable =>
  new Unavailable(
    { message, processed: "no", details: [retryInfo(rounded(millis)), notProcessed], metadata: Metadata.empty },
    unchecked
  )

export const denied = (): PermissionDenied =>
  new PermissionDenied(
    { message: "the node does not take this call from this caller", details: [], metadata: Metadata.empty },
    unchecked
  )
