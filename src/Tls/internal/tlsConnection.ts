/** A connection of TlsLive: the state machine of docs/wire.md on a socket, and the calls both ways on it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Deadlines from "../../Calls/Deadlines.js"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import * as Idle from "../../Connections/Idle.js"
import type { MemoryBudget } from "../../Connections/MemoryBudget.js"
import * as SocketConnection from "../../Connections/SocketConnection.js"
import * as SocketEnd from "../../Connections/SocketEnd.js"
import * as SocketHandle from "../../Connections/SocketHandle.js"
import * as SocketState from "../../Connections/SocketState.js"
import * as Deferred from "../../effect/Deferred.js"
import * as Wire from "../../protocol/wire/Wire.js"
import * as WireConnection from "../../protocol/wire/WireConnection.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Connection } from "../../Transport/Connection.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import { closeSoon, lingeringClose } from "../../Transport/internal/lingeringClose.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../TlsOptions.js"
import * as TlsIncoming from "./tlsIncoming.js"
import type { Link } from "./tlsLink.js"
import * as TlsOutgoing from "./tlsOutgoing.js"

type Self = SocketState.SocketState<Wire.Reason>

export type End = SocketEnd.End<Wire.Reason>

export interface TlsConnection extends SocketHandle.SocketHandle<Wire.Reason> {
  /** The calls that this end opens. */
  readonly connection: Connection
  /** The connection as the handlers of the peer's calls see it. */
  readonly callConnection: CallConnection
  /** Completes when no call is in flight that was answered here, and when the connection ends. */
  readonly answered: Effect.Effect<void>
  /** Asks the peer to begin no more calls, and completes when no call is in flight, of either end. */
  readonly drainPeer: Effect.Effect<void>
  /** Cancels this end's calls. */
  readonly cancelAll: () => void
}

const dialect: SocketEnd.Dialect<Wire.Reason> = {
  reasonFor: (fault, text) => [fault === "Overloaded" ? "Overloaded" : "Timeout", text],
  violation: (cause) => (cause instanceof Wire.Violation ? { reason: cause.reason, text: cause.text } : undefined),
  internal: undefined,
  peaceful: "Shutdown",
  hangUp: (socket, { reason }) => {
    if (reason === "Shutdown") {
      lingeringClose(socket)
    } else {
      closeSoon(socket)
    }
  }
}

/** Logs an end that nobody wished. */
export const logEnd = (boundary: Boundary, end: End, peer: string): void =>
  SocketEnd.log(boundary, end, peer, dialect.peaceful)

const limitsOf = (settings: Settings): WireConnection.Limits => ({
  maxMessageSize: settings.maxReceiveMessageSize,
  maxMetadataSize: settings.maxMetadataSize,
  maxCalls: settings.maxConcurrentStreams,
  streamWindow: settings.streamWindow,
  connectionWindow: settings.connectionWindow,
  maxCallRate: settings.maxCallRate,
  maxCancelRate: settings.maxCancelRate,
  maxPingRate: settings.maxPingRate,
  maxUselessRate: settings.maxUselessRate
})

/** The calls of both ends. */
interface Calls {
  readonly outgoing: TlsOutgoing.Outgoing
  readonly incoming: TlsIncoming.Incoming
}

