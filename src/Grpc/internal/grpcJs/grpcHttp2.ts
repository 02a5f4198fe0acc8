/** What grpc-js keeps to itself of the HTTP/2 below its listeners. With another grpc-js none of this may happen. */
import * as Http2 from "node:http2"
import type * as Net from "node:net"
import { Duplex } from "node:stream"
import type * as Grpc from "@grpc/grpc-js"
import * as Effect from "effect/Effect"
import * as Timers from "../../../Transport/internal/timers.js"

/**
 * Where the timeouts of calls go. grpc-js would count them by the system's clock, wrap at 31 bits of milliseconds, and let a call
 * whose answer nobody reads go on.
 */
export const timeoutName = "grpc-call-timeout"

/** Where the encoding of a call's messages goes, for grpc-js inflates them before anybody has seen their call. */
export const encodingName = "grpc-call-encoding"

/** A client may ping so often, or as often as it is sent something. gRFC A8 has 5 minutes for servers. */
const minPingMillis = 10_000

/** Pings that a client sends at even distances may come a little unevenly. */
const play = 0.9

/** So many pings that come too early are let pass. */
const maxStrikes = 2

const tooManyPings = Buffer.from("too_many_pings")

/** Counts the pings of a connection that come too early. */
export interface Pings {
  /** Something was sent: pings that measure the path follow data (gRFC A8). */
  readonly onSent: () => void
  /** Whether the connection goes on. */
  readonly onPing: (now: number) => boolean
}

/** A listener that pings more often itself lets its clients do so. */
export const makePings = (keepaliveMillis: number): Pings => {
  const minMillis = play * Math.min(minPingMillis, keepaliveMillis)
  let last = Number.NEGATIVE_INFINITY
  let strikes = 0
  return {
    onSent: () => {
      strikes = 0
      last = Number.NEGATIVE_INFINITY
    },
    onPing: (now) => {
      strikes = now - last < minMillis ? strikes + 1 : strikes
      last = now
      return strikes <= maxStrikes
    }
  }
}

/** Sends a PING and ends the connection where no answer comes. */
export const probe = (session: Http2.Http2Session, timeoutMillis: number): void => {
  if (!session.closed && !session.destroyed) {
    const stopTimer = Timers.after(timeoutMillis, () => session.destroy())
    session.ping(stopTimer)
  }
}

const noPayload = Buffer.alloc(8)

/**
 * grpc-js goes on to ping a connection that is closing, which Node refuses; grpc-js takes that for the peer's death and drops
 * the calls that are still in flight. TCP's own keep-alive watches such a connection.
 */
export const pingWhileOpen = (session: Http2.Http2Session): void => {
  const ping: unknown = session.ping
  if (typeof ping === "function") {
    Reflect.set(session, "ping", (...args: ReadonlyArray<unknown>) => {
      const [callback] = args
      if (typeof callback !== "function" || !session.closed || session.destroyed) {
        return Reflect.apply(ping, session, args)
      }
      setImmediate(() => Reflect.apply(callback, session, [null, 0, noPayload]))
      return true
    })
  }
}

/** What answers to PING and SETTINGS, and updates of windows, come to between two PINGs. */
const maxControlBytes = 512

/**
 * A message may take many round trips, each of which grpc-go measures by a PING: whether there was data since the last is told
 * by the socket alone.
 */
const watchPings = (session: Http2.ServerHttp2Session, pings: Pings) => {
  let isOver = false
  let written = 0
  pingWhileOpen(session)
  session.on("ping", () => {
    const { bytesWritten = 0 } = session.socket
    if (bytesWritten - written > maxControlBytes) {
      pings.onSent()
    }
    written = bytesWritten
    if (isOver) {
      session.destroy()
    } else if (!pings.onPing(performance.now())) {
      isOver = true
      session.goaway(Http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, undefined, tooManyPings)
      session.close()
    }
  })
}

/** Hides a header from grpc-js. What a peer has sent under the other name is dropped. */
const move = (headers: Http2.IncomingHttpHeaders, from: string, to: string) => {
  const value = headers[from]
  delete headers[to]
  if (value !== undefined) {
    headers[to] = value
    delete headers[from]
  }
}

