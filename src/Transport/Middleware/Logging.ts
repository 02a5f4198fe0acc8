/**
 * A log line for each call that a listener has answered.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type { Call } from "../Call.js"
import * as Boundary from "../internal/boundary.js"
import * as Time from "../internal/time.js"
import type { StatusError } from "../TransportError.js"
import { type ServerMiddleware, server } from "./ServerMiddleware.js"

/**
 * How a call ended: `OK`, or the tag of its error.
 *
 * @since 0.1.0
 * @category models
 */
export type Status = "OK" | StatusError["_tag"]

/**
 * @since 0.1.0
 * @category models
 */
export interface LoggingOptions {
  /**
   * The level of a call's line by its status. Default: `Error` for what is this node's fault (`Unknown`, `Internal`,
   * `DataLoss`), `Warning` for what an operator may want to look at (`DeadlineExceeded`, `Unavailable`, `ResourceExhausted`,
   * `PermissionDenied`, `Unauthenticated`, `Unimplemented`), and `Info` for all others.
   */
  readonly level?: ((status: Status) => LogLevel.LogLevel) | undefined
}

const defaultLevel = (status: Status): LogLevel.LogLevel => {
  switch (status) {
    case "Unknown":
    case "Internal":
    case "DataLoss":
      return LogLevel.Error
    case "DeadlineExceeded":
    case "Unavailable":
    case "ResourceExhausted":
    case "PermissionDenied":
    case "Unauthenticated":
    case "Unimplemented":
      return LogLevel.Warning
    default:
      return LogLevel.Info
  }
}

/** A caller whose time is over gives up at about the moment at which the deadline passes here. */
const toleranceMillis = 20

/** A listener that shuts down interrupts its calls as their callers do. */
const isDraining = ({ draining }: Call): Effect.Effect<boolean> =>
  Effect.map(Effect.timeoutOption(Effect.interruptible(draining), 0), Option.isSome)

const statusOf = (call: Call, exit: Exit.Exit<unknown, StatusError>, now: number): Effect.Effect<Status> => {
  if (exit._tag === "Success") {
    return Effect.succeed("OK")
  }
  const failure = Cause.failureOption(exit.cause)
  if (Option.isSome(failure)) {
    return Effect.succeed(failure.value._tag)
  }
  return now >= call.deadline - toleranceMillis
    ? Effect.succeed("DeadlineExceeded")
    : Effect.map(isDraining(call), (draining) => (draining ? "Unavailable" : "Cancelled"))
}

const log = (call: Call, status: Status, durationMs: number, level: (status: Status) => LogLevel.LogLevel) =>
  Effect.suspend(() =>
    Effect.annotateLogs(Effect.logWithLevel(level(status), `${call.method}: ${status} in ${durationMs} ms`), {
      method: call.method,
      peer: Boundary.escapeText(call.peer.address),
      status,
      durationMs
    })
  ).pipe(
    // A logger that throws is no reason for a call to fail.
    Effect.catchAllCause(() => Effect.sync(() => Boundary.count("callback")))
  )

/**
 * Logs each call when it has ended, of a stream when its last message has been taken: method, peer, status and duration, and
 * nothing of messages or metadata. What stands before it in the list is not seen: it belongs first. A call that was
 * interrupted is `DeadlineExceeded` where its deadline has passed, `Unavailable` where the listener shuts down, and else
 * `Cancelled`.
 *
 * @example
 * ```ts
 * import { Middleware, Transport } from "effect-transport"
 *
 * const NodeLive = Transport.serve([], { port: 50051, middleware: [Middleware.logging()] })
 * ```
 *
 * @since 0.1.0
 * @category ready-made
 */
export const logging = ({ level = defaultLevel }: LoggingOptions = {}): ServerMiddleware =>
  server({
    wrap: (call, next) =>
      Effect.clockWith((clock) => {
        const start = Time.now(clock)
        return Effect.onExit(next, (exit) => {
          const now = Time.now(clock)
          return Effect.flatMap(statusOf(call, exit, now), (status) =>
            log(call, status, Math.round(now - start), level)
          )
        })
      })
  })
