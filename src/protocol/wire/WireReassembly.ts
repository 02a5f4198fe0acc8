/** Messages that have come in part: their bytes, their age, and how much of them the peer makes this end keep. */

import * as Wire from "./Wire.js"

/** The unfinished messages of a connection. */
export interface Reassembly {
  count: number
  /** Bytes that have come of them. */
  size: number
  /** The size of the last message that came in pieces, because the next may be as large. */
  expectedSize: number
}

/** The unfinished message of one stream. */
export interface PartialMessage {
  /** What has come, with room behind it; undefined between messages. */
  partial: Uint8Array | undefined
  partialSize: number
  /** What its pieces have cost of the stream's window, as far as that is not released. */
  partialCost: number
  /** When it began, or when the peer last lacked the credit to go on with it. */
  partialSince: number
}

/** What is allocated for a message that has begun to come, at the most. */
const maxExpectedSize = 256 * 1024

export const make = (): Reassembly => ({ count: 0, size: 0, expectedSize: 0 })

/** Puts a piece behind those that have come, and returns them with the room behind them. */
export const append = (
  reassembly: Reassembly,
  stream: PartialMessage,
  reader: Wire.Reader,
  size: number,
  maxMessageSize: number,
  now: number
): Uint8Array => {
  const before = stream.partialSize
  const needed = before + size
  let { partial } = stream
  if (partial === undefined) {
    reassembly.count += 1
    stream.partialSince = now
    partial = Wire.allocate(Math.max(needed, Math.min(reassembly.expectedSize, maxMessageSize)))
    stream.partial = partial
  } else if (needed > partial.length) {
    const grown = Wire.allocate(Math.max(needed, Math.min(2 * partial.length, maxMessageSize)))
    grown.set(partial.subarray(0, before))
    partial = grown
    stream.partial = grown
  }
  reassembly.size += size
  Wire.readInto(reader, partial, before, size)
  stream.partialSize = needed
  return partial
}

/** Forgets the unfinished message of a stream, if it has one. */
export const drop = (reassembly: Reassembly, stream: PartialMessage): void => {
  if (stream.partial !== undefined) {
    reassembly.count -= 1
    reassembly.size -= stream.partialSize
    stream.partial = undefined
    stream.partialSize = 0
    stream.partialCost = 0
  }
}

/** The message without the room that it did not need; where that is much, in room of its own. */
const trim = (message: Uint8Array, size: number): Uint8Array =>
  size === message.length ? message : 2 * size > message.length ? message.subarray(0, size) : message.slice(0, size)

/** Returns the message, of which the last piece has been appended to `partial`. */
export const finish = (reassembly: Reassembly, stream: PartialMessage, partial: Uint8Array): Uint8Array => {
  const message = trim(partial, stream.partialSize)
  reassembly.expectedSize = Math.min(stream.partialSize, maxExpectedSize)
  drop(reassembly, stream)
  return message
}

/** Whether more has come than the budget. One message alone may be as large as a message may be. */
export const isOver = (reassembly: Reassembly, budget: number): boolean =>
  reassembly.count > 1 && reassembly.size > budget

/** Whether an unfinished message began more than `timeout` milliseconds ago. The time without credit does not count. */
export const isOverdue = (stream: PartialMessage, hasCredit: boolean, now: number, timeout: number): boolean => {
  if (!hasCredit) {
    stream.partialSince = now
    return false
  }
  return now - stream.partialSince > timeout
}
