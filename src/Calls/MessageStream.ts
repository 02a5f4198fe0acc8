/** A stream of a wire that moves whole messages: each sender is no more than 16 of them ahead of the reader. */
import { constVoid } from "effect/Function"

export interface MessageStream {
  readonly id: number
  /** A message was sent: calls `onRoom` when there is room for the next, at once where there is. */
  readonly onSent: (onRoom: () => void) => void
  /** The other end has read so many. */
  readonly onRead: (count: number) => void
  /** A message has come. False where the other end did not wait until there was room for it. */
  readonly onReceived: () => boolean
  /** So many were read here. */
  readonly onReleased: (count: number) => void
}

const window = 16

export const make = (id: number): MessageStream => {
  let unread = 0
  let received = 0
  let waiting = constVoid

  const onRead = (count: number) => {
    unread -= count
    if (unread < window) {
      const onRoom = waiting
      waiting = constVoid
      onRoom()
    }
  }

  return {
    id,
    onSent: (onRoom) => {
      waiting = onRoom
      // One more is unread.
      onRead(-1)
    },
    onRead,
    onReceived: () => {
      received += 1
      return received <= window
    },
    onReleased: (count) => {
      received -= count
    }
  }
}
