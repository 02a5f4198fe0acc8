/**
 * The boundary: what a peer, a file, the system or a user's callback hands in enters through a door, and behind each door
 * stands this guard. Whatever is thrown there is counted and logged, at a limited rate, and ends a call or a connection,
 * never the process.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Runtime from "effect/Runtime"
import type * as Scope from "effect/Scope"
import * as TransportMetrics from "../TransportMetrics.js"

/** Where something from outside enters. */
export type Door = "socket" | "packet" | "timer" | "engine" | "handler" | "callback"

export interface Boundary {
  /** Counts and logs what was thrown behind a door. Never throws. `peer` is an address or a target. */
  readonly caught: (door: Door, peer: string, cause: unknown) => void
  /** Calls `f`. What it throws is reported by `caught` and passed to `end`, which ends the call or the connection. */
  readonly guard: (door: Door, peer: string, f: () => void, end: (cause: unknown) => void) => void
  /**
   * Logs a line that a peer may cause over and over: the first of a reason at once, then one a second, which says how many
   * were left out. `reason` is a literal of this library's, or the name of a method that is served, never text of a
   * peer's: that stands in the message and in the annotations, where it is escaped.
   */
  readonly log: (
    level: LogLevel.LogLevel,
    reason: string,
    message: string,
    annotations?: Annotations,
    cause?: Cause.Cause<unknown>
  ) => void
}

export type Annotations = { readonly [key: string]: unknown }

const logPeriodMillis = 1000

/** More reasons than this library has: a bound in case one is made of a peer's text after all. */
const maxReasons = 64

const maxTextLength = 100

/** Of a whole line, in which several texts of a peer can stand. */
const maxMessageLength = 500

/** A peer's text as it may stand in a log line: one line of printable ASCII, at most 100 characters. */
export const escapeText = (text: string, maxLength = maxTextLength): string => {
  const escaped = text
    .slice(0, maxLength + 1)
    .replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`)
  return escaped.length <= maxLength ? escaped : `${escaped.slice(0, maxLength - 3)}...`
}

const escapeAnnotations = (annotations: Annotations): Annotations => {
  const escaped: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(annotations)) {
    escaped[key] = typeof value === "string" ? escapeText(value) : value
  }
  return escaped
}

/** The code that threw, without the message, which may hold a peer's text. */
const framesOf = (cause: unknown): string | undefined =>
  cause instanceof Error
    ? cause.stack
        ?.split("\n")
        .filter((line) => line.startsWith("    at "))
        .join("\n")
    : undefined

/** A thrown value can throw again when it is looked at. */
export const describe = (cause: unknown): { readonly text: string; readonly stack: string | undefined } => {
  try {
    const text = cause instanceof Error ? `${cause.name}: ${cause.message}` : String(cause)
    return { text: escapeText(text), stack: framesOf(cause) }
  } catch {
    return { text: "a value that can't be printed", stack: undefined }
  }
}

/** Counts what was thrown where there is nobody to log it. */
export const count = (door: Door): void => {
  TransportMetrics.boundaryCaught.pipe(Metric.tagged("door", door)).unsafeUpdate(1, [])
}

/** What is known of a reason that has been logged in the last second. */
interface Recent {
  omitted: number
  tellOmitted: () => void
  timer: NodeJS.Timeout
}

/** A guard that logs in the runtime of whoever makes it. */
const start = Effect.gen(function* () {
  const runtime = yield* Effect.runtime()
  const recent = new Map<string, Recent>()

  /** A logger is a user's callback too, and there is nowhere left to say that it has thrown. */
  const write = (line: Effect.Effect<void>) => {
    try {
      if (Exit.isFailure(Runtime.runSyncExit(runtime)(line))) {
        count("callback")
      }
    } catch {
      count("callback")
    }
  }

  const onTimer = (reason: string) => {
    const line = recent.get(reason)
    if (line === undefined) {
      return
    }
    if (line.omitted === 0) {
      recent.delete(reason)
      return
    }
    line.timer = arm(reason)
    line.tellOmitted()
    line.omitted = 0
  }

  const arm = (reason: string) => setTimeout(onTimer, logPeriodMillis, reason).unref()

  const log: Boundary["log"] = (level, reason, message, annotations = {}, cause) =>
    limited(level, reason, message, escapeAnnotations(annotations), cause)

  const limited = (
    level: LogLevel.LogLevel,
    reason: string,
    message: string,
    annotations: Annotations,
    cause?: Cause.Cause<unknown>
  ) => {
    const key = recent.has(reason) || recent.size < maxReasons ? reason : "other"
    const tell = (suffix: string) => {
      const line = Effect.logWithLevel(level, escapeText(message, maxMessageLength) + suffix, cause ?? Cause.empty)
      write(Effect.annotateLogs(line, { reason, ...annotations }))
    }
    const line = recent.get(key)
    if (line === undefined) {
      recent.set(key, { omitted: 0, tellOmitted: constVoid, timer: arm(key) })
      return tell("")
    }
    line.omitted += 1
    line.tellOmitted = () => tell(line.omitted === 1 ? "" : ` (and ${line.omitted - 1} more like it)`)
  }

  const stop = () => {
    for (const line of recent.values()) {
      clearTimeout(line.timer)
      if (line.omitted > 0) {
        line.tellOmitted()
      }
    }
    recent.clear()
  }

  const caught: Boundary["caught"] = (door, peer, cause) => {
    count(door)
    const { stack, text } = describe(cause)
    limited(
      LogLevel.Error,
      `caught-${door}`,
      `caught at the boundary (${door}) with ${escapeText(peer)}: ${text}`,
      stack === undefined ? { door } : { door, stack }
    )
  }

  const boundary: Boundary = {
    caught,
    log,
    guard: (door, peer, f, end) => {
      try {
        f()
      } catch (cause) {
        caught(door, peer, cause)
        try {
          end(cause)
        } catch (again) {
          caught(door, peer, again)
        }
      }
    }
  }
  return { boundary, stop }
})

/** A guard that logs in the runtime of whoever makes it, until the scope closes. */
export const make: Effect.Effect<Boundary, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(start, ({ stop }) => Effect.sync(stop)),
  ({ boundary }) => boundary
)

/** The same where there is no scope: its timers end by themselves, a second after the last line. */
export const unscoped: Effect.Effect<Boundary> = Effect.map(start, ({ boundary }) => boundary)

/** A callback that was made `async` against its type rejects later, where nobody waits for it. */
export const onRejected = (returned: unknown, f: (cause: unknown) => void): void => {
  if (returned instanceof Promise) {
    returned.catch(f)
  }
}
