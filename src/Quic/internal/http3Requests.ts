/** The request streams of an HTTP/3 connection, of both ends. */

import { codes, type Http3Code, onStream } from "../../protocol/http3/Http3Error.js"
import * as IdTable from "../../protocol/IdTable.js"
import type { Connection, StreamEvents } from "../engine/QuicEngine.js"
import type { RequestEvents } from "./http3RequestStream.js"
import * as RequestStream from "./http3RequestStream.js"
import * as RequestBacklog from "./requestBacklog.js"

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

const wake = (_: RequestStream.Requests, request: RequestStream.Request) => {
  const callbacks = request.sent
  request.sent = RequestStream.noWaiting
  for (const each of callbacks) {
    each()
  }
}

const stopped = (requests: RequestStream.Requests, request: RequestStream.Request, code: number) => {
  if (!request.isWritten) {
    request.isWritten = true
    if (requests.mayReset()) {
      request.events.onStopped(code, request.owner)
    }
    RequestStream.settle(requests, request)
  }
}

export const make = (quic: Connection, options: RequestStream.Options): Http3Requests => {
  const open = IdTable.make<RequestStream.Request>()
  const backlog = RequestBacklog.make(quic)
  const requests: RequestStream.Requests = { ...options, quic, open, backlog }
  const { maxTaken, mayReset, onTaken } = options

  const add = <Owner>(id: number, events: RequestEvents<Owner>, owner: Owner) => {
    open.add(id, {
      id,
      // They are called with this owner alone.
      events: events as RequestEvents<unknown>,
      owner,
      isPaused: false,
      isRead: false,
      isWritten: false,
      sent: RequestStream.noWaiting
    })
  }

  const onStopped = (code: number, id: number) => {
    if (!backlog.remove(id)) {
      RequestStream.guard(requests, id, stopped, code)
    } else if (mayReset()) {
      quic.stop(id, codes.H3_REQUEST_CANCELLED)
      quic.release(id)
    }
  }

  const onOverflow = (id: number) => {
    const request = open.get(id)
    if (backlog.remove(id)) {
      RequestBacklog.reject(quic, id)
    } else if (request !== undefined) {
      RequestStream.cancel(requests, id, "H3_EXCESSIVE_LOAD")
      request.events.onViolation(onStream("H3_EXCESSIVE_LOAD", "more content than is read in time"), request.owner)
    }
  }

  const write = (id: number, bytes: Buffer, fin: boolean, sent?: () => void) => {
    const request = open.get(id)
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
      RequestStream.settle(requests, request)
    }
  }

  return {
    events: {
      onReadable: (id) => RequestStream.guard(requests, id, RequestStream.read),
      onDrain: (id) => RequestStream.guard(requests, id, wake),
      onStopped
    },
    add,
    arrive: (id) => {
      if (open.size() < maxTaken) {
        onTaken(id)
      } else {
        backlog.add(id)
      }
    },
    rejectWaiting: backlog.rejectAll,
    write,
    pause: (id) => {
      const request = open.get(id)
      if (request !== undefined) {
        request.isPaused = true
      }
    },
    resume: (id) => {
      const request = open.get(id)
      if (request?.isPaused === true) {
        request.isPaused = false
        RequestStream.readLater(requests, id)
      }
    },
    stop: (id, code) => RequestStream.stop(requests, id, code),
    cancel: (id, code) => RequestStream.cancel(requests, id, code),
    onOverflow,
    onDatagram: (id, payload) => {
      const request = open.get(id)
      RequestStream.attempt(requests, () => request?.events.onDatagram?.(payload, request.owner))
    },
    size: () => open.size() + backlog.size(),
    lose: (why) => {
      const lost = open.entries()
      open.clear()
      backlog.clear()
      for (const [, { events, owner }] of lost) {
        RequestStream.attempt(requests, () => events.onLost(why, owner))
      }
    }
  }
}
