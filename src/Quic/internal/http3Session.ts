/** HTTP/3 on a live QUIC connection: its control streams, and what all of its requests share. */
import { constVoid } from "effect/Function"
import * as Http3Connection from "../../protocol/http3/Http3Connection.js"
import * as Http3Datagram from "../../protocol/http3/Http3Datagram.js"
import { codes, type Http3Code, Http3Violation } from "../../protocol/http3/Http3Error.js"
import * as Rate from "../../protocol/Rate.js"
import type { Close, Connection, Events, StreamEvents } from "../engine/QuicEngine.js"
import type { RequestEvents } from "./http3RequestStream.js"
import * as Http3Requests from "./http3Requests.js"
import * as RequestBacklog from "./requestBacklog.js"

/** Callbacks for the owner of a session. */
export interface Handlers<Owner> {
  /** The peer has accepted this end. */
  readonly onReady: () => void
  /** The handshake is over on this side. */
  readonly onEstablished: () => void
  /** A request of the peer; returns its owner. */
  readonly onRequest: (id: number) => Owner
  /** Callbacks for the peer's requests. */
  readonly requests: RequestEvents<Owner>
  /** The peer takes no more requests: those on streams from `id` on were not processed. */
  readonly onGoaway: (id: number) => void
  /** The connection should be replaced: too much has come on it without content. */
  readonly onWorn: () => void
  /** A further request may be opened. */
  readonly onAvailable: () => void
  /** No request is open any more. */
  readonly onIdle: () => void
  /** Bytes that were read and are kept. */
  readonly kept: () => number
  /** What came has been reported, and what there is room for has been sent. */
  readonly onTurn: () => void
  readonly onClosed: (close: Close) => void
}

export interface Options {
  readonly role: "client" | "server"
  readonly maxFieldSectionSize: number
  readonly datagrams: boolean
  /** Requests of the peer that are taken at a time; further ones wait, unread. */
  readonly maxRequests: number
  /** How much of a request to read at a time; undefined for all that there is room for. */
  readonly readBytes: () => number | undefined
  /** Requests that the peer may begin, and reset, in a second before the connection is closed. */
  readonly maxRequestRate: number
  readonly maxResetRate: number
  /** What the peer may send in a second that brings nothing. */
  readonly maxUselessRate: number
  /** Called with what was thrown and is no violation; it has ended a request or the connection. */
  readonly onThrown: (cause: unknown) => void
}

/** A live HTTP/3 connection. */
export interface Http3Session
  extends Pick<Http3Requests.Http3Requests, "write" | "pause" | "resume" | "stop" | "cancel" | "size"> {
  readonly quic: Connection
  /** Counts what cost work and brought nothing, and closes the connection if it is too much. */
  readonly useless: () => void
  /** Opens the control streams. */
  readonly begin: () => void
  /** Whether the peer takes another request now; if not, `onAvailable` follows. */
  readonly mayOpen: () => boolean
  /** Opens a request, which counts once something is written to it; returns the id of its stream. */
  readonly open: <Owner>(events: RequestEvents<Owner>, owner: Owner) => number
  /** Sends a datagram of a request; returns false if it was dropped. */
  readonly sendDatagram: (id: number, payload: Uint8Array) => boolean
  /** The largest payload of a datagram; undefined if the peer takes none. */
  readonly maxDatagramSize: (id: number) => number | undefined
  readonly peerSettings: () => Http3Connection.Settings | undefined
  /** Tells the peer that requests which have not come yet are not processed; with a notice, only to begin no more. */
  readonly goaway: (isNotice: boolean) => void
  readonly isClosed: () => boolean
  readonly close: (code: Http3Code, text: string) => void
  /** The callbacks for the engine. */
  readonly events: Events
}

const ignored: StreamEvents = { onReadable: constVoid, onDrain: constVoid, onStopped: constVoid }

const isUni = (id: number) => (id & 2) !== 0

export const describe = (close: Close): string =>
  close._tag === "Lost"
    ? `the connection was lost: ${close.why}`
    : `the connection was closed by ${close.by === "local" ? "this side" : "the peer"}${close.text === "" ? "" : `: ${close.text}`}`

