/** What a call that was let in holds of its listener's admission, until it is over and its handler has ended. */
import type { StatusError } from "../Transport/TransportError.js"
import type { ServerStream } from "./CallStream.js"

/** Gives back what the call holds. May be called twice. */
export const leave = <S>(call: ServerStream<S>): void => {
  const { pass } = call
  if (pass !== undefined) {
    call.pass = undefined
    pass.ended(call.route._tag === "Stream", call.held ?? 0)
  }
}

/** Counts a message that has come. Returns the error that ends the call, if it may not go on. */
export const received = <S>(call: ServerStream<S>, bytes: number): StatusError | undefined => {
  // The messages of a stream are gone when they are read.
  const isHeld = call.inbox === undefined
  const pass = call.pass?.received(bytes, isHeld)
  if (pass === undefined) {
    return undefined
  }
  if (pass._tag !== "Pass") {
    return pass
  }
  call.pass = pass
  if (isHeld) {
    call.held = (call.held ?? 0) + bytes
  }
  return undefined
}
