/** What a connection of TlsLive keeps, and how it writes and ends. */
import type * as Net from "node:net"
import * as Effect from "effect/Effect"
import type { Idle } from "../../Connections/Idle.js"
import type { Liveness } from "../../Connections/Liveness.js"
import type { Account } from "../../Connections/MemoryBudget.js"
import type { SocketWriter } from "../../Connections/SocketWriter.js"
import * as Deferred from "../../effect/Deferred.js"
import type * as Wire from "../../protocol/wire/Wire.js"
import { Violation } from "../../protocol/wire/Wire.js"
import type { WireConnection } from "../../protocol/wire/WireConnection.js"
import type { Boundary, Door } from "../../Transport/internal/boundary.js"
import { closeSoon, lingeringClose } from "../../Transport/internal/lingeringClose.js"
import type { Incoming } from "./tlsIncoming.js"
import type { Link } from "./tlsLink.js"
import type { Outgoing } from "./tlsOutgoing.js"

/** Why a connection ended. */
export interface End {
  readonly reason: Wire.Reason | "Disconnected" | "Internal"
  readonly text: string
  readonly refusedBy: "local" | "remote"
}

export type Phase =
  | "Open"
  /** The peer takes no more calls. */
  | "Lost"
  /** Another connection has taken the place of this one, which begins no more calls. */
  | "Leaving"
  | "Ended"

export interface TlsState {
  readonly socket: Net.Socket
  readonly role: "client" | "server"
  readonly name: string
  readonly boundary: Boundary
  readonly wire: WireConnection
  readonly link: Link
  readonly outgoing: Outgoing
  readonly incoming: Incoming
  readonly liveness: Liveness
  readonly account: Account | undefined
  readonly ready: Deferred.Deferred<void, End>
  readonly lost: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<End>
  /** The socket is closed. */
  readonly closed: Deferred.Deferred<void>
  /** Nothing is in flight and no bytes are under way. */
  readonly idle: Idle
  /** No call is in flight that was answered here. */
  readonly answered: Idle
  readonly timer: NodeJS.Timeout
  readonly writer: SocketWriter
  phase: Phase
  readonly onLastLeft: () => void
}

export const isEnded = (self: TlsState): boolean => self.phase === "Ended"

/** Has no effect on a connection that has ended. */
export const finish = (self: TlsState, end: End): void => {
  if (isEnded(self)) {
    return
  }
  self.phase = "Ended"
  clearInterval(self.timer)
  self.account?.close()
  self.incoming.interrupt()
  self.outgoing.fail(`the connection ended: ${end.reason}${end.text === "" ? "" : `, ${end.text}`}`)
  self.link.deadlines.stop()
  Deferred.doneUnsafe(self.ready, Effect.fail(end))
  Deferred.doneUnsafe(self.lost, Effect.void)
  Deferred.doneUnsafe(self.ended, Effect.succeed(end))
  self.answered.check()
  self.idle.check()
  if (end.reason === "Shutdown") {
    lingeringClose(self.socket)
  } else {
    closeSoon(self.socket)
  }
}

/** Ends the connection and tells the peer why. */
export const close = (self: TlsState, reason: Wire.Reason, text: string): void => {
  if (isEnded(self)) {
    return
  }
  const { boundary, name, socket, wire } = self
  try {
    wire.goaway(reason, text)
    for (const chunk of wire.output(0)) {
      socket.write(chunk)
    }
  } catch (cause) {
    boundary.caught("socket", name, cause)
  }
  finish(self, { reason, text, refusedBy: "local" })
}

/** Ends the connection for what was thrown behind one of its doors. */
export const fail = (self: TlsState, door: Door, cause: unknown): void => {
  const { boundary, name, socket } = self
  if (cause instanceof Violation) {
    close(self, cause.reason, cause.text)
    return
  }
  boundary.caught(door, name, cause)
  const end: End = { reason: "Internal", text: "internal error", refusedBy: "local" }
  boundary.guard(
    door,
    name,
    () => finish(self, end),
    () => socket.destroy()
  )
}

export const isIdle = ({ incoming, outgoing, socket, wire }: TlsState): boolean =>
  outgoing.size() === 0 && incoming.size() === 0 && wire.buffered() === 0 && socket.writableLength === 0

export const checkIdle = (self: TlsState): void => {
  self.answered.check()
  self.idle.check()
  if (self.idle.isAwaited() && self.socket.writableLength > 0) {
    self.writer.afterLast(self.onLastLeft)
  }
}

/**
 * Closes a connection that takes no more calls once none is left: a peer that goes away waits for that. A peer that has let
 * them time out need not read what is left.
 */
export const closeWhenIdle = (self: TlsState): void => {
  const { incoming, outgoing, phase, role, wire } = self
  const isClosing = phase === "Leaving" || (phase === "Lost" && wire.buffered() === 0)
  if (isClosing && role === "client" && outgoing.size() === 0 && incoming.size() === 0) {
    close(self, "Shutdown", "")
  }
}

/** Counts what is kept for the peer. */
export const account = ({ account, socket, wire }: TlsState): void =>
  account?.set(wire.pendingData() + socket.writableLength)

/** What there was room for has been written. */
export const onWritten = (self: TlsState): void => {
  account(self)
  self.incoming.onRoom()
  closeWhenIdle(self)
  checkIdle(self)
}

/** Sends what one turn of the event loop writes in one write, or in a few if it is much. */
export const flush = ({ writer }: TlsState): void => writer.flush()
