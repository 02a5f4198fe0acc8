/** Closes a socket so that its last bytes reach the peer, but does not wait for the peer without end. */
import type * as Net from "node:net"
import * as Duration from "effect/Duration"

/** How long the peer may take to hang up itself when all has been sent. */
export const lingerPeriod = Duration.seconds(1)

/** What the peer may send meanwhile: what the buffers of both systems and of the peer hold, and not a stream without end. */
const maxLingerBytes = 32 * 1024 * 1024

/** How long what was written may take to leave: a peer that does not read would keep it for ever. */
const flushPeriod = Duration.seconds(5)

/** How often the time and the bytes are looked at. */
const checkMillis = 20

/**
 * Sends what was written, the last bytes behind it and the end, and destroys the socket when the peer has hung up too; or when
 * a second has passed since, or the peer goes on sending. What the peer sends meanwhile is discarded: unread bytes, and those
 * that arrive after a close, would make the system reset the connection, and the peer's next write fail, before the peer has
 * read the last bytes.
 */
export const lingeringClose = (socket: Net.Socket, last?: Uint8Array): void => {
  if (socket.destroyed) {
    return
  }
  let until = performance.now() + Duration.toMillis(flushPeriod)
  socket.once("finish", () => {
    until = performance.now() + Duration.toMillis(lingerPeriod)
  })
  const maxBytesRead = socket.bytesRead + maxLingerBytes
  // Not by `data`, which sockets that read into a buffer of their owner do not emit.
  const timer = setInterval(() => {
    if (performance.now() >= until || socket.bytesRead > maxBytesRead) {
      socket.destroy()
    }
  }, checkMillis)
  socket.once("close", () => clearInterval(timer))
  socket.resume()
  if (last === undefined) {
    socket.end()
  } else {
    socket.end(last)
  }
}

/** Sends what was written, and destroys the socket then, whatever the peer may still send. */
export const closeSoon = (socket: Net.Socket): void => {
  if (socket.destroyed) {
    return
  }
  const timer = setTimeout(() => socket.destroy(), Duration.toMillis(flushPeriod))
  socket.once("close", () => clearTimeout(timer))
  socket.destroySoon()
}