export const make = <Owner>(quic: Connection, options: Options, handlers: Handlers<Owner>): Http3Session => {
  const isRequestRateOver = Rate.make(options.maxRequestRate)
  const isResetRateOver = Rate.make(options.maxResetRate)
  const isUselessRateOver = Rate.make(options.maxUselessRate)
  let isClosed = false
  let control = -1
  let nextRequest = 0
  let isConfirmed = false
  let isReady = false

  const checkReady = () => {
    if (!isReady && isConfirmed && http3.peerSettings() !== undefined) {
      isReady = true
      handlers.onReady()
    }
  }

  const http3 = Http3Connection.make(
    options.role,
    { maxFieldSectionSize: options.maxFieldSectionSize, datagrams: options.datagrams },
    { onSettings: checkReady, onGoaway: handlers.onGoaway, onUseless: () => useless() }
  )

  const close = (code: Http3Code, text: string) => quic.close(true, codes[code], text)

  const useless = () => {
    if (isUselessRateOver(performance.now())) {
      close("H3_EXCESSIVE_LOAD", "too much in a second that brings nothing")
    }
  }

  /** Runs what reads the peer's bytes. */
  const guarded = (run: () => void) => {
    try {
      run()
    } catch (error) {
      if (!(error instanceof Http3Violation)) {
        options.onThrown(error)
        return close("H3_INTERNAL_ERROR", "internal error")
      }
      close(error.code, error.text)
    }
  }

  /** Counts what the peer resets, and closes the connection if it is too much. */
  const mayReset = (): boolean => {
    const now = performance.now()
    const isOver = isResetRateOver(now) || isUselessRateOver(now)
    if (isOver) {
      close("H3_EXCESSIVE_LOAD", "too many requests reset")
    }
    return !isOver
  }

  const requests = Http3Requests.make(quic, {
    maxTaken: options.maxRequests,
    readBytes: options.readBytes,
    onTaken: (id) => requests.add(id, handlers.requests, handlers.onRequest(id)),
    onIdle: handlers.onIdle,
    mayReset,
    onViolation: ({ code, text }) => close(code, text),
    onThrown: options.onThrown
  })

  const onRequest = (id: number): StreamEvents => {
    nextRequest = Math.max(nextRequest, id + 4)
    if (options.role === "client") {
      close("H3_STREAM_CREATION_ERROR", "a request from a server")
      return ignored
    }
    if (isRequestRateOver(performance.now())) {
      close("H3_EXCESSIVE_LOAD", "too many requests")
      return ignored
    }
    if (!http3.accepts(id)) {
      RequestBacklog.reject(quic, id)
      return ignored
    }
    requests.arrive(id)
    return requests.events
  }

  /** The control and QPACK streams of the peer. */
  const onUni = (id: number): StreamEvents => ({
    ...ignored,
    onReadable: () =>
      guarded(() => {
        for (let got = quic.read(id); got !== undefined && !isClosed; got = quic.read(id)) {
          if (got._tag === "Reset") {
            http3.onReset(id)
            return quic.release(id)
          }
          const refusal = http3.receive(id, got.bytes, got.fin)
          if (refusal !== undefined) {
            quic.stop(id, refusal)
          }
          if (refusal !== undefined || got.fin) {
            return quic.release(id)
          }
        }
      })
  })

  /** The three streams of this end, which stay open. */
  const begin = () => {
    for (const opening of http3.opening) {
      const id = quic.openUni({ ...ignored, onStopped: () => guarded(http3.onStopped) })
      control = control < 0 ? id : control
      quic.write(id, opening, false)
    }
  }

  return {
    quic,
    useless,
    begin,
    mayOpen: quic.mayOpenBidi,
    open: (events, owner) => {
      const id = quic.openBidi(requests.events)
      requests.add(id, events, owner)
      return id
    },
    write: requests.write,
    pause: requests.pause,
    resume: requests.resume,
    stop: requests.stop,
    cancel: requests.cancel,
    size: requests.size,
    // Not before the peer's settings have come, which a lost packet may hold up (RFC 9297, section 2.1.1).
    sendDatagram: (id, payload) =>
      !isClosed && http3.peerSettings() !== undefined && quic.sendDatagram(Http3Datagram.encode(id, payload)),
    maxDatagramSize: (id) => {
      const maxSize = http3.peerSettings()?.datagrams === false ? undefined : quic.maxDatagramSize()
      return maxSize === undefined ? undefined : maxSize - Http3Datagram.overhead(id)
    },
    peerSettings: http3.peerSettings,
    goaway: (isNotice) => {
      const bytes = http3.goaway(isNotice ? Http3Connection.noStreamYet : nextRequest)
      if (bytes.length > 0 && !isClosed && control >= 0) {
        quic.write(control, bytes, false)
      }
      if (!isNotice) {
        requests.rejectWaiting()
      }
    },
    isClosed: () => isClosed,
    close,
    events: {
      onEstablished: handlers.onEstablished,
      // A server may send its settings before it has looked at the client's certificate (quic-go does).
      onConfirmed: () => {
        isConfirmed = true
        checkReady()
      },
      onStream: (id) => (isUni(id) ? onUni(id) : onRequest(id)),
      onDatagram: (datagram) =>
        guarded(() => {
          const { payload, streamId } = Http3Datagram.decode(datagram)
          requests.onDatagram(streamId, payload)
        }),
      onOverflow: (id) =>
        isUni(id) ? close("H3_EXCESSIVE_LOAD", "more than is read in time") : requests.onOverflow(id),
      onWorn: handlers.onWorn,
      onStreamsAvailable: handlers.onAvailable,
      kept: handlers.kept,
      onTurn: handlers.onTurn,
      onClosed: (reason) => {
        isClosed = true
        requests.lose(describe(reason))
        handlers.onClosed(reason)
      }
    }
  }
}
