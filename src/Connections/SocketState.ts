/** What a connection on a socket keeps, whatever its protocol: its phases, and how it ends. */
import type * as Net from "node:net"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Deferred from "../effect/Deferred.js"
import type { Boundary, Door } from "../Transport/internal/boundary.js"
import type { Peer } from "../Transport/Peer.js"
import type { Idle } from "./Idle.js"
import type { Liveness } from "./Liveness.js"
import type { Account, MemoryBudget } from "./MemoryBudget.js"
import type { Progress } from "./Progress.js"
import * as SocketEnd from "./SocketEnd.js"
import type * as SocketReader from "./SocketReader.js"
import type * as SocketWriter from "./SocketWriter.js"

/** What a connection runs on. */
export interface Source {
  readonly socket: Net.Socket
  /** For a socket that emits no data: calls back with each chunk, which is overwritten when the callback returns. */
  readonly read?: (onData: (chunk: Buffer) => void) => void
}

type Phase =
  | "Open"
  /** The peer takes no more calls, or this end can't begin any. */
  | "Lost"
  /** Another connection has taken the place of this one, which begins no more calls. */
  | "Leaving"
  | "Ended"

/** The state machine of the protocol that runs on the socket. */
export interface Protocol<R extends string> extends SocketWriter.Source, SocketReader.Protocol {
  readonly ping: (payload: bigint) => void
  /** Says why the connection ends, or that the peer's new calls are ignored from now on. */
  readonly goaway: (reason: R, text: string) => void
  /** Asks the peer to begin no more calls. Those that come nevertheless are taken. */
  readonly retire: () => void
  /** Counts what cost work and brought nothing; throws where that is too often. */
  readonly useless: (now: number) => void
  /** Lets go of all room that nothing is in. */
  readonly trim: () => void
}

/** Callbacks for what runs on the connection. */
export interface Events<R extends string> {
  /** What came has been read, and the connection has not ended. */
  readonly onReceived: () => void
  /** What there was room for has been written. */
  readonly onWritten: () => void
  readonly onTimer: (now: number) => void
  /** Whether anything runs on the connection. */
  readonly isBusy: () => boolean
  readonly mayPing: () => boolean
  /** No more calls begin here. Those that wait for that fail, and may try another connection. */
  readonly onLeaving: () => void
  /** A client's connection begins no more calls, and none is left. */
  readonly onDone: () => void
  readonly onEnded: (end: SocketEnd.End<R>) => void
}

export interface Options<R extends string> {
  readonly source: Source
  readonly role: "client" | "server"
  /** The target or address of the other end, for errors. */
  readonly name: string
  readonly peer: Peer
  readonly boundary: Boundary
  readonly protocol: Protocol<R>
  readonly dialect: SocketEnd.Dialect<R>
  readonly events: Events<R>
  readonly times: Pick<Liveness, "keepaliveTime" | "keepaliveTimeout" | "frameTimeout">
  readonly limits: { readonly maxConcurrentStreams: number; readonly maxMetadataSize: number }
  readonly budget?: MemoryBudget | undefined
}

export interface SocketState<R extends string> extends Omit<Options<R>, "source" | "times" | "limits" | "budget"> {
  readonly socket: Net.Socket
  readonly liveness: Liveness
  readonly progress: Progress
  readonly writer: SocketWriter.SocketWriter
  readonly reader: SocketReader.SocketReader
  readonly account: Account | undefined
  readonly ready: Deferred.Deferred<void, SocketEnd.End<R>>
  readonly lost: Deferred.Deferred<void>
  readonly ended: Deferred.Deferred<SocketEnd.End<R>>
  /** The socket has closed. */
  readonly closed: Deferred.Deferred<void>
  /** The peer has received that it should go. */
  readonly retired: Deferred.Deferred<void>
  /** Nothing runs on the connection and no bytes are under way. */
  readonly idle: Idle
  readonly timer: NodeJS.Timeout
  readonly onLastLeft: () => void
  phase: Phase
  /** What the peer said when it went away. */
  goaway: SocketEnd.End<R> | undefined
}

export const isEnded = ({ phase }: { readonly phase: Phase }): boolean => phase === "Ended"

/** No more calls begin on the connection. */
export const lose = <R extends string>(self: SocketState<R>, phase: "Lost" | "Leaving"): void => {
  if (self.phase === "Open" || (phase === "Leaving" && self.phase === "Lost")) {
    self.phase = phase
  }
  self.events.onLeaving()
  Deferred.doneUnsafe(self.lost, Effect.void)
}

/** Has no effect on a connection that has ended. */
export const finish = <R extends string>(self: SocketState<R>, end: SocketEnd.End<R>): void => {
  if (isEnded(self)) {
    return
  }
  const { boundary, dialect, events, name, socket } = self
  self.phase = "Ended"
  clearInterval(self.timer)
  self.account?.close()
  // What a call's end throws must not keep the others, and whoever waits for the end of the connection.
  boundary.guard("engine", name, () => events.onEnded(end), constVoid)
  Deferred.doneUnsafe(self.ready, Effect.fail(end))
  Deferred.doneUnsafe(self.lost, Effect.void)
  Deferred.doneUnsafe(self.ended, Effect.succeed(end))
  self.idle.check()
  dialect.hangUp(socket, end)
}

/** Ends the connection and tells the peer why. `end` is the reason where another than that has ended it. */
export const close = <R extends string>(
  self: SocketState<R>,
  reason: R,
  text: string,
  end: SocketEnd.End<R> = { reason, text, refusedBy: "local" }
): void => {
  if (isEnded(self)) {
    return
  }
  const { boundary, name, protocol, socket } = self
  try {
    protocol.goaway(reason, text)
    for (const chunk of protocol.output(0)) {
      socket.write(chunk)
    }
  } catch (cause) {
    boundary.caught("socket", name, cause)
  }
  finish(self, end)
}

/** Ends the connection for what was thrown behind one of its doors. */
export const fail = <R extends string>(self: SocketState<R>, door: Door, cause: unknown): void => {
  const { boundary, dialect, name, socket } = self
  const violation = dialect.violation(cause)
  if (violation !== undefined) {
    close(self, violation.reason, violation.text)
    return
  }
  boundary.caught(door, name, cause)
  const end: SocketEnd.End<R> = { reason: "Internal", text: "internal error", refusedBy: "local" }
  boundary.guard(
    door,
    name,
    () => (dialect.internal === undefined ? finish(self, end) : close(self, dialect.internal, "")),
    () => socket.destroy()
  )
}

/** Ends the connection for what happens to any. */
export const onFault = <R extends string>(self: SocketState<R>, fault: SocketEnd.Fault): void => {
  const [reason, text] = self.dialect.reasonFor(fault, SocketEnd.texts[fault])
  close(self, reason, text)
}

/** Tells those who wait for it that nothing is under way any more. */
export const checkIdle = <R extends string>(self: SocketState<R>): void => {
  self.idle.check()
  if (self.idle.isAwaited() && self.socket.writableLength > 0) {
    self.writer.afterLast(self.onLastLeft)
  }
}

/** Closes a client's connection that begins no more calls once none is left: a peer that goes away waits for that. */
export const closeWhenDone = <R extends string>(self: SocketState<R>): void => {
  const { events, phase, role } = self
  if ((phase === "Leaving" || phase === "Lost") && role === "client" && !events.isBusy()) {
    events.onDone()
  }
}
