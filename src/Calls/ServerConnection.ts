/** The serving side of one connection of a wire that moves whole messages: the calls on it, and how it drains. */

import * as Effect from "effect/Effect"
import { constFalse, constVoid } from "effect/Function"
import * as Deferred from "../effect/Deferred.js"
import type { Entries } from "../protocol/Entries.js"
import type { Metadata } from "../Transport/Metadata.js"
import type { Peer } from "../Transport/Peer.js"
import type { StatusError } from "../Transport/TransportError.js"
import * as Deadlines from "./Deadlines.js"
import * as MessageStream from "./MessageStream.js"
import * as ServerCalls from "./ServerCalls.js"
import * as WireFields from "./WireFields.js"
import * as WireLimits from "./WireLimits.js"
import type { Listening } from "./WireTransport.js"

/** What a wire does for the calls that the peer opens. What is sent arrives in order. */
export interface Wire {
  /** Tells the peer what this end takes, before anything else. */
  readonly hello: (limits: WireLimits.Limits) => void
  /** Tells a peer that the listener's authorizer does not let in. `close` follows. */
  readonly refuse: () => void
  readonly headers: (id: number, headers: Entries) => void
  readonly message: (id: number, bytes: Uint8Array) => void
  /** Sends the status of a call; undefined is OK. */
  readonly status: (id: number, status: WireFields.Status | undefined, trailers: Entries) => void
  /** So many messages have been read: the peer may send as many more. */
  readonly read: (id: number, count: number) => void
  /** Says that a call was not taken. */
  readonly unprocessed: (id: number) => void
  /** Says that no more calls are taken. */
  readonly goAway: () => void
  /** Closes what the connection runs on, of which the wire then tells `onEnd`. May be called twice. */
  readonly close: () => void
}

export interface Options {
  readonly wire: Wire
  readonly peer: Peer
  readonly settings: ServerCalls.ServerConnection["settings"] & WireLimits.Settings
  readonly listening: Listening
}

/** What the wire tells of a connection. Of a stream that is over nothing is taken any more. */
export interface ServerConnection {
  /** The peer takes answers within these limits. Comes before its first call. */
  readonly onReady: (limits: WireLimits.Limits) => void
  /** A call, with all of its request where that came along. The timeout is in milliseconds, or `Infinity`. */
  readonly onOpen: (
    id: number,
    path: string,
    metadata: Entries,
    timeout: number,
    request: Uint8Array | undefined
  ) => void
  readonly onMessage: (id: number, bytes: Uint8Array) => void
  /** The peer has read so many messages. */
  readonly onRead: (id: number, count: number) => void
  readonly onHalfClose: (id: number) => void
  readonly onCancel: (id: number) => void
  /** The connection has ended, and with it the calls in flight. */
  readonly onEnd: () => void
}

type Call = ServerCalls.ServerStream<MessageStream.MessageStream>

export const make = ({ listening, peer, settings, wire }: Options): ServerConnection => {
  const { add, allows, server } = listening
  const open = new Map<number, Call>()
  const limits = WireLimits.make(settings)
  const ended = Deferred.makeUnsafe<void>()
  let isDraining = false

  const onThrown = (cause: unknown) => {
    server.boundary.caught("engine", peer.address, cause)
    wire.close()
  }
  const deadlines = Deadlines.make(onThrown)

  const admitted = allows(peer.identity, peer.address) ? listening.visit?.(peer, () => wire.close()) : "NotAuthorized"
  const isAllowed = typeof admitted !== "string"
  const visit = typeof admitted === "string" ? undefined : admitted

  const finish = ({ id }: MessageStream.MessageStream, error: StatusError | undefined, trailers: Metadata) =>
    wire.status(id, error && WireFields.fromError(error), trailers.entries)

  const calls = ServerCalls.make<MessageStream.MessageStream>(
    {
      maxMetadataSize: limits.maxMetadataSize,
      maxMessageSize: limits.maxMessageSize,
      isFull: constFalse,
      headers: ({ id }, { entries }) => wire.headers(id, entries),
      message: ({ id, onSent }, bytes, sent) => {
        wire.message(id, bytes)
        onSent(sent)
      },
      reply: constFalse,
      finish,
      abort: finish,
      flush: constVoid,
      release: ({ id, onReleased }, count) => {
        onReleased(count)
        wire.read(id, count)
      },
      ended: ({ id }) => {
        open.delete(id)
      },
      useless: constVoid,
      onThrown
    },
    { ...server, visit },
    { connection: { peer }, deadlines, settings }
  )

  const remove = isAllowed
    ? add({
        goAway: () => {
          isDraining = true
          wire.goAway()
        },
        left: Deferred.await(ended),
        end: wire.close
      })
    : constVoid
  if (isAllowed) {
    wire.hello(WireLimits.of(settings))
  } else {
    if (admitted === "NotAuthorized") {
      wire.refuse()
    }
    wire.close()
  }

  const withCall = (id: number, f: (call: Call) => void) => {
    const call = open.get(id)
    if (call !== undefined) {
      f(call)
    }
  }

  return {
    onReady: limits.set,
    onOpen: (id, path, metadata, timeout, request) => {
      if (!isAllowed || isDraining || open.size >= settings.maxConcurrentStreams || open.has(id)) {
        return wire.unprocessed(id)
      }
      const call = calls.accept(MessageStream.make(id), path, WireFields.requestMetadata(metadata), timeout)
      if (call !== undefined) {
        open.set(id, call)
        calls.begin(call, request, request !== undefined)
      }
    },
    onMessage: (id, bytes) =>
      withCall(id, (call) => (call.stream.onReceived() ? calls.onMessage(call, bytes, 1, 1) : wire.close())),
    onRead: (id, count) => withCall(id, ({ stream }) => stream.onRead(count)),
    onHalfClose: (id) => withCall(id, calls.onHalfClose),
    onCancel: (id) => withCall(id, calls.onReset),
    onEnd: () => {
      remove()
      visit?.leave()
      deadlines.stop()
      isDraining = true
      for (const call of [...open.values()]) {
        calls.onReset(call)
      }
      Deferred.doneUnsafe(ended, Effect.void)
    }
  }
}
