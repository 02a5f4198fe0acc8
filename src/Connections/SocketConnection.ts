/** A connection on a socket: reads, writes, and asks whether the peer is there. The protocol is for others to say. */
import * as Effect from "effect/Effect"
import * as Deferred from "../effect/Deferred.js"
import type { Door } from "../Transport/internal/boundary.js"
import * as Idle from "./Idle.js"
import * as Liveness from "./Liveness.js"
import * as Progress from "./Progress.js"
import * as SocketReader from "./SocketReader.js"
import {
  checkIdle,
  fail,
  finish,
  isEnded,
  type Options,
  onFault,
  type SocketState,
  type Source
} from "./SocketState.js"
import * as SocketWriter from "./SocketWriter.js"

/** The payloads of the PINGs behind what asks a peer to go, and of those that ask whether it is there. */
const retirePing = 1n
const keepalivePing = 0n

/** What an honest peer can leave unread: an answer for each of its calls, and what it may have cancelled since. */
const maxUnread = ({ maxConcurrentStreams, maxMetadataSize }: Options<string>["limits"]): number =>
  2 * maxConcurrentStreams * (2 * maxMetadataSize + 32 * 1024) + 1024 * 1024 + 2 * SocketWriter.writeChunkBytes

/** Asks the peer whether it is there, unless that is asked already or it was heard of in so many milliseconds. */
export const probe = <R extends string>({ liveness, protocol }: SocketState<R>, silence: number): void => {
  if (Liveness.shouldPing(liveness, silence, performance.now())) {
    protocol.ping(keepalivePing)
  }
}

/** The peer has answered a PING. */
export const onPong = <R extends string>({ liveness, retired }: SocketState<R>, payload: bigint): void => {
  liveness.pingSince = undefined
  if (payload === retirePing) {
    Deferred.doneUnsafe(retired, Effect.void)
  }
}

/** Asks the peer to begin no more calls: what it began before that is there when `retired` completes. */
export const askToGo = <R extends string>({ protocol, writer }: SocketState<R>): void => {
  protocol.retire()
  protocol.ping(retirePing)
  writer.flush()
}

/** Something of the peer's cost work and brought nothing: it has one budget a second for that, whoever finds it out. */
export const useless = <R extends string>(self: SocketState<R>): void => {
  try {
    self.protocol.useless(performance.now())
  } catch (cause) {
    fail(self, "engine", cause)
  }
}

/** What has to happen in time: the end of a frame, and the answer to a ping. */
const onTimer = <R extends string>(self: SocketState<R>): void => {
  const { events, liveness, protocol, socket, writer } = self
  const now = performance.now()
  const verdict = Liveness.check(liveness, now, events.mayPing())
  if (verdict === "FrameTimeout" || verdict === "PingTimeout") {
    onFault(self, verdict)
    return
  }
  if (verdict === "Ping") {
    protocol.ping(keepalivePing)
    writer.flush()
  }
  events.onTimer(now)
  if (socket.writableLength === 0) {
    protocol.trim()
  }
}

/** Ends the connection for what `f` throws. */
const guard = <R extends string>(self: SocketState<R>, door: Door, f: (self: SocketState<R>) => void): void => {
  try {
    f(self)
  } catch (cause) {
    fail(self, door, cause)
  }
}

/** A connection that does not read yet. Its callbacks are not called before `start`. */
export const make = <R extends string>({
  budget,
  limits,
  source: { read, socket },
  times,
  ...options
}: Options<R>): SocketState<R> => {
  const { events, protocol } = options
  const liveness = Liveness.make(times, performance.now())
  const writer = SocketWriter.make({
    socket,
    source: protocol,
    maxBufferedBytes: maxUnread(limits),
    isEnded: () => isEnded(self),
    onWritten: events.onWritten,
    onOverflow: () => onFault(self, "NotReading"),
    onThrown: (cause) => fail(self, "socket", cause)
  })
  const timer = setInterval(() => guard(self, "timer", onTimer), Liveness.period(liveness))
  timer.unref()

  const self: SocketState<R> = {
    ...options,
    socket,
    liveness,
    progress: Progress.make(),
    writer,
    // Each chunk of a socket that emits data is this end's own.
    reader: SocketReader.make({
      socket,
      peer: options.peer,
      protocol,
      liveness,
      writer,
      mayKeep: read === undefined,
      isEnded: () => isEnded(self),
      onReceived: events.onReceived,
      onThrown: (cause) => fail(self, "socket", cause)
    }),
    account: budget?.open(() => onFault(self, "Overloaded")),
    ready: Deferred.makeUnsafe(),
    lost: Deferred.makeUnsafe(),
    ended: Deferred.makeUnsafe(),
    closed: Deferred.makeUnsafe(),
    retired: Deferred.makeUnsafe(),
    idle: Idle.make(
      () => isEnded(self) || (!events.isBusy() && protocol.buffered() === 0 && socket.writableLength === 0),
      writer.schedule
    ),
    timer,
    onLastLeft: () => guard(self, "socket", checkIdle),
    phase: "Open",
    goaway: undefined
  }
  return self
}

const onHangUp = <R extends string>(self: SocketState<R>): void =>
  finish(self, self.goaway ?? { reason: "Disconnected", text: "", refusedBy: "remote" })

/** Reads and writes from now on. */
export const start = <R extends string>(self: SocketState<R>, { read, socket }: Source): void => {
  const { closed, reader, writer } = self
  const onEnd = () => guard(self, "socket", onHangUp)
  socket.on("drain", writer.write)
  socket.on("close", () => {
    onEnd()
    Deferred.doneUnsafe(closed, Effect.void)
  })
  socket.on("end", onEnd)
  if (read === undefined) {
    socket.on("data", reader.onData)
  } else {
    read(reader.onData)
  }
  writer.flush()
}
