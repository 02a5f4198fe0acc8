/** The calling side of one connection of a wire that moves whole messages: its calls, and when it is ready, lost and over. */

import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Progress from "../Connections/Progress.js"
import type { Backoff } from "../Connections/Reconnect.js"
import * as ReconnectingConnection from "../Connections/ReconnectingConnection.js"
import * as Deferred from "../effect/Deferred.js"
import type { Entries } from "../protocol/Entries.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as CallMetrics from "../Transport/internal/callMetrics.js"
import { HandshakeFailed, type HandshakeReason, Unavailable } from "../Transport/TransportError.js"
import * as CallErrors from "./CallErrors.js"
import type { ClientCall } from "./CallStream.js"
import * as ClientCalls from "./ClientCalls.js"
import * as Deadlines from "./Deadlines.js"
import * as MessageStream from "./MessageStream.js"
import * as StreamQuota from "./StreamQuota.js"
import * as WireFields from "./WireFields.js"
import * as WireLimits from "./WireLimits.js"

type Failure = Unavailable | HandshakeFailed

/** What a wire does for the calls that this end opens. Streams are numbered, and what is sent arrives in order. */
export interface Wire {
  /** Tells the peer what this end takes, before anything else. */
  readonly hello: (limits: WireLimits.Limits) => void
  /** Opens a stream, with all of its request, and the end of it, where there is a `request`. What throws has opened nothing. */
  readonly open: (id: number, path: string, metadata: Entries, timeout: number, request: Uint8Array | undefined) => void
  readonly message: (id: number, bytes: Uint8Array) => void
  /** Ends the request. */
  readonly halfClose: (id: number) => void
  /** So many messages have been read: the peer may send as many more. */
  readonly read: (id: number, count: number) => void
  /** The call is given up. */
  readonly cancel: (id: number) => void
  /** Closes what the connection runs on, of which the wire then tells `onEnd`. May be called twice. */
  readonly close: () => void
}

export interface Options {
  readonly wire: Wire
  /** The target, for errors. */
  readonly peer: string
  readonly settings: ClientCalls.Options<unknown>["settings"] & WireLimits.Settings
  readonly boundary: Boundary
}

/** What the wire tells of a connection. Of a stream that is over nothing is taken any more. */
export interface ClientConnection extends ReconnectingConnection.Live {
  /** The peer takes calls, within these limits. */
  readonly onReady: (limits: WireLimits.Limits) => void
  /** The peer does not let this end in. */
  readonly onRefused: (reason: HandshakeReason) => void
  /** The peer takes no more calls. Those in flight go on, and the connection is closed with the last of them. */
  readonly onGoAway: () => void
  /** The connection has ended, and with it the calls in flight. */
  readonly onEnd: () => void
  readonly onHeaders: (id: number, headers: Entries) => void
  readonly onMessage: (id: number, bytes: Uint8Array) => void
  /** The peer has read so many messages. */
  readonly onRead: (id: number, count: number) => void
  /** The status of a call; undefined is OK. */
  readonly onStatus: (id: number, status: WireFields.Status | undefined, trailers: Entries) => void
  /** The peer says that it has not taken a call. */
  readonly onUnprocessed: (id: number) => void
  /** Completes when the peer takes calls. */
  readonly ready: Effect.Effect<void, Failure>
  /** Cancels the calls in flight and closes: nobody needs the connection any more. */
  readonly end: () => void
}