const onHeaders = (headers: Http2.IncomingHttpHeaders) => {
  move(headers, "grpc-timeout", timeoutName)
  move(headers, "grpc-encoding", encodingName)
}

/** Callbacks for what happens on a connection. */
export interface Observer {
  /** The client\'s SETTINGS have come. */
  readonly onReady: () => void
  readonly onSession: (session: Http2.ServerHttp2Session) => void
  readonly onRequest: (path: string | undefined) => void
}

const isStream = (value: unknown): value is Http2.ServerHttp2Stream => value instanceof Duplex && "rstCode" in value

/** The stream of a call. */
export const streamOf = (call: Grpc.ServerInterceptingCallInterface): Http2.ServerHttp2Stream | undefined => {
  const stream: unknown = Reflect.get(call, "stream")
  return isStream(stream) ? stream : undefined
}

/**
 * Gives the content of a call to `onData` instead of to grpc-js, which keeps each piece of a message by itself and inflates
 * messages. grpc-js then only tells when the content has ended. Returns whether it does.
 */
export const takeData = (call: Grpc.ServerInterceptingCallInterface, onData: (data: Buffer) => void): boolean => {
  const name = "handleDataFrame"
  return typeof Reflect.get(call, name) === "function" && Reflect.set(call, name, onData)
}

const maxStreamId = 2 ** 31 - 1

/** How long a GOAWAY may take to leave: a client that does not read lets nothing through. */
const maxGoAwayMillis = 100
const goAwayPollMillis = 5

/**
 * Two GOAWAY frames (RFC 9113, section 6.8). node:http2 puts the last stream into one when it is asked for it, and takes
 * further streams until the frame leaves, in a later turn: with one frame a client is told that a call was not looked at
 * whose handler has run. When the first has left no more streams are taken, so that the second says the truth.
 */
const goAway = (session: Http2.ServerHttp2Session): Effect.Effect<void> =>
  Effect.async((resume) => {
    if (session.closed || session.destroyed) {
      return resume(Effect.void)
    }
    const began = performance.now()
    const check = () => {
      if (session.destroyed) {
        return resume(Effect.void)
      }
      if ((session.state.outboundQueueSize ?? 0) > 0 && performance.now() - began < maxGoAwayMillis) {
        timer = setTimeout(check, goAwayPollMillis)
        return
      }
      session.goaway()
      resume(Effect.void)
    }
    session.goaway(Http2.constants.NGHTTP2_NO_ERROR, maxStreamId)
    let timer = setTimeout(check, goAwayPollMillis)
    return Effect.sync(() => clearTimeout(timer))
  })

/** An entrance to the server, for one connection. */
export interface Injector {
  readonly inject: (socket: Net.Socket) => void
  /** Asks the client to go to another connection; completes when that is on its way. */
  readonly goAway: Effect.Effect<void>
  /** Closes the connection as soon as it has no calls. */
  readonly close: () => void
}

/** Makes an entrance to the server, whose HTTP/2 counts pings and keeps timeouts and encodings of calls from grpc-js. */
export const createInjector = (
  server: Grpc.Server,
  credentials: Grpc.ServerCredentials,
  pings: Pings,
  { onReady, onRequest, onSession }: Observer
): Injector => {
  const name = "createHttp2Server"
  const create: unknown = Reflect.get(server, name)
  let session: Http2.ServerHttp2Session | undefined
  if (typeof create === "function") {
    Reflect.set(server, name, (...args: ReadonlyArray<unknown>) => {
      const http2: Http2.Http2Server = Reflect.apply(create, server, args)
      http2.on("session", (made) => {
        session = made
        onSession(made)
        watchPings(made, pings)
        made.once("remoteSettings", onReady)
      })
      http2.prependListener("stream", (_, headers) => {
        onRequest(headers[":path"])
        onHeaders(headers)
      })
      return http2
    })
  } else {
    onReady()
  }
  const injector = server.createConnectionInjector(credentials)
  Reflect.deleteProperty(server, name)
  return {
    inject: (socket) => injector.injectConnection(socket),
    goAway: Effect.suspend(() => (session === undefined ? Effect.void : goAway(session))),
    close: () => injector.destroy()
  }
}
