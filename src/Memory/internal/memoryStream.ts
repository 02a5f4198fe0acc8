/** A call in memory, as both ends know it, and how its messages wait for their reader. */
import type { ClientCall, ServerStream } from "../../Calls/CallStream.js"

/** Messages that wait between the two sides of a call, in each direction, before the sender has to wait. */
const window = 16

/** The messages of one direction. */
export interface Direction {
  unread: number
  /** Called when there is room for the next. */
  sent: (() => void) | undefined
}

export interface MemoryStream {
  readonly id: number
  readonly call: ClientCall<MemoryStream>
  /** Until the listener has it. */
  opening: Opening | undefined
  server: ServerStream<MemoryStream> | undefined
  readonly requests: Direction
  readonly answers: Direction
}

interface Opening {
  readonly timeout: number
  message: Uint8Array | undefined
  isHalfClosed: boolean
}

const direction = (): Direction => ({ unread: 0, sent: undefined })

export const make = (
  id: number,
  call: ClientCall<MemoryStream>,
  timeout: number,
  message: Uint8Array | undefined
): MemoryStream => ({
  id,
  call,
  opening: { timeout, message, isHalfClosed: false },
  server: undefined,
  requests: direction(),
  answers: direction()
})

/** So many messages have been read: their sender goes on where there is room. */
export const release = (direction: Direction, count: number): void => {
  direction.unread -= count
  const { sent } = direction
  if (sent !== undefined && direction.unread < window) {
    direction.sent = undefined
    sent()
  }
}