export const make = ({ boundary, peer, settings, wire }: Options): ClientConnection => {
  const ready = Deferred.makeUnsafe<void, Failure>()
  const lost = Deferred.makeUnsafe<void>()
  const ended = Deferred.makeUnsafe<void>()
  const open = new Map<number, ClientCall<MessageStream.MessageStream>>()
  const limits = WireLimits.make(settings)
  const progress = Progress.make()
  let nextId = 0
  let isLost = false

  const isClosed = () => isLost
  const onThrown = (cause: unknown) => {
    boundary.caught("engine", peer, cause)
    wire.close()
  }
  const deadlines = Deadlines.make(onThrown)
  const quota = StreamQuota.make(() => !isLost && open.size < limits.maxStreams(), isClosed, deadlines, onThrown)

  const calls = ClientCalls.make<MessageStream.MessageStream>({
    wire: {
      isClosed,
      maxMetadataSize: limits.maxMetadataSize,
      maxMessageSize: limits.maxMessageSize,
      maxPathLength: Number.POSITIVE_INFINITY,
      open: (call, timeout, request) => {
        const id = nextId
        wire.open(id, call.where.method, call.options.metadata.entries, timeout, request)
        nextId += 1
        open.set(id, call)
        return MessageStream.make(id)
      },
      message: ({ id, onSent }, bytes, sent) => {
        wire.message(id, bytes)
        onSent(sent)
      },
      flush: constVoid,
      halfClose: ({ id }) => wire.halfClose(id),
      release: ({ id, onReleased }, count) => {
        onReleased(count)
        wire.read(id, count)
      },
      cancel: ({ id }) => wire.cancel(id),
      ended: ({ id }) => {
        open.delete(id)
        closeWhenIdle()
      },
      onTimeout: constVoid,
      onThrown
    },
    peer,
    settings,
    quota,
    deadlines,
    progress,
    boundary
  })

  const closeWhenIdle = () => {
    if (isLost && open.size === 0) {
      wire.close()
    }
  }

  const leave = () => {
    isLost = true
    quota.advance()
    closeWhenIdle()
    Deferred.doneUnsafe(lost, Effect.void)
  }

  const withCall = (id: number, f: (call: ClientCall<MessageStream.MessageStream>) => void) => {
    const call = open.get(id)
    if (call !== undefined) {
      f(call)
    }
  }

  wire.hello(WireLimits.of(settings))

  return {
    connection: calls.connection,
    onReady: (peerLimits) => {
      limits.set(peerLimits)
      Deferred.doneUnsafe(ready, Effect.void)
    },
    onRefused: (reason) => {
      const message = `${peer} refused the connection: ${reason}`
      Deferred.doneUnsafe(ready, Effect.fail(new HandshakeFailed({ message, reason, refusedBy: "remote", peer })))
    },
    onGoAway: leave,
    onEnd: () => {
      isLost = true
      for (const call of [...open.values()]) {
        calls.onReset(call, CallErrors.connectionLost(`the connection to ${peer} was lost`, call.where))
      }
      quota.advance()
      deadlines.stop()
      const message = `${peer} can't be reached`
      Deferred.doneUnsafe(ready, Effect.fail(new Unavailable({ message, peer, processed: "no" })))
      Deferred.doneUnsafe(lost, Effect.void)
      Deferred.doneUnsafe(ended, Effect.void)
    },
    onHeaders: (id, headers) => withCall(id, (call) => calls.onHeaders(call, WireFields.responseMetadata(headers))),
    onMessage: (id, bytes) =>
      withCall(id, (call) => (call.stream?.onReceived() ? calls.onMessage(call, bytes, 1, 1) : wire.close())),
    onRead: (id, count) => withCall(id, ({ stream }) => stream?.onRead(count)),
    onStatus: (id, status, entries) =>
      withCall(id, (call) => {
        const trailers = WireFields.responseMetadata(entries)
        const error = status && WireFields.toError(status, calls.withinLimit(trailers), call.where)
        calls.onTrailers(call, trailers, error)
      }),
    onUnprocessed: (id) => withCall(id, calls.onUnprocessed),
    ready: Deferred.await(ready),
    isLost: isClosed,
    lost: Deferred.await(lost),
    stalled: progress.stalled,
    ended: Deferred.await(ended),
    hasServed: progress.hasServed,
    leave,
    end: () => {
      for (const call of [...open.values()]) {
        calls.close(call)
      }
      wire.close()
    }
  }
}

/** How long a peer may take to say that it takes calls. */
const readyTimeout = Duration.seconds(5)

const defaultBackoff: Backoff = { initial: Duration.seconds(1), max: Duration.seconds(120) }

/** Connects once, and ends the connection when the scope closes. */
const connectOnce = (
  peer: string,
  connect: () => ClientConnection
): Effect.Effect<ClientConnection, Failure, Scope.Scope> =>
  Effect.tap(
    Effect.acquireRelease(Effect.sync(connect), ({ end }) => Effect.sync(end)),
    ({ ready }) =>
      Effect.timeoutFail(ready, {
        duration: readyTimeout,
        onTimeout: () => new Unavailable({ message: `${peer} did not answer within 5 seconds`, peer, processed: "no" })
      })
  )

/** Connects, and again whenever the connection is lost, until the scope closes. `connect` makes one connection. */
export const reconnecting = (
  peer: string,
  connect: () => ClientConnection,
  backoff = defaultBackoff
): Effect.Effect<ReconnectingConnection.Pending, never, Scope.Scope> =>
  ReconnectingConnection.make(connectOnce(peer, connect), backoff, peer, CallMetrics.client(true, undefined, peer))
