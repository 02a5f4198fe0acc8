/** What a connection of TlsLive keeps, and how it writes and ends. */
import type * as Net from "node:net"
import * as Effect from "effect/Effect"
import type { Idle } from "../../Connections/Idle.js"
import type { Liveness } from "../../Connections/Liveness.js"
import type { Account } from "../../Connections/MemoryBudget.js"
import * as Deferred from "../../effect/Deferred.js"
import type * as Wire from "../../protocol/wire/Wire.js"
import { Violation } from "../../protocol/wire/Wire.js"
import type { WireConnection } from "../../protocol/wire/WireConnection.js"
import type { Boundary, Door } from "../../Transport/internal/boundary.js"
import { lingeringClose } from "../../Transport/internal/lingeringClose.js"
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
  /** What an honest peer can leave unread. */
  readonly maxBufferedBytes: number
  phase: Phase
  /** Whether `onWrite` is called at the end of this turn of the event loop. */
  isScheduled: boolean
  /** What is sent while output is collected goes out with it. */
  isWriting: boolean
  /** Whether the socket was asked to tell when its last byte has left. */
  isLastAsked: boolean
  readonly onWrite: () => void
  readonly onLastLeft: () => void
}

/** Large messages are handed to the socket in chunks of this size, so that small ones written later are not far behind. */
export const writeChunkBytes = 128 * 1024

/** So many bytes don't wait for the end of the turn: the peer works on them while this end goes on. */
const eagerBytes = 4096

const noBytes = new Uint8Array(0)

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
    self.socket.destroySoon()
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
  // A socket says that the last of its bytes has left only to what was written behind them.
  if (self.idle.isAwaited() && self.socket.writableLength > 0 && !self.isLastAsked) {
    self.isLastAsked = true
    self.socket.write(noBytes, self.onLastLeft)
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

export const schedule = (self: TlsState): void => {
  if (!self.isScheduled) {
    self.isScheduled = true
    setImmediate(self.onWrite)
  }
}

/** Counts what is kept for the peer. */
export const account = ({ account, socket, wire }: TlsState): void =>
  account?.set(wire.pendingData() + socket.writableLength)

const writeOutput = (self: TlsState): void => {
  const { incoming, socket, wire } = self
  self.isScheduled = false
  if (isEnded(self) || socket.writableNeedDrain) {
    return
  }
  if (socket.writableLength === 0) {
    wire.reclaim()
  }
  self.isWriting = true
  const chunks = wire.output(writeChunkBytes)
  self.isWriting = false
  const isMany = chunks.length > 1
  let size = 0
  if (isMany) {
    socket.cork()
  }
  for (const chunk of chunks) {
    socket.write(chunk)
    size += chunk.length
  }
  if (isMany) {
    socket.uncork()
  }
  account(self)
  incoming.onRoom()
  if (size >= writeChunkBytes && !socket.writableNeedDrain) {
    schedule(self)
  }
  closeWhenIdle(self)
  checkIdle(self)
}

/** Writes what there is to the socket, unless that is full. */
export const write = (self: TlsState): void => {
  try {
    writeOutput(self)
  } catch (cause) {
    fail(self, "socket", cause)
  }
}

/** Sends what one turn of the event loop writes in one write, or in a few if it is much. */
export const flush = (self: TlsState): void => {
  const { socket, wire } = self
  if (self.isWriting) {
    return
  }
  if (wire.buffered() >= eagerBytes) {
    write(self)
  } else {
    schedule(self)
  }
  if (wire.buffered() + socket.writableLength > self.maxBufferedBytes) {
    close(self, "Timeout", "the peer does not read what it asked for")
  }
}
