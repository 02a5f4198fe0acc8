/** A connection of TlsLive: the state machine of docs/wire.md on a socket, and the calls both ways on it. */
import type * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Deadlines from "../../Calls/Deadlines.js"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import * as Idle from "../../Connections/Idle.js"
import * as Liveness from "../../Connections/Liveness.js"
import type { MemoryBudget } from "../../Connections/MemoryBudget.js"
import * as Progress from "../../Connections/Progress.js"
import * as SocketWriter from "../../Connections/SocketWriter.js"
import * as Deferred from "../../effect/Deferred.js"
import type * as Wire from "../../protocol/wire/Wire.js"
import * as WireConnection from "../../protocol/wire/WireConnection.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Connection } from "../../Transport/Connection.js"
import { type Boundary, escapeText } from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../TlsOptions.js"
import * as TlsIncoming from "./tlsIncoming.js"
import type { Link } from "./tlsLink.js"
import * as TlsOutgoing from "./tlsOutgoing.js"
import * as Receiving from "./tlsReceiving.js"
import * as State from "./tlsState.js"

/** Logs an end that nobody wished. */
export const logEnd = (boundary: Boundary, { reason, refusedBy, text }: State.End, peer: string): void => {
  if (reason !== "Shutdown" && reason !== "Disconnected") {
    boundary.log(
      LogLevel.Warning,
      `ended ${refusedBy} ${reason}`,
      `the connection with ${peer} ended: ${reason}, ${escapeText(text)} (${refusedBy})`
    )
  }
}

/** What a connection runs on. */
export interface Source {
  readonly socket: Net.Socket
  /** For a socket that emits no data: calls back with each chunk, which is overwritten when the callback returns. */
  readonly read?: (onData: (chunk: Buffer) => void) => void
}

export interface TlsConnection {
  /** The calls that this end opens. */
  readonly connection: Connection
  /** The connection as the handlers of the peer's calls see it. */
  readonly callConnection: CallConnection
  /** Completes when the peer has accepted this end; fails with the end of the connection. */
  readonly ready: Effect.Effect<void, State.End>
  /** Completes when the peer takes no more calls. */
  readonly lost: Effect.Effect<void>
  readonly isLost: () => boolean
  /** Completes when this end's calls do nothing but time out; may be awaited again. */
  readonly stalled: Effect.Effect<void>
  /** Whether a call has been answered, or accepted, on this connection. */
  readonly hasServed: () => boolean
  /** Begins no more calls, and closes when those in flight have ended. */
  readonly leave: () => void
  readonly ended: Effect.Effect<State.End>
  /** Completes when the socket has closed after the end, for which it waits a second for a peer that is still sending. */
  readonly closed: Effect.Effect<void>
  /** Takes no more calls, and lets those in flight end. */
  readonly goaway: () => void
  /** Asks the peer to begin no more calls, and completes when it has received that. Those that it began are taken. */
  readonly retire: Effect.Effect<void>
  /** Completes when no calls are in flight and no bytes under way, and when the connection ends. */
  readonly idle: Effect.Effect<void>
  /** Completes when no call is in flight that was answered here, and when the connection ends. */
  readonly answered: Effect.Effect<void>
  /** Cancels this end's calls. */
  readonly cancelAll: () => void
  readonly close: (reason: Wire.Reason, text: string) => void
}

/** The payload of the PING behind a GOAWAY that asks a peer to go: what it opened before that is there when it answers. */
const retirePing = 1n

/** What an honest peer can leave unread: an answer for each of its calls, and what it may have cancelled since. */
const maxBufferedBytes = ({ maxConcurrentStreams, maxMetadataSize }: Settings): number =>
  2 * maxConcurrentStreams * (2 * maxMetadataSize + 32 * 1024) + 1024 * 1024 + 2 * SocketWriter.writeChunkBytes

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

/** What has to happen in time: the end of a frame, of a message, and the answer to a ping. */
const onTimer = (self: State.TlsState, messageTimeout: number) => {
  const { liveness, socket, wire } = self
  const now = performance.now()
  const verdict = Liveness.check(liveness, now)
  if (verdict === "FrameTimeout") {
    return State.close(self, "Timeout", "a frame was not finished in time")
  }
  if (verdict === "PingTimeout") {
    return State.close(self, "Timeout", "no answer to a ping")
  }
  if (verdict === "Ping") {
    wire.ping(0n)
    State.flush(self)
  }
  wire.expire(now, messageTimeout)
  State.flush(self)
  if (socket.writableLength === 0) {
    wire.trim()
  }
}

const leave = (self: State.TlsState) => {
  if (!State.isEnded(self)) {
    self.phase = "Leaving"
  }
  Deferred.doneUnsafe(self.lost, Effect.void)
  State.closeWhenIdle(self)
}

