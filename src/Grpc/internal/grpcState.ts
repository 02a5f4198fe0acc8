/** What a connection of GrpcLive keeps, and how it ends. */
import type * as Net from "node:net"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { Idle } from "../../Connections/Idle.js"
import type * as Liveness from "../../Connections/Liveness.js"
import type { Account } from "../../Connections/MemoryBudget.js"
import type { SocketWriter } from "../../Connections/SocketWriter.js"
import * as Deferred from "../../effect/Deferred.js"
import type { Http2Connection } from "../../protocol/http2/Http2Connection.js"
import { type Http2Code, Http2Violation } from "../../protocol/http2/Http2Error.js"
import type { Boundary, Door } from "../../Transport/internal/boundary.js"
import { lingeringClose } from "../../Transport/internal/lingeringClose.js"
import type { Link, Streams } from "./grpcLink.js"

/** Why a connection ended. */
export interface End {
  readonly reason: Http2Code | "Disconnected"
  readonly text: string
  readonly refusedBy: "local" | "remote"
}

export type Phase =
  | "Open"
  /** The peer takes no more calls, or all stream ids are used up. */
  | "Lost"
  /** Another connection has taken the place of this one, which begins no more calls. */
  | "Leaving"
  | "Ended"

export interface GrpcState<O> {
  readonly socket: Net.Socket
  readonly role: "client" | "server"
  readonly name: string
  readonly boundary: Boundary
  readonly http2: Http2Connection<O>
  readonly writer: SocketWriter
  readonly link: Link<O>
  readonly streams: Streams<O>
  readonly liveness: Liveness.Liveness
  readonly account: Account | undefined
  readonly ready: Deferred.Deferred<void, End>
  readonly lost: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<End>
  /** No stream is open and no bytes are under way. */
  readonly idle: Idle
  readonly timer: NodeJS.Timeout
  phase: Phase
  /** The peer's SETTINGS have come. */
  hasSettings: boolean
  /** What the peer said when it went away. */
  goaway: End | undefined
  readonly onLastLeft: () => void
}

export const isEnded = (self: Pick<GrpcState<unknown>, "phase">): boolean => self.phase === "Ended"

export const describe = ({ reason, text }: End): string =>
  `the connection ended: ${reason}${text === "" ? "" : `, ${text}`}`

/** No more calls begin on the connection. Those that wait for that fail, and may try another. */
export const lose = <O>(self: GrpcState<O>, phase: "Lost" | "Leaving"): void => {
  if (self.phase === "Open") {
    self.phase = phase
  }
  self.streams.onLeaving()
  Deferred.doneUnsafe(self.lost, Effect.void)
}

/** Has no effect on a connection that has ended. */
export const finish = <O>(self: GrpcState<O>, end: End): void => {
  if (isEnded(self)) {
    return
  }
  self.phase = "Ended"
  clearInterval(self.timer)
  self.account?.close()
  // What a call's end throws must not keep the others, and whoever waits for the end of the connection.
  self.boundary.guard("engine", self.name, () => self.streams.onLost(describe(end)), constVoid)
  self.link.deadlines.stop()
  Deferred.doneUnsafe(self.ready, Effect.fail(end))
  Deferred.doneUnsafe(self.lost, Effect.void)
  Deferred.doneUnsafe(self.ended, Effect.succeed(end))
  self.idle.check()
  if (end.reason === "Disconnected") {
    self.socket.destroy()
  } else {
    lingeringClose(self.socket)
  }
}

/** Ends the connection and tells the peer why. `end` is the reason, where the peer has given it. */
export const close = <O>(
  self: GrpcState<O>,
  reason: Http2Code,
  text: string,
  end: End = { reason, text, refusedBy: "local" }
): void => {
  if (isEnded(self)) {
    return
  }
  const { boundary, http2, name, socket } = self
  try {
    http2.goaway(reason, text)
    for (const chunk of http2.output(0)) {
      socket.write(chunk)
    }
  } catch (cause) {
    boundary.caught("socket", name, cause)
  }
  finish(self, end)
}

/** Ends the connection for what was thrown behind one of its doors. */
export const fail = <O>(self: GrpcState<O>, door: Door, cause: unknown): void => {
  const { boundary, name, socket } = self
  if (cause instanceof Http2Violation) {
    close(self, cause.code, cause.text)
    return
  }
  boundary.caught(door, name, cause)
  boundary.guard(
    door,
    name,
    () => close(self, "INTERNAL_ERROR", ""),
    () => socket.destroy()
  )
}

const hasStreams = <O>({ http2, streams }: GrpcState<O>): boolean =>
  http2.openCount() > 0 || http2.theirs() > 0 || streams.size() > 0

export const isIdle = <O>(self: GrpcState<O>): boolean =>
  !hasStreams(self) && self.http2.buffered() === 0 && self.socket.writableLength === 0

export const checkIdle = <O>(self: GrpcState<O>): void => {
  self.idle.check()
  if (self.idle.isAwaited() && self.socket.writableLength > 0) {
    self.writer.afterLast(self.onLastLeft)
  }
}

/** Closes a connection that takes no more calls once none is left: a peer that goes away waits for that. */
export const closeWhenIdle = <O>(self: GrpcState<O>): void => {
  const isClosing = self.phase === "Leaving" || self.phase === "Lost"
  if (isClosing && self.role === "client" && !hasStreams(self)) {
    close(self, "NO_ERROR", "", self.goaway)
  }
}
