/** A connection of GrpcLive: HTTP/2 on a socket, and the streams on it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Deadlines from "../../Calls/Deadlines.js"
import * as GrpcCompression from "../../Calls/GrpcCompression.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import type { MemoryBudget } from "../../Connections/MemoryBudget.js"
import * as SocketConnection from "../../Connections/SocketConnection.js"
import * as SocketEnd from "../../Connections/SocketEnd.js"
import * as SocketHandle from "../../Connections/SocketHandle.js"
import * as SocketState from "../../Connections/SocketState.js"
import * as Deferred from "../../effect/Deferred.js"
import * as Http2Connection from "../../protocol/http2/Http2Connection.js"
import { type Http2Code, Http2Violation, nameOf } from "../../protocol/http2/Http2Error.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import { lingeringClose } from "../../Transport/internal/lingeringClose.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../GrpcOptions.js"
import { type Link, maxHeaderListSize, type Streams } from "./grpcLink.js"
import * as PingStrikes from "./pingStrikes.js"

type Self = SocketState.SocketState<Http2Code>

export type End = SocketEnd.End<Http2Code>

export interface GrpcConnection<S> extends SocketHandle.SocketHandle<Http2Code> {
  readonly streams: S
}

/** How long a frame that is not DATA, or a header block, may take: one is small, and sent in one piece. In milliseconds. */
const frameTimeout = 10_000

/** What a window has 31 bits for. */
const maxWindow = 2 ** 31 - 1

const dialect: SocketEnd.Dialect<Http2Code> = {
  reasonFor: (fault, text) =>
    fault === "PingTimeout"
      ? ["NO_ERROR", text]
      : ["ENHANCE_YOUR_CALM", fault === "Overloaded" ? `${fault}, ${text}` : text],
  violation: (cause) => (cause instanceof Http2Violation ? { reason: cause.code, text: cause.text } : undefined),
  internal: "INTERNAL_ERROR",
  peaceful: "NO_ERROR",
  hangUp: (socket, { reason }) => {
    if (reason === "Disconnected") {
      socket.destroy()
    } else {
      lingeringClose(socket)
    }
  }
}

/** Logs an end that nobody wished. */
export const logEnd = (boundary: Boundary, end: End, peer: string): void =>
  SocketEnd.log(boundary, end, peer, dialect.peaceful)

const limitsOf = (settings: Settings): Http2Connection.Limits => ({
  maxConcurrentStreams: settings.maxConcurrentStreams,
  maxHeaderListSize: maxHeaderListSize(settings),
  streamWindow: settings.streamWindow,
  maxStreamWindow: Math.min(maxWindow, Math.max(settings.streamWindow, settings.connectionWindow)),
  connectionWindow: Math.min(maxWindow, settings.connectionWindow),
  maxCallRate: settings.maxCallRate,
  maxCancelRate: settings.maxCancelRate,
  maxPingRate: settings.maxPingRate,
  maxUselessRate: settings.maxUselessRate
})

export interface Options<O, S extends Streams<O>> {
  readonly source: SocketState.Source
  readonly role: "client" | "server"
  readonly name: string
  readonly peer: Peer
  readonly settings: Settings
  readonly boundary: Boundary
  readonly makeStreams: (link: Link<O>) => S
  readonly budget?: MemoryBudget | undefined
  /** The time between pings of a silent connection, in milliseconds. */
  readonly keepaliveTime: number
}

/** What HTTP/2 hears from the peer goes to the streams and to the connection, which begin later. */
const eventsOf = <O>(
  { role, settings }: Pick<Options<O, Streams<O>>, "role" | "settings">,
  streams: () => Streams<O>,
  connection: () => Self,
  isFull: () => boolean
): Http2Connection.Events<O> => {
  const strikes = role === "server" ? PingStrikes.make(Duration.toMillis(settings.keepaliveTime)) : undefined
  return {
    onSettings: constVoid,
    onRequest: (stream, head) => {
      connection().progress.answered()
      streams().onRequest(stream, head)
    },
    onResponse: (stream, head) => streams().onResponse(stream, head),
    onTooLarge: (stream, isTrailers) => streams().onTooLarge(stream, isTrailers),
    onData: (stream, bytes) => streams().onData(stream, bytes),
    onTrailers: (stream, fields) => streams().onTrailers(stream, fields),
    onEnd: (stream) => streams().onEnd(stream),
    onReset: (stream, code, by, text) => streams().onReset(stream, code, by, text),
    onPing: (now) => {
      if (strikes?.(now) === false) {
        throw new Http2Violation("ENHANCE_YOUR_CALM", "too_many_pings")
      }
    },
    onPong: (payload) => SocketConnection.onPong(connection(), payload),
    onGoaway: (last, code, text) => {
      const self = connection()
      const reason = nameOf(code) ?? "INTERNAL_ERROR"
      self.goaway = { reason, text, refusedBy: "remote" }
      streams().onGoaway(last, reason, text)
      SocketState.lose(self, "Lost")
    },
    isFull
  }
}