export const make = (
  { read, socket }: Source,
  role: "client" | "server",
  name: string,
  peer: Peer,
  settings: Settings,
  server: ServerCalls.Server,
  budget?: MemoryBudget
): TlsConnection => {
  const { boundary } = server
  const retired = Deferred.makeUnsafe<void>()
  const mine = role === "client" ? 1 : 0

  const events: WireConnection.Events = {
    onSettings: () => {
      Deferred.doneUnsafe(self.ready, Effect.void)
    },
    onOpen: (id, open) => {
      link.progress.answered()
      Receiving.onOpen(receiving)
      incoming.onOpen(id, open)
    },
    onMessage: (id, message, cost, costOnConnection) =>
      id % 2 === mine
        ? outgoing.onMessage(id, message, cost, costOnConnection)
        : incoming.onMessage(id, message, cost, costOnConnection),
    onHalfClose: (id) => incoming.onHalfClose(id),
    onHeaders: (id, headers) => outgoing.onHeaders(id, headers),
    onReply: (id, reply) => outgoing.onReply(id, reply),
    onTrailers: (id, trailers) => outgoing.onTrailers(id, trailers),
    onCancel: (id) => incoming.onCancel(id),
    onDropped: (id, reason) => (id % 2 === mine ? outgoing.onDropped(id, reason) : incoming.onDropped(id, reason)),
    onPong: (payload) => {
      self.liveness.pingSince = undefined
      if (payload === retirePing) {
        Deferred.doneUnsafe(retired, Effect.void)
      }
    },
    onGoaway: (goaway) => {
      if (self.phase === "Open") {
        self.phase = "Lost"
      }
      outgoing.onGoaway(goaway)
      Deferred.doneUnsafe(self.lost, Effect.void)
      if (goaway.reason !== "Shutdown") {
        State.finish(self, { reason: goaway.reason, text: goaway.text, refusedBy: "remote" })
      }
    }
  }
  const wire = WireConnection.make(role, limitsOf(settings), events)

  const link: Link = {
    settings,
    wire,
    peer,
    isAccepted: role === "server",
    connection: { peer },
    name,
    deadlines: Deadlines.make((cause) => State.fail(self, "timer", cause)),
    progress: Progress.make(),
    probe: (timeout) => {
      if (Liveness.shouldPing(self.liveness, timeout, performance.now())) {
        wire.ping(0n)
      }
    },
    flush: () => State.flush(self),
    useless: () => {
      try {
        wire.useless(performance.now())
      } catch (cause) {
        State.fail(self, "engine", cause)
      }
    },
    boundary,
    onThrown: (cause) => State.fail(self, "engine", cause),
    isClosed: () => State.isEnded(self)
  }
  const outgoing = TlsOutgoing.make(link)
  const incoming = TlsIncoming.make(link, server)

  const liveness = Liveness.make(
    {
      keepaliveTime: Duration.toMillis(settings.keepaliveTime),
      keepaliveTimeout: Duration.toMillis(settings.keepaliveTimeout),
      frameTimeout: Duration.toMillis(settings.frameTimeout)
    },
    performance.now()
  )
  const messageTimeout = Duration.toMillis(settings.messageTimeout)
  const timer = setInterval(() => {
    try {
      onTimer(self, messageTimeout)
    } catch (cause) {
      State.fail(self, "timer", cause)
    }
  }, Liveness.period(liveness))
  timer.unref()

  const writer = SocketWriter.make({
    socket,
    source: wire,
    maxBufferedBytes: maxBufferedBytes(settings),
    isEnded: () => State.isEnded(self),
    onWritten: () => State.onWritten(self),
    onOverflow: () => State.close(self, "Timeout", "the peer does not read what it asked for"),
    onThrown: (cause) => State.fail(self, "socket", cause)
  })

  const self: State.TlsState = {
    socket,
    role,
    name,
    boundary,
    wire,
    link,
    outgoing,
    incoming,
    liveness,
    account: budget?.open(() =>
      State.close(self, "Overloaded", "the listener keeps more than it may, and most of it for this connection")
    ),
    ready: Deferred.makeUnsafe(),
    lost: Deferred.makeUnsafe(),
    ended: Deferred.makeUnsafe(),
    closed: Deferred.makeUnsafe(),
    idle: Idle.make(() => State.isEnded(self) || State.isIdle(self), writer.schedule),
    answered: Idle.make(() => State.isEnded(self) || !incoming.isAnswering()),
    timer,
    writer,
    phase: "Open",
    onLastLeft: () =>
      boundary.guard(
        "socket",
        name,
        () => State.checkIdle(self),
        (cause) => State.fail(self, "socket", cause)
      )
  }
  // Each chunk of a socket that emits data is this end's own.
  const receiving = Receiving.make(self, read === undefined)

  const onData = (chunk: Buffer) => Receiving.onData(receiving, chunk)
  const onEnd = () => {
    try {
      State.finish(self, { reason: "Disconnected", text: "", refusedBy: "remote" })
    } catch (cause) {
      State.fail(self, "socket", cause)
    }
  }
  socket.on("drain", writer.write)
  socket.on("close", () => {
    onEnd()
    Deferred.doneUnsafe(self.closed, Effect.void)
  })
  socket.on("end", onEnd)
  if (read === undefined) {
    socket.on("data", onData)
  } else {
    read(onData)
  }
  State.flush(self)

  return {
    connection: outgoing.connection,
    callConnection: link.connection,
    ready: Deferred.await(self.ready),
    ended: Deferred.await(self.ended),
    closed: Deferred.await(self.closed),
    lost: Deferred.await(self.lost),
    isLost: () => self.phase !== "Open",
    stalled: link.progress.stalled,
    hasServed: link.progress.hasServed,
    leave: () => leave(self),
    goaway: () => {
      wire.goaway("Shutdown", "")
      State.flush(self)
    },
    retire: Effect.suspend(() => {
      wire.retire()
      wire.ping(retirePing)
      State.flush(self)
      return Effect.race(Deferred.await(retired), Deferred.await(self.ended))
    }),
    idle: self.idle.reached,
    answered: self.answered.reached,
    cancelAll: outgoing.cancelAll,
    close: (reason, text) => State.close(self, reason, text)
  }
}
