import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import type { CallConnection } from "../Transport/Call.js"
import type { Connection } from "../Transport/internal/connection.js"
import * as Deadlines from "../Transport/internal/deadlines.js"
import * as Turnstile from "../Transport/internal/turnstile.js"
import type { Peer } from "../Transport/Peer.js"
import type { Http3Code } from "./Http3Error.js"
import type { RequestHead } from "./Http3Fields.js"
import * as Http3Message from "./Http3Message.js"
import * as Http3Sections from "./Http3Sections.js"
import * as Http3Session from "./http3Session.js"
import type * as QuicEngine from "./QuicEngine.js"
import type { Settings } from "./QuicOptions.js"
import type { Body } from "./quicIncoming.js"
import { type Link, maxFieldSectionSize } from "./quicLink.js"
import * as QuicOutgoing from "./quicOutgoing.js"
import * as Varint from "./Varint.js"

/** Answers a request of the peer whose head has come. */
export type Serve = (link: Link, head: RequestHead, stream: Http3Session.Http3Stream) => Body

/** A connection whose peer may still have to be verified. */
export interface QuicConnection {
  readonly quic: QuicEngine.Connection
  /** Completes when the handshake is over on this side; fails with the end of the connection. */
  readonly established: Effect.Effect<void, QuicEngine.Close>
  /** The peer is who it should be: hears what it says, and speaks. */
  readonly accept: (peer: Peer) => Accepted
  readonly ended: Effect.Effect<QuicEngine.Close>
  /** What the engine tells goes here. */
  readonly events: QuicEngine.Events
}

/** A live connection, and the calls on it. */
export interface Accepted {
  readonly link: Link
  /** The calls that this end opens. */
  readonly connection: Connection
  /** What the handlers of the other end's calls know it by. */
  readonly callConnection: CallConnection
  /** Completes when the other end has accepted this one; fails with the end of the connection. */
  readonly ready: Effect.Effect<void, QuicEngine.Close>
  /** Completes when the other end takes no more calls. */
  readonly lost: Effect.Effect<void>
  readonly isLost: () => boolean
  readonly ended: Effect.Effect<QuicEngine.Close>
  /** Takes no more calls, or only asks the other end to begin none, and lets those in flight end. */
  readonly goaway: (isNotice: boolean) => void
  /** Whether calls are in flight, or bytes under way. */
  readonly isBusy: () => boolean
  /** Cancels this end's calls. */
  readonly cancelAll: () => void
  readonly close: (code: Http3Code, text: string) => void
}

export const make = (
  quic: QuicEngine.Connection,
  role: "client" | "server",
  name: string,
  settings: Settings,
  serve: Serve
): QuicConnection => {
  const established = Deferred.unsafeMake<void, QuicEngine.Close>(FiberId.none)
  const ready = Deferred.unsafeMake<void, QuicEngine.Close>(FiberId.none)
  const lost = Deferred.unsafeMake<void>(FiberId.none)
  const ended = Deferred.unsafeMake<QuicEngine.Close>(FiberId.none)
  const messageOptions = { maxFieldSectionSize: maxFieldSectionSize(settings), known: Http3Sections.make() }
  let isLost = false
  let accepted: { readonly link: Link; readonly outgoing: QuicOutgoing.Outgoing } | undefined

  const lose = () => {
    isLost = true
    Deferred.unsafeDone(lost, Effect.void)
  }

  const onRequest = (stream: Http3Session.Http3Stream): Http3Session.Http3StreamEvents => {
    let body: Body | undefined
    const onGone = () => {
      stream.cancel("H3_REQUEST_CANCELLED")
      body?.onGone()
    }
    const receive = Http3Message.receiveRequest(
      {
        onHead: (head) => {
          body = accepted === undefined ? undefined : serve(accepted.link, head, stream)
        },
        onData: (chunk) => body?.onData(chunk),
        onTrailers: () => {},
        onEnd: () => body?.onEnd()
      },
      messageOptions
    )
    const onDatagram = (payload: Buffer) => body?.onDatagram?.(payload)
    return { onBytes: receive, onDatagram, onReset: onGone, onStopped: onGone, onViolation: onGone, onLost: onGone }
  }

  const session = Http3Session.make(
    quic,
    {
      role,
      maxFieldSectionSize: maxFieldSectionSize(settings),
      datagrams: settings.maxDatagrams > 0,
      maxRequestRate: settings.maxCallRate,
      maxResetRate: settings.maxCancelRate
    },
    {
      onEstablished: () => Deferred.unsafeDone(established, Effect.void),
      onReady: () => Deferred.unsafeDone(ready, Effect.void),
      onRequest,
      onGoaway: (id) => {
        lose()
        accepted?.outgoing.onGoaway(id)
        leave()
      },
      onAvailable: () => accepted?.link.turnstile.turn(),
      onIdle: () => leave(),
      onClosed: (close) => {
        lose()
        Deferred.unsafeDone(established, Effect.fail(close))
        Deferred.unsafeDone(ready, Effect.fail(close))
        Deferred.unsafeDone(ended, Effect.succeed(close))
        accepted?.link.turnstile.turn()
        accepted?.link.deadlines.stop()
      }
    }
  )

  /** The peer goes away and has answered all: who opened the connection closes it, so that nothing is lost on the way. */
  const leave = () => {
    if (role === "client" && isLost && session.size() === 0) {
      session.close("H3_NO_ERROR", "")
    }
  }

  return {
    quic,
    established: Deferred.await(established),
    ended: Deferred.await(ended),
    events: session.events,
    accept: (peer) => {
      const connection: CallConnection = { peer }
      const deadlines = Deadlines.make()
      const link: Link = {
        settings,
        session,
        turnstile: Turnstile.make(session.mayOpen, session.isClosed, deadlines),
        deadlines,
        writer: Varint.makeWriter(),
        peer,
        connection,
        name
      }
      const outgoing = QuicOutgoing.make(link)
      accepted = { link, outgoing }
      session.begin()
      quic.accept()
      return {
        link,
        connection: outgoing.connection,
        callConnection: connection,
        ready: Deferred.await(ready),
        lost: Deferred.await(lost),
        isLost: () => isLost,
        ended: Deferred.await(ended),
        goaway: session.goaway,
        isBusy: () => session.size() > 0 || !quic.isFlushed(),
        cancelAll: outgoing.cancelAll,
        close: session.close
      }
    }
  }
}
