/** A connection of TlsLive: the state machine of docs/wire.md on a socket. */
import type * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Deadlines from "../../Calls/Deadlines.js"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import * as Idle from "../../Connections/Idle.js"
import type { MemoryBudget } from "../../Connections/MemoryBudget.js"
import * as Progress from "../../Connections/Progress.js"
import * as Deferred from "../../effect/Deferred.js"
import type * as Wire from "../../protocol/wire/Wire.js"
import { Violation } from "../../protocol/wire/Wire.js"
import * as WireConnection from "../../protocol/wire/WireConnection.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Connection } from "../../Transport/Connection.js"
import { type Boundary, type Door, escapeText } from "../../Transport/internal/boundary.js"
import * as Timers from "../../Transport/internal/timers.js"
import type { Peer } from "../../Transport/Peer.js"
import type { Settings } from "../TlsOptions.js"
import * as TlsIncoming from "./tlsIncoming.js"
import type { Link } from "./tlsLink.js"
import * as TlsOutgoing from "./tlsOutgoing.js"

/** Why a connection ended. */
export interface End {
  readonly reason: Wire.Reason | "Disconnected" | "Internal"
  readonly text: string
  readonly refusedBy: "local" | "remote"
}

/** Tells the logs of an end that is nobody's wish. */
export const logEnd = (boundary: Boundary, { reason, refusedBy, text }: End, peer: string): void => {
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
  /** How to read, for a socket that emits no data: each chunk is overwritten when the callback returns. */
  readonly read?: (onData: (chunk: Buffer) => void) => void
}

/** A live connection: the machine of docs/wire.md on a socket, and the calls both ways on it. */
export interface TlsConnection {
  /** The calls that this end opens. */
  readonly connection: Connection
  /** What the handlers of the other end's calls know it by. */
  readonly callConnection: CallConnection
  /** Completes when the other end has accepted this one; fails with the end of the connection. */
  readonly ready: Effect.Effect<void, End>
  /** Completes when the other end takes no more calls. */
  readonly lost: Effect.Effect<void>
  readonly isLost: () => boolean
  /** Completes when this end's calls only time out, each time that this is seen anew. */
  readonly stalled: Effect.Effect<void>
  /** Whether a call has been answered, or taken, here. */
  readonly hasServed: () => boolean
  /** Begins no more calls, and closes when those in flight have ended. */
  readonly leave: () => void
  readonly ended: Effect.Effect<End>
  /** Takes no more calls, and lets those in flight end. */
  readonly goaway: () => void
  /** Asks the other end to begin no more calls here, and completes when it has heard that. Those that it began are taken. */
  readonly retire: Effect.Effect<void>
  /** Completes when no calls are in flight and no bytes under way, and when the connection ends. */
  readonly idle: Effect.Effect<void>
  /** Completes when no call is in flight that was answered here, and when the connection ends. */
  readonly answered: Effect.Effect<void>
  /** Cancels this end's calls. */
  readonly cancelAll: () => void
  readonly close: (reason: Wire.Reason, text: string) => void
}

/** Calls of a peer that begin in one turn of the event loop: a flood of them must not keep other connections waiting. */
const maxCallsPerTurn = 64

/** Large messages are handed to the socket in portions of this size, so that small ones written later are not far behind. */
const writeBytes = 128 * 1024

/** So many bytes don't wait for the end of the turn: the other end works on them while this one goes on. */
const portion = 4096

/** The payload of the PING behind the GOAWAY that asks a peer to go: what it opened before is there when it answers. */
const retiring = 1n

const noBytes = new Uint8Array(0)

