/** Reads what proxies send before their connections begin: whose they pass on. */
import type * as Net from "node:net"
import * as ProxyHeader from "../../protocol/proxy/ProxyHeader.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import * as Places from "./handshakePlaces.js"

/** The connections of a listener whose header has not come. */
export interface ProxyHeaders {
  /**
   * Reads the header, and leaves what follows it for others to read. `onHeader` is called with where the peer is, or undefined
   * where the connection is the proxy's own; `onNone` if there is no header in time.
   */
  readonly read: (
    socket: Net.Socket,
    address: string,
    millis: number,
    onHeader: (source: ProxyHeader.Endpoint | undefined) => void,
    onNone: () => void
  ) => void
  /** Ends those whose header has not come. */
  readonly stop: () => void
}

/** No more than `maxWaiting` wait at a time: the oldest makes way. */
export const make = (maxWaiting: number, boundary: Boundary): ProxyHeaders => {
  const places = Places.make(maxWaiting, undefined)
  const waiting = new Set<Net.Socket>()

  const read: ProxyHeaders["read"] = (socket, address, millis, onHeader, onNone) => {
    let received: Buffer = Buffer.alloc(0)
    const guarded = (f: () => void) => () => boundary.guard("socket", address, f, () => socket.destroy())

    const done = () => {
      clearTimeout(timer)
      socket.off("readable", onReadable)
      socket.off("end", onEnd)
      socket.off("close", done)
      waiting.delete(socket)
      place.leave()
    }
    const none = () => {
      done()
      onNone()
    }
    const take = () => {
      const bytes: unknown = socket.read()
      if (!Buffer.isBuffer(bytes)) {
        return
      }
      received = received.length === 0 ? bytes : Buffer.concat([received, bytes])
      const outcome = ProxyHeader.read(received)
      if (outcome._tag === "Invalid") {
        return none()
      }
      if (outcome._tag === "Header") {
        done()
        const rest = received.subarray(outcome.size)
        if (rest.length > 0) {
          socket.unshift(rest)
        }
        onHeader(outcome.source)
      }
    }
    const onReadable = guarded(take)
    const onEnd = guarded(none)
    const place = places.enter("", onEnd)
    const timer = setTimeout(onEnd, millis)
    waiting.add(socket)
    socket.on("readable", onReadable)
    socket.once("end", onEnd)
    socket.once("close", done)
  }

  return {
    read,
    stop: () => {
      for (const socket of [...waiting]) {
        socket.destroy()
      }
    }
  }
}
