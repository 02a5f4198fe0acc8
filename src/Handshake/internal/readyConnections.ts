/** The number of connections that a listener has whose peers have proved who they are, and whether it takes more. */
import type * as Net from "node:net"

/** The ready connections of one listener. */
export interface ReadyConnections {
  readonly isFull: () => boolean
  readonly isClosing: () => boolean
  /** Takes no more of them; those that there are stay. */
  readonly close: () => void
  /** Counts a connection until its socket closes. */
  readonly add: (socket: Net.Socket) => void
}

/** Begins with none. */
export const make = (maxConnections: number): ReadyConnections => {
  let count = 0
  let closing = false
  return {
    isFull: () => count >= maxConnections,
    isClosing: () => closing,
    close: () => {
      closing = true
    },
    add: (socket) => {
      count += 1
      socket.once("close", () => {
        count -= 1
      })
    }
  }
}
