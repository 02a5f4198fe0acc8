/**
 * The only way from a handler's failure to what the peer is told. A peer learns nothing of a failure that the handler did
 * not put into a status error.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type { IncomingCall } from "../IncomingCall.js"
import {
  HandshakeFailed,
  Internal,
  isStatusError,
  notProcessed,
  type StatusError,
  Unavailable
} from "../TransportError.js"
import * as Status from "./status.js"

export const toStatus = (cause: Cause.Cause<unknown>, call: IncomingCall): Effect.Effect<never, StatusError> => {
  const failure = Cause.failureOption(cause)
  if (Option.isSome(failure) && isStatusError(failure.value)) {
    const status = Status.toSend(failure.value)
    return Either.isRight(status) ? Effect.fail(status.right) : internal(Cause.die(status.left), call)
  }
  if (Option.isSome(failure) && failure.value instanceof HandshakeFailed) {
    return upstreamRefused(cause, call)
  }
  return Cause.isInterruptedOnly(cause) ? Effect.failCause(cause as Cause.Cause<never>) : internal(cause, call)
}

const logFailure = (cause: Cause.Cause<unknown>, { boundary, method, peer }: IncomingCall): void =>
  boundary.log(
    LogLevel.Error,
    `handler of ${method}: ${kindOf(cause)}`,
    `the handler of ${method} failed`,
    { method, peer: peer.address },
    cause
  )

const internal = (cause: Cause.Cause<unknown>, call: IncomingCall): Effect.Effect<never, Internal> =>
  Effect.suspend(() => {
    logFailure(cause, call)
    return Effect.fail(new Internal({ message: "internal error", method: call.method }))
  })

/** Names, fingerprints and dates of this node's own peers are none of the caller's business. */
const upstreamRefused = (cause: Cause.Cause<unknown>, call: IncomingCall): Effect.Effect<never, Unavailable> =>
  Effect.suspend(() => {
    logFailure(cause, call)
    return Effect.fail(
      new Unavailable({
        message: "no connection with a peer that this call needs",
        method: call.method,
        processed: "no",
        details: [notProcessed]
      })
    )
  })

/** What tells the failures of one method apart, so that one of many does not hide another. */
const kindOf = (cause: Cause.Cause<unknown>): string => {
  const squashed = Cause.squash(cause)
  const name = squashed instanceof Error ? squashed.name : typeof squashed
  return Cause.isFailure(cause) ? `failed, ${name}` : `died, ${name}`
}
