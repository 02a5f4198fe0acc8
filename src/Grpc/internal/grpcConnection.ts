/** A connection of GrpcLive: HTTP/2 on a socket, and the streams on it. */
import type * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Deadlines from "../../Calls/Deadlines.js"
import * as GrpcCompression from "../../Calls/GrpcCompression.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as Idle from "../../Connections/Idle.js"
import * as Liveness from "../../Connections/Liveness.js"
import type { MemoryBudget } from "../../Connections/MemoryBudget.js"
import * as Progress from "../../Connections/Progress.js"
import * as SocketWriter from "../../Connections/SocketWriter.js"
import * as Deferred from "../../effect/Deferred.js"
import * as Http2Connection from "../../protocol/http2/Http2Connection.js"
import { type Http2Code, Http2Violation, nameOf } from "../../protocol/http2/Http2Error.js"
import * as Rate from "../../protocol/Rate.js"
import { type Boundary, escapeText } from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../GrpcOptions.js"
import { type Link, maxHeaderListSize, type Streams } from "./grpcLink.js"
import * as Reading from "./grpcReading.js"
import * as State from "./grpcState.js"
import * as PingStrikes from "./pingStrikes.js"

/** Logs an end that nobody wished. */
export const logEnd = (boundary: Boundary, { reason, refusedBy, text }: State.End, peer: string): void => {
  if (reason !== "NO_ERROR" && reason !== "Disconnected") {
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

export interface GrpcConnection<S> {
  readonly streams: S
  /** Completes when the peer's SETTINGS have come; fails with the end of the connection. */
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
  /** Takes no more streams, and lets those that are open end. */
  readonly goaway: () => void
  /** Asks the peer to begin no more calls, and completes when it has received that. Those that it began are taken. */
  readonly retire: Effect.Effect<void>
  /** Completes when no stream is open and no bytes under way, and when the connection ends. */
  readonly idle: Effect.Effect<void>
  readonly close: (code: Http2Code, text: string) => void
}

/** The payloads of the PINGs behind a GOAWAY that asks a peer to go, and of those that ask whether it lives. */
const retirePing = 1n
const keepalivePing = 0n

/** How long a frame that is not DATA, or a header block, may take: one is small, and sent in one piece. In milliseconds. */
const frameTimeout = 10_000

/** What an honest peer can leave unread: an answer for each of its calls, and what it may have cancelled since. */
const maxBufferedBytes = ({ maxConcurrentStreams, maxMetadataSize }: Settings): number =>
  2 * maxConcurrentStreams * (2 * maxMetadataSize + 32 * 1024) + 1024 * 1024 + 2 * SocketWriter.writeChunkBytes

/** What a window has 31 bits for. */
const maxWindow = 2 ** 31 - 1

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

/** What has to happen in time: the end of a frame, and the answer to a ping. */
const onTimer = <O>(self: State.GrpcState<O>, mayPing: boolean) => {
  const { http2, liveness, socket, writer } = self
  const verdict = Liveness.check(liveness, performance.now(), mayPing)
  if (verdict === "FrameTimeout") {
    return State.close(self, "ENHANCE_YOUR_CALM", "a frame was not finished in time")
  }
  if (verdict === "PingTimeout") {
    return State.close(self, "NO_ERROR", "no answer to a ping")
  }
  if (verdict === "Ping") {
    http2.ping(keepalivePing)
    writer.flush()
  }
  if (socket.writableLength === 0) {
    http2.trim()
  }
}

const leave = <O>(self: State.GrpcState<O>) => {
  State.lose(self, "Leaving")
  State.closeWhenIdle(self)
}

export interface Options<O, S extends Streams<O>> {
  readonly source: Source
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

export const make = <O, S extends Streams<O>>({
  boundary,
  budget,
  keepaliveTime,
  makeStreams,
  name,
  peer,
  role,
  settings,
  source: { read, socket }
}: Options<O, S>): GrpcConnection<S> => {
  const retired = Deferred.makeUnsafe<void>()
  const closed = Deferred.makeUnsafe<void>()
  const kept = GrpcReceiving.makeKept()
  const backlog = { size: 0 }
  const strikes = role === "server" ? PingStrikes.make(Duration.toMillis(settings.keepaliveTime)) : undefined
  const isUselessRateOver = Rate.make(settings.maxUselessRate)

  const events: Http2Connection.Events<O> = {
    onSettings: () => {
      self.hasSettings = true
    },
    onRequest: (stream, head) => {
      link.progress.answered()
      Reading.onRequest(reading)
      streams.onRequest(stream, head)
    },
    onResponse: (stream, head) => streams.onResponse(stream, head),
    onTooLarge: (stream, isTrailers) => streams.onTooLarge(stream, isTrailers),
    onData: (stream, bytes) => streams.onData(stream, bytes),
    onTrailers: (stream, fields) => streams.onTrailers(stream, fields),
    onEnd: (stream) => streams.onEnd(stream),
    onReset: (stream, code, by, text) => streams.onReset(stream, code, by, text),
    onPing: (now) => {
      if (strikes?.(now) === false) {
        throw new Http2Violation("ENHANCE_YOUR_CALM", "too_many_pings")
      }
    },
    onPong: (payload) => {
      self.liveness.pingSince = undefined
      if (payload === retirePing) {
        Deferred.doneUnsafe(retired, Effect.void)
      }
    },
    onGoaway: (last, code, text) => {
      const reason = nameOf(code) ?? "INTERNAL_ERROR"
      self.goaway = { reason, text, refusedBy: "remote" }
      streams.onGoaway(last, reason, text)
      State.lose(self, "Lost")
    },
    // What readers leave unread is less, however many they are: messages up to the budget, the windows of their streams,
    // which grow by as much again, and one message.
    isFull: () =>
      kept.unread + backlog.size >
      2 * settings.connectionWindow +
        settings.streamWindow * (http2.openCount() + http2.theirs()) +
        settings.maxReceiveMessageSize
  }
  const http2 = Http2Connection.make<O>(role, limitsOf(settings), events)

  const liveness = Liveness.make(
    {
      keepaliveTime,
      keepaliveTimeout: Duration.toMillis(settings.keepaliveTimeout),
      frameTimeout
    },
    performance.now()
  )

  const writer = SocketWriter.make({
    socket,
    source: http2,
    maxBufferedBytes: maxBufferedBytes(settings),
    isEnded: () => State.isEnded(self),
    onWritten: () => {
      link.account()
      streams.onRoom()
      if (http2.isExhausted()) {
        State.lose(self, "Lost")
      }
      State.closeWhenIdle(self)
      State.checkIdle(self)
    },
    onOverflow: () => State.close(self, "ENHANCE_YOUR_CALM", "the peer does not read what it asked for"),
    onThrown: (cause) => State.fail(self, "socket", cause)
  })

  const unsent = () => http2.unsent() + link.compression.pending()

  const link: Link<O> = {
    settings,
    http2,
    compression: GrpcCompression.make({ flush: writer.flush, onThrown: (cause) => State.fail(self, "engine", cause) }),
    kept,
    backlog,
    account: () => {
      self.account?.set(
        kept.unread + kept.unfinished + backlog.size + unsent() + http2.buffered() + socket.writableLength
      )
      const before = http2.buffered()
      http2.replenish()
      if (http2.buffered() > before) {
        writer.flush()
      }
    },
    deadlines: Deadlines.make((cause) => State.fail(self, "timer", cause)),
    progress: Progress.make(),
    peer,
    connection: { peer },
    name,
    boundary,
    probe: () => {
      if (Liveness.shouldPing(liveness, 0, performance.now())) {
        http2.ping(keepalivePing)
      }
    },
    flush: writer.flush,
    useless: () => {
      if (isUselessRateOver(performance.now())) {
        State.close(self, "ENHANCE_YOUR_CALM", `ExcessiveLoad, more than ${settings.maxUselessRate} in a second`)
      }
    },
    onThrown: (cause) => State.fail(self, "engine", cause),
    isLost: () => self.phase !== "Open" || http2.isExhausted()
  }
  const streams = makeStreams(link)

  const mayPing = () => role === "server" || settings.keepaliveWithoutCalls || http2.openCount() > 0
  const timer = setInterval(() => {
    try {
      onTimer(self, mayPing())
    } catch (cause) {
      State.fail(self, "timer", cause)
    }
  }, Liveness.period(liveness))
  timer.unref()

  const self: State.GrpcState<O> = {
    socket,
    role,
    name,
    boundary,
    http2,
    writer,
    link,
    streams,
    liveness,
    account: budget?.open(() =>
      State.close(
        self,
        "ENHANCE_YOUR_CALM",
        "Overloaded, the listener keeps more than it may, and most of it for this connection"
      )
    ),
    ready: Deferred.makeUnsafe(),
    lost: Deferred.makeUnsafe(),
    ended: Deferred.makeUnsafe(),
    idle: Idle.make(() => State.isEnded(self) || State.isIdle(self), writer.schedule),
    timer,
    phase: "Open",
    hasSettings: false,
    goaway: undefined,
    onLastLeft: () =>
      boundary.guard(
        "socket",
        name,
        () => State.checkIdle(self),
        (cause) => State.fail(self, "socket", cause)
      )
  }
  const reading = Reading.make(self, read === undefined)

  const onData = (chunk: Buffer) => Reading.onData(reading, chunk)
  const onEnd = () => {
    try {
      State.finish(self, self.goaway ?? { reason: "Disconnected", text: "", refusedBy: "remote" })
    } catch (cause) {
      State.fail(self, "socket", cause)
    }
  }
  socket.on("drain", writer.write)
  socket.on("close", () => {
    onEnd()
    Deferred.doneUnsafe(closed, Effect.void)
  })
  socket.on("end", onEnd)
  if (read === undefined) {
    socket.on("data", onData)
  } else {
    read(onData)
  }
  writer.flush()

  return {
    streams,
    ready: Deferred.await(self.ready),
    ended: Deferred.await(self.ended),
    closed: Deferred.await(closed),
    lost: Deferred.await(self.lost),
    isLost: link.isLost,
    stalled: link.progress.stalled,
    hasServed: link.progress.hasServed,
    leave: () => leave(self),
    goaway: () => {
      http2.goaway("NO_ERROR", "")
      writer.flush()
    },
    retire: Effect.suspend(() => {
      http2.retire()
      http2.ping(retirePing)
      writer.flush()
      return Effect.race(Deferred.await(retired), Deferred.await(self.ended))
    }),
    idle: self.idle.reached,
    close: (code, text) => State.close(self, code, text)
  }
}