export const make = <O, S extends Streams<O>>(options: Options<O, S>): GrpcConnection<S> => {
  const { boundary, keepaliveTime, makeStreams, name, peer, role, settings, source } = options
  const kept = GrpcReceiving.makeKept()
  const backlog = { size: 0 }
  // What readers leave unread is less, however many they are: messages up to the budget, the windows of their streams,
  // which grow by as much again, and one message.
  const isFull = (): boolean =>
    kept.unread + backlog.size >
    2 * settings.connectionWindow +
      settings.streamWindow * (http2.openCount() + http2.theirs()) +
      settings.maxReceiveMessageSize
  const http2: Http2Connection.Http2Connection<O> = Http2Connection.make<O>(
    role,
    limitsOf(settings),
    eventsOf(
      options,
      () => streams,
      () => self,
      isFull
    )
  )
  const self: Self = SocketConnection.make<Http2Code>({
    source,
    role,
    name,
    peer,
    boundary,
    protocol: http2,
    dialect,
    limits: settings,
    budget: options.budget,
    times: { keepaliveTime, keepaliveTimeout: Duration.toMillis(settings.keepaliveTimeout), frameTimeout },
    events: {
      onReceived: () => {
        // A listener that refuses this end sends its GOAWAY right behind its SETTINGS.
        if (self.goaway === undefined && http2.peerSettings() !== undefined) {
          Deferred.doneUnsafe(self.ready, Effect.void)
        }
        link.account()
        SocketState.closeWhenDone(self)
        SocketState.checkIdle(self)
      },
      onWritten: () => {
        link.account()
        streams.onRoom()
        if (http2.isExhausted()) {
          SocketState.lose(self, "Lost")
        }
        SocketState.closeWhenDone(self)
        SocketState.checkIdle(self)
      },
      onTimer: constVoid,
      isBusy: () => http2.openCount() > 0 || http2.theirs() > 0 || streams.size() > 0,
      mayPing: () => role === "server" || settings.keepaliveWithoutCalls || http2.openCount() > 0,
      onLeaving: () => streams.onLeaving(),
      onDone: () => SocketState.close(self, "NO_ERROR", "", self.goaway),
      onEnded: (end) => {
        try {
          streams.onLost(SocketEnd.describe(end))
        } finally {
          link.deadlines.stop()
        }
      }
    }
  })
  const { flush } = self.writer
  const onThrown = (cause: unknown) => SocketState.fail(self, "engine", cause)

  const link: Link<O> = {
    settings,
    http2,
    compression: GrpcCompression.make({ flush, onThrown }),
    kept,
    backlog,
    account: () => {
      const { account, socket } = self
      const before = http2.buffered()
      const unsent = http2.unsent() + link.compression.pending()
      account?.set(kept.unread + kept.unfinished + backlog.size + unsent + before + socket.writableLength)
      http2.replenish()
      if (http2.buffered() > before) {
        flush()
      }
    },
    deadlines: Deadlines.make((cause) => SocketState.fail(self, "timer", cause)),
    progress: self.progress,
    peer,
    connection: { peer },
    name,
    boundary,
    probe: () => SocketConnection.probe(self, 0),
    flush,
    useless: () => SocketConnection.useless(self),
    onThrown,
    isLost: () => self.phase !== "Open" || http2.isExhausted()
  }
  const streams = makeStreams(link)
  SocketConnection.start(self, source)
  return { ...SocketHandle.make(self), streams, isLost: link.isLost }
}
