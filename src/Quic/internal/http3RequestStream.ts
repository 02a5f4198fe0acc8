/** One request stream of an HTTP/3 connection: how it is read, and how it ends. */

import { codes, type Http3Code, Http3Violation } from "../../protocol/http3/Http3Error.js"
import type { IdTable } from "../../protocol/IdTable.js"
import type { Connection } from "../engine/QuicEngine.js"
import type { RequestBacklog } from "./requestBacklog.js"

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

/** A request stream that is open. */
export interface Request {
  readonly id: number
  readonly events: RequestEvents<unknown>
  readonly owner: unknown
  isPaused: boolean
  isRead: boolean
  isWritten: boolean
  /** Callbacks that wait for room. */
  sent: ReadonlyArray<() => void>
}

export const noWaiting: Request["sent"] = []

/** The request streams of one connection. */
export interface Requests extends Options {
  readonly quic: Connection
  readonly open: IdTable<Request>
  readonly backlog: RequestBacklog
}

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

export const readLater = (requests: Requests, id: number): void => {
  // The buffer that is being read is the one of all streams.
  queueMicrotask(() => guard(requests, id, read))
}

/** Releases a stream that is neither read nor written any more, and takes the next of the peer's. */
export const settle = (requests: Requests, { events, id, isRead, isWritten, owner }: Request): void => {
  const { backlog, onIdle, onTaken, open, quic } = requests
  if (isRead && isWritten && open.remove(id) !== undefined) {
    quic.release(id)
    events.onSettled?.(owner)
    const next = backlog.next()
    if (next !== undefined) {
      onTaken(next)
      readLater(requests, next)
    } else if (open.size() === 0) {
      onIdle()
    }
  }
}

/** Wants nothing more from the peer. */
export const stop = (requests: Requests, id: number, code: Http3Code): void => {
  const request = requests.open.get(id)
  if (request !== undefined) {
    if (!request.isRead) {
      request.isRead = true
      requests.quic.stop(id, codes[code])
    }
    settle(requests, request)
  }
}

/** Resets both directions. */
export const cancel = (requests: Requests, id: number, code: Http3Code): void => {
  const request = requests.open.get(id)
  if (request !== undefined && !request.isWritten) {
    request.isWritten = true
    requests.quic.reset(id, codes[code])
  }
  stop(requests, id, code)
}

/** Runs a callback whose failure ends nothing more. */
export const attempt = ({ onThrown }: Requests, run: () => void): void => {
  try {
    run()
  } catch (cause) {
    onThrown(cause)
  }
}

/** Ends one request for what one of its callbacks threw. */
const fail = (requests: Requests, { events, id, owner }: Request, cause: unknown): void => {
  requests.onThrown(cause)
  attempt(requests, () => {
    cancel(requests, id, "H3_INTERNAL_ERROR")
    events.onViolation(new Http3Violation("stream", "H3_INTERNAL_ERROR", "internal error"), owner)
  })
}

/** Runs what calls back for an open request. */
export const guard = (
  requests: Requests,
  id: number,
  run: (requests: Requests, request: Request, code: number) => void,
  code = 0
): void => {
  const request = requests.open.get(id)
  if (request !== undefined) {
    try {
      run(requests, request, code)
    } catch (cause) {
      fail(requests, request, cause)
    }
  }
}

/** Reads what there is, unless reading is paused. */
export const read = (requests: Requests, request: Request): void => {
  const { mayReset, onViolation, quic, readBytes } = requests
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
      settle(requests, request)
      return
    }
    request.isRead = got.fin
    const violation = deliver(request, got.bytes, got.fin)
    if (violation?.scope === "connection") {
      onViolation(violation)
      return
    }
    if (violation !== undefined) {
      cancel(requests, id, violation.code)
      events.onViolation(violation, owner)
      return
    }
    if (got.fin) {
      settle(requests, request)
      return
    }
  }
}