export const make = (
  { read, socket }: Source,
  role: "client" | "server",
  name: string,
  peer: Peer,
  settings: Settings,
  server: ServerCalls.Server,
  budget?: MemoryBudget
): TlsConnection => {
  const ready = Deferred.makeUnsafe<void, End>()
  const lost = Deferred.makeUnsafe<void>()
  const ended = Deferred.makeUnsafe<End>()
  const retired = Deferred.makeUnsafe<void>()
  /** Each chunk of a socket that emits data is this end's own. */
  const mayKeep = read === undefined
  let end: End | undefined
  let isLost = false
  /** Another connection has taken the place of this one. */
  let isLeaving = false
  let isScheduled = false
  /** Calls of the peer that have begun in this turn of the event loop, and what was too much for it of what came. */
  let begun = 0
  let rest: Buffer | undefined
  /** What is sent while output is collected goes out with it. */
  let isWriting = false
  let lastReceived = performance.now()
  let frameSince: number | undefined
  let pingSince: number | undefined
  const mine = role === "client" ? 1 : 0
  /** What an honest peer can leave unread: an answer for each of its calls, and what it may have cancelled since. */
  const maxBuffered =
    2 * settings.maxConcurrentStreams * (2 * settings.maxMetadataSize + 32 * 1024) + 1024 * 1024 + 2 * writeBytes

  const wire = WireConnection.make(
    role,
    {
      maxMessageSize: settings.maxReceiveMessageSize,
      maxMetadataSize: settings.maxMetadataSize,
      maxCalls: settings.maxConcurrentStreams,
      streamWindow: settings.streamWindow,
      connectionWindow: settings.connectionWindow,
      maxCallRate: settings.maxCallRate,
      maxCancelRate: settings.maxCancelRate,
      maxPingRate: settings.maxPingRate,
      maxUselessRate: settings.maxUselessRate
    },
    {
      onSettings: () => {
        Deferred.doneUnsafe(ready, Effect.void)
      },
      onOpen: (id, open) => {
        link.progress.answered()
        if (mayKeep) {
          if (begun === 0) {
            setImmediate(onTurn)
          }
          begun += 1
        }
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
        pingSince = undefined
        if (payload === retiring) {
          Deferred.doneUnsafe(retired, Effect.void)
        }
      },
      onGoaway: (goaway) => {
        isLost = true
        outgoing.onGoaway(goaway)
        Deferred.doneUnsafe(lost, Effect.void)
        if (goaway.reason !== "Shutdown") {
          finish({ reason: goaway.reason, text: goaway.text, refusedBy: "remote" })
        }
      }
    }
  )

  const { boundary } = server

  /** Ends the connection for what was thrown behind one of its doors. */
  const fail = (door: Door, cause: unknown) => {
    if (cause instanceof Violation) {
      return close(cause.reason, cause.text)
    }
    boundary.caught(door, name, cause)
    const why: End = { reason: "Internal", text: "internal error", refusedBy: "local" }
    boundary.guard(
      door,
      name,
      () => finish(why),
      () => socket.destroy()
    )
  }

  const write = () => {
    try {
      writeSome()
    } catch (cause) {
      fail("socket", cause)
    }
  }

  const writeSome = () => {
    isScheduled = false
    if (end !== undefined || socket.writableNeedDrain) {
      return
    }
    if (socket.writableLength === 0) {
      wire.reclaim()
    }
    isWriting = true
    const chunks = wire.output(writeBytes)
    isWriting = false
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
    account?.set(wire.pendingData() + socket.writableLength)
    incoming.onRoom()
    if (size >= writeBytes && !socket.writableNeedDrain) {
      schedule()
    }
    closeWhenIdle()
    checkIdle()
  }

  const isIdle = () =>
    outgoing.size() === 0 && incoming.size() === 0 && wire.buffered() === 0 && socket.writableLength === 0
  const idle = Idle.make(
    () => end !== undefined || isIdle(),
    () => schedule()
  )
  const answered = Idle.make(() => end !== undefined || !incoming.isAnswering())
  let isLastAsked = false

  const checkIdle = () => {
    answered.check()
    idle.check()
    // A socket says that the last of its bytes has left only to what was written behind them.
    if (idle.isAwaited() && socket.writableLength > 0 && !isLastAsked) {
      isLastAsked = true
      socket.write(noBytes, onLastLeft)
    }
  }

  const onLastLeft = () => {
    isLastAsked = false
    boundary.guard("socket", name, checkIdle, (cause) => fail("socket", cause))
  }

  /**
   * Closes what takes no more calls, once none is left: a peer that goes away waits for that. A peer that has let them time
   * out need not read what is left.
   */
  const closeWhenIdle = () => {
    const isIdle = outgoing.size() === 0 && incoming.size() === 0
    if (isLost && role === "client" && isIdle && (isLeaving || wire.buffered() === 0)) {
      close("Shutdown", "")
    }
  }

  const schedule = () => {
    if (!isScheduled) {
      isScheduled = true
      setImmediate(write)
    }
  }

  /** What is written in one turn of the event loop goes out in one write, or in a few where it is much. */
  const flush = () => {
    if (isWriting) {
      return
    }
    if (wire.buffered() >= portion) {
      write()
    } else {
      schedule()
    }
    if (wire.buffered() + socket.writableLength > maxBuffered) {
      close("Timeout", "the peer does not read what it asked for")
    }
  }

  const link: Link = {
    settings,
    wire,
    peer,
    connection: { peer },
    name,
    deadlines: Deadlines.make((cause) => fail("timer", cause)),
    progress: Progress.make(),
    probe: (timeout) => {
      // Something has come since the call began, or an answer is waited for already.
      if (pingSince === undefined && performance.now() - lastReceived >= timeout) {
        pingSince = performance.now()
        wire.ping(0n)
      }
    },
    flush,
    useless: () => {
      try {
        wire.useless(performance.now())
      } catch (cause) {
        fail("engine", cause)
      }
    },
    boundary,
    onThrown: (cause) => fail("engine", cause),
    isClosed: () => end !== undefined
  }
  const outgoing = TlsOutgoing.make(link)
  const incoming = TlsIncoming.make(link, server)

  const finish = (why: End) => {
    if (end === undefined) {
      end = why
      isLost = true
      clearInterval(timer)
      account?.close()
      incoming.interrupt()
      outgoing.fail(`the connection ended: ${why.reason}${why.text === "" ? "" : `, ${why.text}`}`)
      link.deadlines.stop()
      Deferred.doneUnsafe(ready, Effect.fail(why))
      Deferred.doneUnsafe(lost, Effect.void)
      Deferred.doneUnsafe(ended, Effect.succeed(why))
      answered.check()
      idle.check()
      socket.destroySoon()
    }
  }

  const close = (reason: Wire.Reason, text: string) => {
    if (end === undefined) {
      try {
        wire.goaway(reason, text)
        for (const chunk of wire.output(0)) {
          socket.write(chunk)
        }
      } catch (cause) {
        boundary.caught("socket", name, cause)
      }
      finish({ reason, text, refusedBy: "local" })
    }
  }

  const account = budget?.open(() =>
    close("Overloaded", "the listener keeps more than it may, and most of it for this connection")
  )

  const onData = (chunk: Buffer) => {
    if (end !== undefined) {
      return
    }
    if (rest === undefined) {
      take(chunk)
    } else {
      rest = Buffer.concat([rest, chunk])
    }
  }

  /** Takes what the peer has sent; where that begins many calls, the rest of it in the next turns. */
  const take = (chunk: Buffer) => {
    lastReceived = performance.now()
    try {
      const maxCalls = mayKeep ? maxCallsPerTurn - begun : Number.POSITIVE_INFINITY
      const taken = wire.receive(chunk, lastReceived, mayKeep, maxCalls)
      account?.set(wire.pendingData() + socket.writableLength)
      frameSince = wire.isMidFrame() ? (frameSince ?? lastReceived) : undefined
      flush()
      if (begun >= maxCallsPerTurn && end === undefined) {
        socket.pause()
        rest = chunk.subarray(taken)
      }
    } catch (cause) {
      fail("socket", cause)
    }
  }

  const onTurn = () => {
    const left = rest
    begun = 0
    rest = undefined
    if (left === undefined || end !== undefined) {
      return
    }
    if (left.length > 0) {
      take(left)
    }
    if (rest === undefined) {
      try {
        socket.resume()
      } catch (cause) {
        fail("socket", cause)
      }
    }
  }

  const keepaliveTime = Duration.toMillis(settings.keepaliveTime)
  const keepaliveTimeout = Duration.toMillis(settings.keepaliveTimeout)
  const frameTimeout = Duration.toMillis(settings.frameTimeout)

  const onTimer = () => {
    try {
      check()
    } catch (cause) {
      fail("timer", cause)
    }
  }

  const check = () => {
    const now = performance.now()
    if (frameSince !== undefined && now - frameSince > frameTimeout) {
      return close("Timeout", "a frame was not finished in time")
    }
    if (pingSince !== undefined && now - Math.max(pingSince, lastReceived) > keepaliveTimeout) {
      return close("Timeout", "no answer to a ping")
    }
    if (pingSince === undefined && now - lastReceived > keepaliveTime) {
      pingSince = now
      wire.ping(0n)
      flush()
    }
    wire.expire(now, Duration.toMillis(settings.messageTimeout))
    flush()
    if (socket.writableLength === 0) {
      wire.trim()
    }
  }

  const timer = setInterval(
    onTimer,
    Math.max(1, Timers.clamp(Math.min(keepaliveTime, keepaliveTimeout, frameTimeout) / 2))
  )
  timer.unref()
  socket.on("drain", write)
  const onEnd = () => {
    try {
      finish({ reason: "Disconnected", text: "", refusedBy: "remote" })
    } catch (cause) {
      fail("socket", cause)
    }
  }
  socket.on("close", onEnd)
  socket.on("end", onEnd)
  if (read === undefined) {
    socket.on("data", onData)
  } else {
    read(onData)
  }
  flush()

  return {
    connection: outgoing.connection,
    callConnection: link.connection,
    ready: Deferred.await(ready),
    ended: Deferred.await(ended),
    lost: Deferred.await(lost),
    isLost: () => isLost,
    stalled: link.progress.stalled,
    hasServed: link.progress.hasServed,
    leave: () => {
      isLost = true
      isLeaving = true
      Deferred.doneUnsafe(lost, Effect.void)
      closeWhenIdle()
    },
    goaway: () => {
      wire.goaway("Shutdown", "")
      flush()
    },
    retire: Effect.suspend(() => {
      wire.retire()
      wire.ping(retiring)
      flush()
      return Effect.race(Deferred.await(retired), Deferred.await(ended))
    }),
    idle: idle.reached,
    answered: answered.reached,
    cancelAll: outgoing.cancelAll,
    close
  }
}
