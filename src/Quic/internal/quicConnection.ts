/** An HTTP/3 connection of QuicLive with the calls of both ends on it. */
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Deadlines from "../../Calls/Deadlines.js"
import * as GrpcCompression from "../../Calls/GrpcCompression.js"
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as StreamQuota from "../../Calls/StreamQuota.js"
import * as Addresses from "../../Connections/Addresses.js"
import * as Idle from "../../Connections/Idle.js"
import type { Account, MemoryBudget } from "../../Connections/MemoryBudget.js"
import * as Progress from "../../Connections/Progress.js"
import * as Deferred from "../../effect/Deferred.js"
import type { RequestHead } from "../../protocol/http/HttpFields.js"
import { type Http3Code, onStream } from "../../protocol/http3/Http3Error.js"
import * as Http3Message from "../../protocol/http3/Http3Message.js"
import * as Http3Sections from "../../protocol/http3/Http3Sections.js"
import * as Varint from "../../protocol/quic/Varint.js"
import type { CallConnection } from "../../Transport/Call.js"
import type { Connection } from "../../Transport/Connection.js"
import type { Visit } from "../../Transport/internal/admissionGate.js"
import type { Boundary, Door } from "../../Transport/internal/boundary.js"
import type { Peer } from "../../Transport/Peer.js"
import type * as QuicEngine from "../engine/QuicEngine.js"
import type { Settings } from "../QuicOptions.js"
import * as Http3Session from "./http3Session.js"
import type { Body } from "./quicIncoming.js"
import { type Link, maxFieldSectionSize } from "./quicLink.js"
import * as QuicOutgoing from "./quicOutgoing.js"
import * as QuicSending from "./quicSending.js"

/** What answers the requests of the peer. */
export interface Serving {
  /** A request whose head has come. */
  readonly onRequest: (head: RequestHead, id: number) => Body
  /** There may be room for answers that wait. */
  readonly onRoom: () => void
}

/** A request of the peer. */
interface Request {
  readonly id: number
  body: Body | undefined
}

/** A connection whose peer may still have to be verified. */
export interface QuicConnection {
  readonly quic: QuicEngine.Connection
  /** Completes when the handshake is over on this side; fails with the end of the connection. */
  readonly established: Effect.Effect<void, QuicEngine.Close>
  /** The peer is accepted: what it sends is read, and calls may begin. */
  readonly accept: (peer: Peer, visit?: Visit) => Accepted
  readonly ended: Effect.Effect<QuicEngine.Close>
  /** The callbacks for the engine. */
  readonly events: QuicEngine.Events
}

/** A live connection, and the calls on it. */
export interface Accepted {
  readonly link: Link
  /** The calls that this end opens. */
  readonly connection: Connection
  /** The connection as the handlers of the peer's calls see it. */
  readonly callConnection: CallConnection
  /** Completes when the peer has accepted this end; fails with the end of the connection. */
  readonly ready: Effect.Effect<void, QuicEngine.Close>
  /** Completes when the peer takes no more calls. */
  readonly lost: Effect.Effect<void>
  readonly isLost: () => boolean
  /** Completes when this end's calls do nothing but time out; may be awaited again. */
  readonly stalled: Effect.Effect<void>
  /** Completes when so much has come without content that this connection should be replaced. */
  readonly worn: Effect.Effect<void>
  /** Whether a call has been answered here. */
  readonly hasServed: () => boolean
  /** Begins no more calls, and closes when those in flight have ended. */
  readonly leave: () => void
  readonly ended: Effect.Effect<QuicEngine.Close>
  /** Takes no more calls, or with a notice only asks the peer to begin none, and lets those in flight end. */
  readonly goaway: (isNotice: boolean) => void
  /** Completes when no calls are in flight and no bytes under way, and when the connection ends. */
  readonly idle: Effect.Effect<void>
  /** Cancels this end's calls. */
  readonly cancelAll: () => void
  readonly close: (code: Http3Code, text: string) => void
}

/** What is read at a time while a connection keeps more than it may: bytes that hold few messages. */
const lowReadBytes = 1024

