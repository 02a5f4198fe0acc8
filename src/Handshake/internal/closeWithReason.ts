/** Closes a socket after telling the peer why. */
import type * as Net from "node:net"
import * as Duration from "effect/Duration"

/** How long the peer may take to read the reason and to hang up itself. */
const closePeriod = Duration.seconds(1)

/**
 * Sends the reason, in whatever protocol the peer speaks, and destroys the socket when the peer has hung up or a second
 * has passed. What the peer sends meanwhile is discarded: unread bytes would turn the close into a reset, which can
 * overtake the reason.
 */
export const closeWithReason = (socket: Net.Socket, reason: Uint8Array): void => {
  socket.resume()
  socket.end(reason)
  const timer = setTimeout(() => socket.destroy(), Duration.toMillis(closePeriod))
  socket.once("close", () => clearTimeout(timer))
}
