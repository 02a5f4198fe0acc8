/** Requests of an HTTP/3 peer that wait, unread, until others of its requests are over. */
import { codes } from "../../protocol/http3/Http3Error.js"
import type { Connection } from "../engine/QuicEngine.js"

type Streams = Pick<Connection, "reset" | "stop" | "release" | "watch">

export interface RequestBacklog {
  readonly size: () => number
  readonly add: (id: number) => void
  /** Removes the one that came first. */
  readonly next: () => number | undefined
  /** Removes one. Returns whether it waited. */
  readonly remove: (id: number) => boolean
  readonly rejectAll: () => void
  readonly clear: () => void
}

/** Resets a request that was not taken: nothing of it was processed (RFC 9114, section 4.1.1). */
export const reject = (quic: Streams, id: number): void => {
  quic.reset(id, codes.H3_REQUEST_REJECTED)
  quic.stop(id, codes.H3_REQUEST_REJECTED)
  quic.release(id)
}

export const make = (quic: Streams): RequestBacklog => {
  const waiting = new Set<number>()
  return {
    size: () => waiting.size,
    add: (id) => {
      waiting.add(id)
      // The engine knows the stream when this is over.
      queueMicrotask(() => {
        if (waiting.has(id)) {
          quic.watch(id, true)
        }
      })
    },
    next: () => {
      const [next] = waiting
      if (next !== undefined) {
        waiting.delete(next)
        quic.watch(next, false)
      }
      return next
    },
    remove: (id) => waiting.delete(id),
    rejectAll: () => {
      for (const id of [...waiting]) {
        waiting.delete(id)
        reject(quic, id)
      }
    },
    clear: () => waiting.clear()
  }
}
