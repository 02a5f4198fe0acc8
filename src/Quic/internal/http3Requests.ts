/** The request streams of an HTTP/3 connection, of both ends. */

import { codes, type Http3Code, Http3Violation, onStream } from "../../protocol/http3/Http3Error.js"
import * as IdTable from "../../protocol/IdTable.js"
import type { Connection, StreamEvents } from "../engine/QuicEngine.js"
import * as RequestBacklog from "./requestBacklog.js"

/** Callbacks for request streams. They get the owner that a stream was opened or taken with. */
export interface RequestEvents<Owner> {
  /** Takes what comes, the end with `fin`; a view. Throws a `Http3Violation` where that breaks the rules. */
  readonly onBytes: (bytes: Buffer, fin: boolean, owner: Owner) => void
  /** The peer has reset what it sends. */
  readonly onReset: (code: number, owner: Owner) => void
  /** The peer does not read on. */
  readonly onStopped: (code: number, owner: Owner) => void
  /** What came breaks the rules; the stream is over. */
  readonly onViolation: (violation: Http3Violation, owner: Owner) => void
  /** A datagram of this request (RFC 9297); a view. */
  readonly onDatagram?: ((payload: Buffer, owner: Owner) => void) | undefined
  /** The connection has ended before the stream. */
  readonly onLost: (why: string, owner: Owner) => void
  /** Nothing is read or written any more. */
  readonly onSettled?: ((owner: Owner) => void) | undefined
}

export interface Options {
  /** Requests of the peer that are taken at a time; further ones wait, unread. */
  readonly maxTaken: number
  /** How much of a stream to read at a time; undefined for all that there is room for. */
  readonly readBytes: () => number | undefined
  /** Takes a request of the peer. */
  readonly onTaken: (id: number) => void
  /** No request is open any more. */
  readonly onIdle: () => void
  /** Counts a request that the peer resets or stops. Returns false if that is one too many and the connection is over. */
  readonly mayReset: () => boolean
  /** What came breaks the rules for all of the connection. */
  readonly onViolation: (violation: Http3Violation) => void
  /** Something else was thrown, which has ended one request. */
  readonly onThrown: (cause: unknown) => void
}

/** Operations on a stream that is over have no effect. */
export interface Http3Requests {
  /** The callbacks for the engine. */
  readonly events: StreamEvents
  readonly add: <Owner>(id: number, events: RequestEvents<Owner>, owner: Owner) => void
  /** The peer has opened a stream. */
  readonly arrive: (id: number) => void
  /** Rejects the requests of the peer that have not been taken. */
  readonly rejectWaiting: () => void
  /** Writes; `sent` is called when there is room for more, and never once this direction is over. */
  readonly write: (id: number, bytes: Buffer, fin: boolean, sent?: () => void) => void
  /** Reads no more until it is resumed, so that the peer has to wait. */
  readonly pause: (id: number) => void
  readonly resume: (id: number) => void
  /** Wants nothing more from the peer. */
  readonly stop: (id: number, code: Http3Code) => void
  /** Resets both directions. */
  readonly cancel: (id: number, code: Http3Code) => void
  /** Resets a stream because too much is unread. */
  readonly onOverflow: (id: number) => void
  /** A datagram has come. It is dropped if its stream is over or has not come yet (RFC 9297, section 2.1). */
  readonly onDatagram: (id: number, payload: Buffer) => void
  /** The number of open requests. */
  readonly size: () => number
  /** The connection has ended. */
  readonly lose: (why: string) => void
}

/** A request stream that is open. */
interface Request {
  readonly id: number
  readonly events: RequestEvents<unknown>
  readonly owner: unknown
  isPaused: boolean
  isRead: boolean
  isWritten: boolean
  /** Callbacks that wait for room. */
  sent: ReadonlyArray<() => void>
}

const noWaiting: Request["sent"] = []

/** Hands over what has come. Returns the rule that it breaks. */
const deliver = ({ events, owner }: Request, bytes: Buffer, fin: boolean): Http3Violation | undefined => {
  try {
    events.onBytes(bytes, fin, owner)
    return undefined
  } catch (error) {
    if (error instanceof Http3Violation) {
      return error
    }
    throw error
  }
}

