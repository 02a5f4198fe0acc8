/** Says on an `Unavailable` that the method may be called again: the one place for all wires. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import type * as Method from "../Method.js"
import { type CallError, Unavailable } from "../TransportError.js"

export const isIdempotent = ({ idempotency }: Method.Any): boolean =>
  idempotency === "idempotent" || idempotency === "noSideEffects"

interface Marked {
  readonly effect: <A>(self: Effect.Effect<A, CallError>) => Effect.Effect<A, CallError>
  readonly stream: <A, E>(self: Stream.Stream<A, CallError | E>) => Stream.Stream<A, CallError | E>
}

/** For the calls of one method, whose contract says that it may be repeated. */
export const mark = ({ path }: Method.Any): Marked => {
  const markError = <E>(error: E): E | Unavailable => {
    // A stream of requests may fail with the error of another method's call.
    if (!(error instanceof Unavailable) || error.method !== path) {
      return error
    }
    // The message of an Error is not among what a spread copies.
    const { message } = error
    return new Unavailable({ ...error, message, idempotent: true }, { disableValidation: true })
  }
  const onCause = <E>(cause: Cause.Cause<E>) => Effect.failCause(Cause.map(cause, markError))
  return {
    effect: (self) => Effect.catchAllCause(self, onCause),
    stream: (self) => Stream.mapErrorCause(self, Cause.map(markError))
  }
}
