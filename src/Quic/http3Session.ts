/** HTTP/3 on a live QUIC connection: its control streams, and the request streams of both ends. */
import { constVoid } from "effect/Function"
import * as IdTable from "../Transport/internal/idTable.js"
import * as Http3Connection from "./Http3Connection.js"
import * as Http3Datagram from "./Http3Datagram.js"
import { codes, type Http3Code, Http3Violation } from "./Http3Error.js"
import type { Close, Connection, Events, StreamEvents } from "./QuicEngine.js"

/** What hears of request streams, each with what it was opened or taken for. */
export interface Http3StreamEvents<Owner> {
  /** Takes what comes, the end with `fin`; a view. Throws a `Http3Violation` where that breaks the rules. */
  readonly onBytes: (bytes: Buffer, fin: boolean, owner: Owner) => void
  /** The peer has broken off what it sends. */
  readonly onReset: (code: number, owner: Owner) => void
  /** The peer does not read on. */
  readonly onStopped: (code: number, owner: Owner) => void
  /** What came breaks the rules; the stream is over. */
  readonly onViolation: (violation: Http3Violation, owner: Owner) => void
  /** A datagram of this request (RFC 9297); a view. */
  readonly onDatagram?: ((payload: Buffer, owner: Owner) => void) | undefined
  /** The connection has ended before the stream. */
  readonly onLost: (why: string, owner: Owner) => void
}

/** What the owner of a session hears. */
export interface Handlers<Owner> {
  /** The peer has accepted this end. */
  readonly onReady: () => void
  /** The handshake is over on this side. */
  readonly onEstablished: () => void
  /** A request of the peer; gives what it is taken for. */
  readonly onRequest: (id: number) => Owner
  /** What hears of the peer's requests. */
  readonly requests: Http3StreamEvents<Owner>
  /** The peer takes no more requests: those on streams from `id` on were not processed. */
  readonly onGoaway: (id: number) => void
  /** A further request may be opened. */
  readonly onAvailable: () => void
  /** No request is open any more. */
  readonly onIdle: () => void
  readonly onClosed: (close: Close) => void
}

export interface Options {
  readonly role: "client" | "server"
  readonly maxFieldSectionSize: number
  readonly datagrams: boolean
  /** Requests of the peer that are taken at a time; further ones wait, unread. */
  readonly maxRequests: number
  /** Requests that the peer may begin, and break off, in a second before it is cut off. */
  readonly maxRequestRate: number
  readonly maxResetRate: number
}

/** A live HTTP/3 connection. What is said of a stream that is over has no effect. */
export interface Http3Session {
  readonly quic: Connection
  /** Opens the control streams. */
  readonly begin: () => void
  /** Whether the peer takes another request now; if not, `onAvailable` comes. */
  readonly mayOpen: () => boolean
  /** Opens a request, which counts when something is written to it; gives the id of its stream. */
  readonly open: <Owner>(events: Http3StreamEvents<Owner>, owner: Owner) => number
  /** Writes; `sent` is called when there is room for more, and never where this direction is over. */
  readonly write: (id: number, bytes: Buffer, fin: boolean, sent?: () => void) => void
  /** Reads no more until it is resumed, so that the peer has to wait. */
  readonly pause: (id: number) => void
  readonly resume: (id: number) => void
  /** Wants nothing more from the peer. */
  readonly stop: (id: number, code: Http3Code) => void
  /** Breaks both directions off. */
  readonly cancel: (id: number, code: Http3Code) => void
  /** Sends a datagram of a request; false where it was dropped. */
  readonly sendDatagram: (id: number, payload: Uint8Array) => boolean
  /** The largest payload of a datagram; undefined where the peer takes none. */
  readonly maxDatagramSize: (id: number) => number | undefined
  readonly peerSettings: () => Http3Connection.Settings | undefined
  /** Says that no request is processed that has not come yet; or, with a notice, only that the peer shall begin no more. */
  readonly goaway: (isNotice: boolean) => void
  /** Requests that are open. */
  readonly size: () => number
  readonly isClosed: () => boolean
  readonly close: (code: Http3Code, text: string) => void
  /** What the engine tells goes here. */
  readonly events: Events
}

/** A request stream that is open. */
interface Request {
  readonly id: number
  readonly events: Http3StreamEvents<unknown>
  readonly owner: unknown
  isPaused: boolean
  isRead: boolean
  isWritten: boolean
  /** Who waits for room. */
  sent: ReadonlyArray<() => void>
}

const noWaiting: Request["sent"] = []

