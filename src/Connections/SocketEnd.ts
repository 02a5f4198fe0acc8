/** How a connection on a socket ends: why, and what its peer and the log are told. */
import type * as Net from "node:net"
import * as LogLevel from "effect/LogLevel"
import { type Boundary, escapeText } from "../Transport/internal/boundary.js"

/** Why a connection ended; `R` are the reasons that its protocol has. */
export interface End<R extends string> {
  readonly reason: R | "Disconnected" | "Internal"
  readonly text: string
  readonly refusedBy: "local" | "remote"
}

/** What ends a connection on any protocol. */
export type Fault = "FrameTimeout" | "PingTimeout" | "NotReading" | "Overloaded"

/** How a protocol says what happens to any connection. */
export interface Dialect<R extends string> {
  readonly reasonFor: (fault: Fault, text: string) => readonly [reason: R, text: string]
  /** What the peer is told where it broke a rule; `undefined` for everything else that was thrown. */
  readonly violation: (cause: unknown) => { readonly reason: R; readonly text: string } | undefined
  /** What the peer is told where this end is at fault. Without it the socket closes without a word. */
  readonly internal: R | undefined
  /** Ends that nobody logs, besides that of the socket. */
  readonly peaceful: R
  readonly hangUp: (socket: Net.Socket, end: End<R>) => void
}

export const texts: Record<Fault, string> = {
  FrameTimeout: "a frame was not finished in time",
  PingTimeout: "no answer to a ping",
  NotReading: "the peer does not read what it asked for",
  Overloaded: "the listener keeps more than it may, and most of it for this connection"
}

export const describe = ({ reason, text }: End<string>): string =>
  `the connection ended: ${reason}${text === "" ? "" : `, ${text}`}`

/** Logs an end that nobody wished. */
export const log = (boundary: Boundary, { reason, refusedBy, text }: End<string>, peer: string, peaceful: string) => {
  if (reason !== peaceful && reason !== "Disconnected") {
    boundary.log(
      LogLevel.Warning,
      `ended ${refusedBy} ${reason}`,
      `the connection with ${peer} ended: ${reason}, ${escapeText(text)} (${refusedBy})`
    )
  }
}
