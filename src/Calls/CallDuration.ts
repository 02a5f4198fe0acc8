/** The time that a call has at the listener that it came to: its caller's, or the listener's where that is shorter. */
import * as Duration from "effect/Duration"
import type { CallDurations } from "../Connections/TransportOptions.js"
import { DeadlineExceeded } from "../Transport/TransportError.js"

/** A caller that allows a call no more than this can't have waited for its answer: it costs work and brings nothing. */
export const uselessMillis = 10

/** The limit for calls of a route. */
export const limitOf = (limits: CallDurations, { _tag }: { readonly _tag: "Unary" | "Stream" }): number =>
  _tag === "Unary" ? limits.unary : limits.streaming

/** The error of a call whose time is over. `timeout` is what its caller allowed. */
export const exceeded = (
  timeout: number,
  limit: number,
  where?: { readonly method: string; readonly peer: string }
): DeadlineExceeded =>
  new DeadlineExceeded({
    message:
      limit < timeout
        ? `the call took longer than ${Duration.format(limit)}, the limit of the node that handled it (maxCallDuration)`
        : "the deadline passed",
    ...where
  })