export const make = (
  quic: Connection,
  { maxTaken, mayReset, onIdle, onTaken, onThrown, onViolation, readBytes }: Options
): Http3Requests => {
  const requests = IdTable.make<Request>()
  const backlog = RequestBacklog.make(quic)

  const add = <Owner>(id: number, events: RequestEvents<Owner>, owner: Owner) => {
    requests.add(id, {
      id,
      // They are called with this owner alone.
      events: events as RequestEvents<unknown>,
      owner,
      isPaused: false,
      isRead: false,
      isWritten: false,
      sent: noWaiting
    })
  }

  const readLater = (id: number) => {
    // The buffer that is being read is the one of all streams.
    queueMicrotask(() => read(id))
  }

  const settle = ({ events, id, isRead, isWritten, owner }: Request) => {
    if (isRead && isWritten && requests.remove(id) !== undefined) {
      quic.release(id)
      events.onSettled?.(owner)
      const next = backlog.next()
      if (next !== undefined) {
        onTaken(next)
        readLater(next)
      } else if (requests.size() === 0) {
        onIdle()
      }
    }
  }

  /** Runs a callback whose failure ends nothing more. */
  const attempt = (run: () => void) => {
    try {
      run()
    } catch (cause) {
      onThrown(cause)
    }
  }

  /** Ends one request for what one of its callbacks threw. */
  const fail = ({ events, id, owner }: Request, cause: unknown) => {
    onThrown(cause)
    attempt(() => {
      cancel(id, "H3_INTERNAL_ERROR")
      events.onViolation(new Http3Violation("stream", "H3_INTERNAL_ERROR", "internal error"), owner)
    })
  }

  /** Runs what calls back for an open request. */
  const guarded =
    (run: (request: Request, code: number) => void) =>
    (id: number, code = 0) => {
      const request = requests.get(id)
      if (request !== undefined) {
        try {
          run(request, code)
        } catch (cause) {
          fail(request, cause)
        }
      }
    }

  const read = guarded((request) => {
    const { events, id, owner } = request
    while (!request.isPaused && !request.isRead) {
      const got = quic.read(id, readBytes())
      if (got === undefined) {
        return
      }
      if (got._tag === "Reset") {
        request.isRead = true
        if (mayReset()) {
          events.onReset(got.code, owner)
        }
        return settle(request)
      }
      request.isRead = got.fin
      const violation = deliver(request, got.bytes, got.fin)
      if (violation?.scope === "connection") {
        return onViolation(violation)
      }
      if (violation !== undefined) {
        cancel(id, violation.code)
        return events.onViolation(violation, owner)
      }
      if (got.fin) {
        return settle(request)
      }
    }
  })

  const wake = guarded((request) => {
    const callbacks = request.sent
    request.sent = noWaiting
    for (const each of callbacks) {
      each()
    }
  })

  const stopped = guarded((request, code) => {
    if (!request.isWritten) {
      request.isWritten = true
      if (mayReset()) {
        request.events.onStopped(code, request.owner)
      }
      settle(request)
    }
  })

  const onStopped = (code: number, id: number) => {
    if (!backlog.remove(id)) {
      stopped(id, code)
    } else if (mayReset()) {
      quic.stop(id, codes.H3_REQUEST_CANCELLED)
      quic.release(id)
    }
  }

  const onOverflow = (id: number) => {
    const request = requests.get(id)
    if (backlog.remove(id)) {
      RequestBacklog.reject(quic, id)
    } else if (request !== undefined) {
      cancel(id, "H3_EXCESSIVE_LOAD")
      request.events.onViolation(onStream("H3_EXCESSIVE_LOAD", "more content than is read in time"), request.owner)
    }
  }

  const write = (id: number, bytes: Buffer, fin: boolean, sent?: () => void) => {
    const request = requests.get(id)
    if (request === undefined || request.isWritten) {
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

  return {
    events: { onReadable: read, onDrain: wake, onStopped },
    add,
    arrive: (id) => {
      if (requests.size() < maxTaken) {
        onTaken(id)
      } else {
        backlog.add(id)
      }
    },
    rejectWaiting: backlog.rejectAll,
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
    onOverflow,
    onDatagram: (id, payload) => {
      const request = requests.get(id)
      attempt(() => request?.events.onDatagram?.(payload, request.owner))
    },
    size: () => requests.size() + backlog.size(),
    lose: (why) => {
      const open = requests.entries()
      requests.clear()
      backlog.clear()
      for (const [, { events, owner }] of open) {
        attempt(() => events.onLost(why, owner))
      }
    }
  }
}