/** What the state machine hears from the peer goes to the calls and to the connection, which begin later. */
const eventsOf = (role: "client" | "server", calls: () => Calls, connection: () => Self): WireConnection.Events => {
  const mine = role === "client" ? 1 : 0
  const outgoing = () => calls().outgoing
  const incoming = () => calls().incoming
  return {
    onSettings: () => Deferred.doneUnsafe(connection().ready, Effect.void),
    onOpen: (id, open) => {
      connection().progress.answered()
      incoming().onOpen(id, open)
    },
    onMessage: (id, message, cost, costOnConnection) =>
      (id % 2 === mine ? outgoing() : incoming()).onMessage(id, message, cost, costOnConnection),
    onHalfClose: (id) => incoming().onHalfClose(id),
    onHeaders: (id, headers) => outgoing().onHeaders(id, headers),
    onReply: (id, reply) => outgoing().onReply(id, reply),
    onTrailers: (id, trailers) => outgoing().onTrailers(id, trailers),
    onCancel: (id) => incoming().onCancel(id),
    onDropped: (id, reason) => (id % 2 === mine ? outgoing() : incoming()).onDropped(id, reason),
    onPong: (payload) => SocketConnection.onPong(connection(), payload),
    onGoaway: (goaway) => {
      const self = connection()
      if (self.phase === "Open") {
        self.phase = "Lost"
      }
      outgoing().onGoaway(goaway)
      SocketState.lose(self, "Lost")
      if (goaway.reason !== "Shutdown") {
        SocketState.finish(self, { reason: goaway.reason, text: goaway.text, refusedBy: "remote" })
      }
    }
  }
}

export const make = (
  source: SocketState.Source,
  role: "client" | "server",
  name: string,
  peer: Peer,
  settings: Settings,
  server: ServerCalls.Server,
  budget?: MemoryBudget
): TlsConnection => {
  const { boundary } = server
  const messageTimeout = Duration.toMillis(settings.messageTimeout)
  const wire = WireConnection.make(
    role,
    limitsOf(settings),
    eventsOf(
      role,
      () => calls,
      () => self
    )
  )
  const isBusy = () => calls.outgoing.size() > 0 || calls.incoming.size() > 0
  /** Counts what is kept for the peer. */
  const account = () => self.account?.set(wire.pendingData() + self.socket.writableLength)

  const self: Self = SocketConnection.make<Wire.Reason>({
    source,
    role,
    name,
    peer,
    boundary,
    protocol: wire,
    dialect,
    limits: settings,
    budget,
    times: {
      keepaliveTime: Duration.toMillis(settings.keepaliveTime),
      keepaliveTimeout: Duration.toMillis(settings.keepaliveTimeout),
      frameTimeout: Duration.toMillis(settings.frameTimeout)
    },
    events: {
      onReceived: account,
      onWritten: () => {
        account()
        calls.incoming.onRoom()
        SocketState.closeWhenDone(self)
        answered.check()
        SocketState.checkIdle(self)
      },
      onTimer: (now) => {
        wire.expire(now, messageTimeout)
        self.writer.flush()
      },
      isBusy,
      mayPing: () => true,
      onLeaving: () => calls.outgoing.onLeaving(),
      // A peer that has let the calls time out need not read what is left.
      onDone: () => {
        if (self.phase === "Leaving" || wire.buffered() === 0) {
          SocketState.close(self, "Shutdown", "")
        }
      },
      onEnded: (end) => {
        try {
          calls.incoming.interrupt()
          calls.outgoing.fail(SocketEnd.describe(end))
        } finally {
          link.deadlines.stop()
          answered.check()
        }
      }
    }
  })
  const { flush } = self.writer
  const answered = Idle.make(() => SocketState.isEnded(self) || !calls.incoming.isAnswering())

  const link: Link = {
    settings,
    wire,
    peer,
    isAccepted: role === "server",
    connection: { peer },
    name,
    deadlines: Deadlines.make((cause) => SocketState.fail(self, "timer", cause)),
    progress: self.progress,
    probe: (timeout) => SocketConnection.probe(self, timeout),
    flush,
    useless: () => SocketConnection.useless(self),
    boundary,
    onThrown: (cause) => SocketState.fail(self, "engine", cause),
    isLost: () => self.phase !== "Open"
  }
  const calls: Calls = { outgoing: TlsOutgoing.make(link), incoming: TlsIncoming.make(link, server) }

  SocketConnection.start(self, source)

  const handle = SocketHandle.make(self)
  return {
    ...handle,
    connection: calls.outgoing.connection,
    callConnection: link.connection,
    answered: answered.reached,
    drainPeer: Effect.zipRight(handle.retire, handle.idle),
    cancelAll: calls.outgoing.cancelAll
  }
}
