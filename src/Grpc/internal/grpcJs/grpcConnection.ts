/** What a listener keeps for each of its HTTP/2 connections: deadlines, windows and budgets. */
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import { constFalse, constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import type { ServerWire } from "../../../Calls/CallStream.js"
import * as Deadlines from "../../../Calls/Deadlines.js"
import * as ServerCalls from "../../../Calls/ServerCalls.js"
import type { MemoryBudget } from "../../../Connections/MemoryBudget.js"
import * as Rate from "../../../protocol/Rate.js"
import type { Door } from "../../../Transport/internal/boundary.js"
import type * as Peer from "../../../Transport/Peer.js"
import type { Settings } from "../../GrpcJsOptions.js"
import * as GrpcStatus from "./GrpcStatus.js"
import * as ReceiveWindow from "./receiveWindow.js"

/** What `ServerCalls` asks of the stream of one call. */
export type ServerStream = {
  readonly [K in "headers" | "message" | "finish" | "abort" | "release" | "onWaiting" | "ended"]: (
    ...args: DropFirst<Parameters<Required<ServerWire<unknown>>[K]>>
  ) => void
}

type DropFirst<A> = A extends readonly [unknown, ...infer Rest] ? Rest : never

/** What the calls of one connection of a listener have in common. */
export interface GrpcConnection {
  readonly peer: Peer.Peer
  readonly calls: ServerCalls.ServerCalls<ServerStream>
  readonly deadlines: Deadlines.Deadlines
  readonly window: ReceiveWindow.ReceiveWindow
  /** So many bytes of an answer are on their way; below zero, so many are no more. */
  readonly unsent: (size: number) => void
  /** Begins a call at once, or in a later turn of the event loop where many have come together and `isWanted` still holds. */
  readonly begin: (serve: () => void, isWanted: () => boolean) => void
  /** Something came that cost work and brought nothing. */
  readonly useless: () => void
  readonly onSession: (session: Http2.ServerHttp2Session) => void
  readonly stop: () => void
}

/** So many calls of one connection begin in one turn of the event loop. */
const maxBegunInTurn = 16

/** Begins what comes in its order, a few in each turn of the event loop. */
const makeBeginning = (useless: () => void, onThrown: (cause: unknown) => void): GrpcConnection["begin"] => {
  let queued: Array<{ readonly serve: () => void; readonly isWanted: () => boolean }> = []
  let begun = 0
  let isScheduled = false

  const nextTurn = () => {
    if (!isScheduled) {
      isScheduled = true
      setImmediate(turn)
    }
  }

  const turn = () => {
    isScheduled = false
    begun = 0
    const before = queued
    let at = 0
    for (; at < before.length && begun < maxBegunInTurn; at++) {
      const call = before[at]
      try {
        if (call?.isWanted() === true) {
          begun += 1
          call.serve()
        } else {
          useless()
        }
      } catch (cause) {
        onThrown(cause)
      }
    }
    queued = before.slice(at)
    if (begun > 0) {
      nextTurn()
    }
  }

  return (serve, isWanted) => {
    nextTurn()
    if (queued.length === 0 && begun < maxBegunInTurn) {
      begun += 1
      serve()
    } else {
      queued.push({ serve, isWanted })
    }
  }
}

export const make = (
  socket: Net.Socket,
  peer: Peer.Peer,
  settings: Settings,
  server: ServerCalls.Server,
  budget: MemoryBudget
): GrpcConnection => {
  const { boundary } = server
  let session: Http2.ServerHttp2Session | undefined
  let unsent = 0

  const close = (reason: string, text: string) => {
    boundary.log(
      LogLevel.Warning,
      `ended local ${reason}`,
      `the connection with ${peer.address} ended: ${reason}, ${text} (local)`
    )
    session?.goaway(Http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, undefined, Buffer.from(text))
    // The GOAWAY leaves at the end of this turn, if the peer reads.
    setImmediate(() => {
      session?.destroy()
      socket.destroy()
    })
  }

  const account = budget.open(() =>
    close("Overloaded", "the listener keeps more than it may, and most of it for this connection")
  )
  const onChange = () => account.set(unsent + window.size())
  const window: ReceiveWindow.ReceiveWindow = ReceiveWindow.make(settings.connectionWindow, onChange)
  const isOver = Rate.make(settings.maxUselessRate)
  let isClosing = false

  const fail = (door: Door) => (cause: unknown) => {
    boundary.caught(door, peer.address, cause)
    socket.destroy()
  }
  const deadlines = Deadlines.make(fail("timer"))

  const useless = () => {
    if (isOver(performance.now()) && !isClosing) {
      isClosing = true
      close("ExcessiveLoad", `more than ${settings.maxUselessRate} in a second`)
    }
  }

  const wire: ServerWire<ServerStream> = {
    system: "grpc",
    maxMessageSize: () => settings.maxSendMessageSize,
    maxMetadataSize: (error) =>
      error === undefined ? settings.maxMetadataSize : Math.min(settings.maxMetadataSize, GrpcStatus.roomBeside(error)),
    isFull: () => unsent > settings.maxUnsentBytes,
    headers: (stream, metadata) => stream.headers(metadata),
    message: (stream, bytes, sent) => stream.message(bytes, sent),
    reply: constFalse,
    finish: (stream, error, trailers) => stream.finish(error, trailers),
    abort: (stream, error, trailers) => stream.abort(error, trailers),
    flush: constVoid,
    release: (stream, cost, costOnConnection) => stream.release(cost, costOnConnection),
    onWaiting: (stream) => stream.onWaiting(),
    ended: (stream) => stream.ended(),
    useless,
    onThrown: fail("engine")
  }
  const calls = ServerCalls.make(wire, server, { connection: { peer }, deadlines, settings })

  return {
    peer,
    calls,
    deadlines,
    window,
    begin: makeBeginning(useless, fail("engine")),
    unsent: (size) => {
      unsent += size
      onChange()
      if (size < 0) {
        calls.onRoom()
      }
    },
    useless,
    onSession: (opened) => {
      session = opened
    },
    stop: () => {
      deadlines.stop()
      account.close()
    }
  }
}