const ignored: StreamEvents = { onReadable: constVoid, onDrain: constVoid, onStopped: constVoid }

/** Counts what comes in a second. */
const makeRate = (most: number) => {
  let since = 0
  let count = 0
  return (): boolean => {
    const now = performance.now()
    if (now - since >= 1000) {
      since = now
      count = 0
    }
    count += 1
    return count <= most
  }
}

const isUni = (id: number) => (id & 2) !== 0

export const describe = (close: Close): string =>
  close._tag === "Lost"
    ? `the connection was lost: ${close.why}`
    : `the connection was closed by ${close.by === "local" ? "this side" : "the peer"}${close.text === "" ? "" : `: ${close.text}`}`

export const make = <Owner>(quic: Connection, options: Options, handlers: Handlers<Owner>): Http3Session => {
  const requests = IdTable.make<Request>()
  /** Requests of the peer that wait until others are over. */
  const held: Array<number> = []
  const mayRequest = makeRate(options.maxRequestRate)
  const mayReset = makeRate(options.maxResetRate)
  let isClosed = false
  let control = -1
  let nextRequest = 0
  let isConfirmed = false
  let isReady = false

  const lookForReady = () => {
    if (!isReady && isConfirmed && http3.peerSettings() !== undefined) {
      isReady = true
      handlers.onReady()
    }
  }

  const http3 = Http3Connection.make(
    options.role,
    { maxFieldSectionSize: options.maxFieldSectionSize, datagrams: options.datagrams },
    { onSettings: lookForReady, onGoaway: handlers.onGoaway }
  )

  const close = (code: Http3Code, text: string) => quic.close(true, codes[code], text)

  /** Runs what reads the peer's bytes. */
  const guarded = (run: () => void) => {
    try {
      run()
    } catch (error) {
      if (!(error instanceof Http3Violation)) {
        throw error
      }
      close(error.code, error.text)
    }
  }

  /** Counts what the peer breaks off, and closes the connection where it is too much. */
  const mayBreakOff = (): boolean => {
    const may = mayReset()
    if (!may) {
      close("H3_EXCESSIVE_LOAD", "too many requests broken off")
    }
    return may
  }

  const adopt = <Owner>(id: number, events: Http3StreamEvents<Owner>, owner: Owner) => {
    requests.add(id, {
      id,
      // They are called with this owner alone.
      events: events as Http3StreamEvents<unknown>,
      owner,
      isPaused: false,
      isRead: false,
      isWritten: false,
      sent: noWaiting
    })
  }

  const take = (id: number) => adopt(id, handlers.requests, handlers.onRequest(id))

  const readLater = (id: number) => {
    // What is being read stands in a buffer that is used for all streams.
    queueMicrotask(() => read(id))
  }

  const settle = ({ id, isRead, isWritten }: Request) => {
    if (isRead && isWritten && requests.remove(id) !== undefined) {
      quic.release(id)
      const next = held.shift()
      if (next !== undefined) {
        quic.watch(next, false)
        take(next)
        readLater(next)
      } else if (requests.size() === 0) {
        handlers.onIdle()
      }
    }
  }

  const read = (id: number) => {
    const request = requests.get(id)
    if (request === undefined) {
      return
    }
    const { events, owner } = request
    while (!request.isPaused && !request.isRead && !isClosed) {
      const got = quic.read(id)
      if (got === undefined) {
        return
      }
      if (got._tag === "Reset") {
        request.isRead = true
        if (mayBreakOff()) {
          events.onReset(got.code, owner)
        }
        return settle(request)
      }
      request.isRead = got.fin
      try {
        events.onBytes(got.bytes, got.fin, owner)
      } catch (error) {
        if (!(error instanceof Http3Violation)) {
          throw error
        }
        if (error.scope === "connection") {
          return close(error.code, error.text)
        }
        cancel(id, error.code)
        return events.onViolation(error, owner)
      }
      if (got.fin) {
        return settle(request)
      }
    }
  }

  const wake = (id: number) => {
    const request = requests.get(id)
    if (request !== undefined) {
      const waiting = request.sent
      request.sent = noWaiting
      for (const each of waiting) {
        each()
      }
    }
  }

  const onStopped = (code: number, id: number) => {
    const request = requests.get(id)
    if (request === undefined) {
      return giveUpHeld(id)
    }
    if (!request.isWritten) {
      request.isWritten = true
      if (mayBreakOff()) {
        request.events.onStopped(code, request.owner)
      }
      settle(request)
    }
  }

  const hold = (id: number) => {
    held.push(id)
    // The engine knows the stream when this is over.
    queueMicrotask(() => quic.watch(id, true))
  }

  const giveUpHeld = (id: number) => {
    const at = held.indexOf(id)
    if (at >= 0 && mayBreakOff()) {
      held.splice(at, 1)
      quic.stop(id, codes.H3_REQUEST_CANCELLED)
      quic.release(id)
    }
  }

  const streamEvents: StreamEvents = { onReadable: read, onDrain: wake, onStopped }

  const write = (id: number, bytes: Buffer, fin: boolean, sent?: () => void) => {
    const request = requests.get(id)
    if (request === undefined || request.isWritten || isClosed) {
      return
    }
    request.isWritten = fin
    if (quic.write(id, bytes, fin)) {
      sent?.()
    } else if (sent !== undefined) {
      request.sent = [...request.sent, sent]
    }
    if (fin) {
      settle(request)
    }
  }

  const stop = (id: number, code: Http3Code) => {
    const request = requests.get(id)
    if (request !== undefined) {
      if (!request.isRead) {
        request.isRead = true
        quic.stop(id, codes[code])
      }
      settle(request)
    }
  }

  const cancel = (id: number, code: Http3Code) => {
    const request = requests.get(id)
    if (request !== undefined && !request.isWritten) {
      request.isWritten = true
      quic.reset(id, codes[code])
    }
    stop(id, code)
  }

  const onRequest = (id: number): StreamEvents => {
    nextRequest = Math.max(nextRequest, id + 4)
    if (options.role === "client") {
      close("H3_STREAM_CREATION_ERROR", "a request from a server")
      return ignored
    }
    if (!mayRequest()) {
      close("H3_EXCESSIVE_LOAD", "too many requests")
      return ignored
    }
    if (!http3.accepts(id)) {
      quic.reset(id, codes.H3_REQUEST_REJECTED)
      quic.stop(id, codes.H3_REQUEST_REJECTED)
      quic.release(id)
      return ignored
    }
    if (requests.size() < options.maxRequests) {
      take(id)
    } else {
      hold(id)
    }
    return streamEvents
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
    begin,
    mayOpen: quic.mayOpenBidi,
    open: (events, owner) => {
      const id = quic.openBidi(streamEvents)
      adopt(id, events, owner)
      return id
    },
    write,
    pause: (id) => {
      const request = requests.get(id)
      if (request !== undefined) {
        request.isPaused = true
      }
    },
    resume: (id) => {
      const request = requests.get(id)
      if (request?.isPaused === true) {
        request.isPaused = false
        readLater(id)
      }
    },
    stop,
    cancel,
    // Not before the peer's settings have come, which a lost packet may hold up (RFC 9297, section 2.1.1).
    sendDatagram: (id, payload) =>
      !isClosed && http3.peerSettings() !== undefined && quic.sendDatagram(Http3Datagram.encode(id, payload)),
    maxDatagramSize: (id) => {
      const most = http3.peerSettings()?.datagrams === false ? undefined : quic.maxDatagramSize()
      return most === undefined ? undefined : most - Http3Datagram.overhead(id)
    },
    peerSettings: http3.peerSettings,
    goaway: (isNotice) => {
      const bytes = http3.goaway(isNotice ? Http3Connection.noStreamYet : nextRequest)
      if (bytes.length > 0 && !isClosed && control >= 0) {
        quic.write(control, bytes, false)
      }
    },
    size: () => requests.size() + held.length,
    isClosed: () => isClosed,
    close,
    events: {
      onEstablished: handlers.onEstablished,
      // A server may say its settings before it has looked at the client's certificate (quic-go does).
      onConfirmed: () => {
        isConfirmed = true
        lookForReady()
      },
      onStream: (id) => (isUni(id) ? onUni(id) : onRequest(id)),
      // For a stream that is over, or has not come yet, it is dropped (RFC 9297, section 2.1).
      onDatagram: (datagram) =>
        guarded(() => {
          const { payload, streamId } = Http3Datagram.decode(datagram)
          const request = requests.get(streamId)
          request?.events.onDatagram?.(payload, request.owner)
        }),
      onStreamsAvailable: handlers.onAvailable,
      onClosed: (reason) => {
        isClosed = true
        const why = describe(reason)
        const open = requests.entries()
        requests.clear()
        held.length = 0
        for (const [, { events, owner }] of open) {
          events.onLost(why, owner)
        }
        handlers.onClosed(reason)
      }
    }
  }
}
