/** What calls say of the health of a target, and how one that is not made fails. */
import * as Detail from "../../Transport/ErrorDetails.js"
import {
  DataLoss,
  DeadlineExceeded,
  HandshakeFailed,
  Internal,
  isOwn,
  Unavailable,
  Unknown
} from "../../Transport/TransportError.js"

const failures = [Unavailable, DeadlineExceeded, Internal, Unknown, DataLoss, HandshakeFailed]

/** Of this library's errors those for which a target is to blame, and all others. */
export const isFailure = (error: unknown): boolean => failures.some((each) => error instanceof each) || !isOwn(error)

const maxSeconds = 315_576_000_000

/** A delay as `google.protobuf.Duration` has it, rounded up, so that nobody is too early. */
const durationOf = (millis: number) => {
  const whole = Math.min(Math.ceil(millis), maxSeconds * 1000)
  return { seconds: BigInt(Math.floor(whole / 1000)), nanos: (whole % 1000) * 1_000_000 }
}

/** How a call fails that an open circuit, or the probes of a half-open one, don't let through. */
export const refusal = (
  name: string,
  waitMillis: number,
  where: { readonly method?: string | undefined; readonly peer?: string | undefined }
): Unavailable => {
  const breaker = name === "" ? "the circuit breaker" : `the circuit breaker of ${name}`
  const isOpen = waitMillis > 0
  return new Unavailable({
    ...where,
    message: isOpen
      ? `${breaker} is open for another ${Math.ceil(waitMillis)} ms`
      : `${breaker} is half-open and waits for the calls that it let through`,
    processed: "no",
    details: isOpen ? [Detail.pack(Detail.RetryInfo, { retryDelay: durationOf(waitMillis) })] : []
  })
}