export const make = (
  quic: QuicEngine.Connection,
  role: "client" | "server",
  name: string,
  settings: Settings,
  makeServing: (link: Link) => Serving,
  boundary: Boundary,
  budget?: MemoryBudget,
  /** How requests name the other end. */
  authority = Addresses.authorityOf(name)
): QuicConnection => {
  const established = Deferred.makeUnsafe<void, QuicEngine.Close>()
  const ready = Deferred.makeUnsafe<void, QuicEngine.Close>()
  const lost = Deferred.makeUnsafe<void>()
  const worn = Deferred.makeUnsafe<void>()
  const ended = Deferred.makeUnsafe<QuicEngine.Close>()
  /** What the messages of the peer cost. */
  const kept = GrpcReceiving.makeKept()
  /** What the listener knows of that. */
  let share: Account | undefined
  let isReady = false
  let isLost = false
  let accepted: { readonly link: Link; readonly outgoing: QuicOutgoing.Outgoing; readonly serving: Serving } | undefined

  const lose = () => {
    isLost = true
    Deferred.doneUnsafe(lost, Effect.void)
  }

  const requests = Http3Message.requests<Request>(
    {
      onHead: (head, request) => {
        request.body = accepted?.serving.onRequest(head, request.id)
      },
      onData: (chunk, { body }) => body?.onData(chunk),
      onTrailers: constVoid,
      onEnd: ({ body }) => body?.onEnd(),
      onUseless: () => session.useless()
    },
    { maxFieldSectionSize: maxFieldSectionSize(settings), known: Http3Sections.make() }
  )

  /** Counts a field section that has begun and not ended; tells whether it is one of several. */
  const count = (message: Http3Message.Message<Request>, size: number): boolean => {
    kept.unfinished += size - message.counted
    message.counted = size
    return size > 0 && kept.unfinished > size
  }

  const onGone = (_: unknown, { owner: { body, id } }: Http3Message.Message<Request>) => {
    session.cancel(id, "H3_REQUEST_CANCELLED")
    body?.onGone()
  }

  const session = Http3Session.make(
    quic,
    {
      role,
      maxFieldSectionSize: maxFieldSectionSize(settings),
      datagrams: settings.maxDatagrams > 0,
      maxRequests: settings.maxConcurrentStreams,
      readBytes: () => (kept.unread > settings.connectionWindow ? lowReadBytes : undefined),
      maxRequestRate: settings.maxCallRate,
      maxResetRate: settings.maxCancelRate,
      maxUselessRate: settings.maxUselessRate,
      onThrown: (cause) => boundary.caught("engine", name, cause)
    },
    {
      onEstablished: () => Deferred.doneUnsafe(established, Effect.void),
      onReady: () => {
        isReady = true
        Deferred.doneUnsafe(ready, Effect.void)
        closeWhenIdle()
      },
      onRequest: (id) => Http3Message.make(requests, { id, body: undefined }),
      requests: {
        onBytes: (bytes, fin, message) => {
          Http3Message.receive(bytes, fin, message)
          if (count(message, Http3Message.unfinishedSize(message)) && kept.unfinished > settings.connectionWindow) {
            throw onStream("H3_EXCESSIVE_LOAD", "the unfinished field sections of the connection are more than allowed")
          }
        },
        onSettled: (message) => void count(message, 0),
        onDatagram: (payload, { owner }) => owner.body?.onDatagram?.(payload),
        onReset: onGone,
        onStopped: onGone,
        onViolation: onGone,
        onLost: onGone
      },
      onGoaway: (id) => {
        lose()
        accepted?.outgoing.onGoaway(id)
        closeWhenIdle()
      },
      onWorn: () => {
        Deferred.doneUnsafe(worn, Effect.void)
        if (role === "client") {
          leave()
        }
      },
      onAvailable: () => accepted?.link.quota.advance(),
      onIdle: () => closeWhenIdle(),
      kept: () => kept.unread,
      onTurn: () => {
        accepted?.link.sending.advance()
        accepted?.serving.onRoom()
        accepted?.link.account()
        idle.check()
      },
      onClosed: (close) => {
        share?.close()
        lose()
        Deferred.doneUnsafe(established, Effect.fail(close))
        Deferred.doneUnsafe(ready, Effect.fail(close))
        Deferred.doneUnsafe(ended, Effect.succeed(close))
        accepted?.link.quota.advance()
        accepted?.link.deadlines.stop()
        idle.check()
      }
    }
  )

  // Whether all has arrived changes only when the engine runs.
  const idle = Idle.make(() => session.isClosed() || (session.size() === 0 && quic.isFlushed()))

  /** The peer goes away and has answered all: who opened the connection closes it, so that nothing is lost on the way. */
  const closeWhenIdle = () => {
    if (role === "client" && isReady && isLost && session.size() === 0) {
      session.close("H3_NO_ERROR", "")
    }
  }

  const leave = () => {
    lose()
    closeWhenIdle()
  }

  return {
    quic,
    established: Deferred.await(established),
    ended: Deferred.await(ended),
    events: session.events,
    accept: (peer, visit) => {
      const connection: CallConnection = { peer }
      const fail = (door: Door, cause: unknown) => {
        boundary.caught(door, name, cause)
        session.close("H3_INTERNAL_ERROR", "internal error")
      }
      const writer = Varint.makeWriter()
      const compression = GrpcCompression.make({ flush: constVoid, onThrown: (cause) => fail("engine", cause) })
      const sending = QuicSending.make({ compression, session, settings, writer })
      const deadlines = Deadlines.make((cause) => fail("timer", cause))
      const link: Link = {
        settings,
        session,
        kept,
        account: () => share?.set(kept.unread + kept.unfinished + quic.unread() + sending.unsent()),
        compression,
        sending,
        quota: StreamQuota.make(session.mayOpen, session.isClosed, deadlines, (cause) =>
          boundary.caught("engine", name, cause)
        ),
        deadlines,
        progress: Progress.make(),
        writer,
        peer,
        visit,
        connection,
        name,
        authority,
        boundary,
        onThrown: (cause) => fail("engine", cause)
      }
      const outgoing = QuicOutgoing.make(link)
      accepted = { link, outgoing, serving: makeServing(link) }
      share = budget?.open(() =>
        session.close("H3_EXCESSIVE_LOAD", "the listener keeps more than it may, and most of it for this connection")
      )
      session.begin()
      quic.accept()
      return {
        link,
        connection: outgoing.connection,
        callConnection: connection,
        ready: Deferred.await(ready),
        lost: Deferred.await(lost),
        isLost: () => isLost,
        stalled: link.progress.stalled,
        hasServed: link.progress.hasServed,
        worn: Deferred.await(worn),
        leave,
        ended: Deferred.await(ended),
        goaway: session.goaway,
        idle: idle.reached,
        cancelAll: outgoing.cancelAll,
        close: session.close
      }
    }
  }
}
