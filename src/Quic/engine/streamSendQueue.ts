/** What was written to the streams of a connection and the engine has no room for: small rests first, large ones in turns. */
import type { State } from "./quiche.js"

/** What a stream has pending. */
export interface SendStream {
  readonly id: number
  readonly pending: Array<Buffer>
  pendingBytes: number
  /** Whether the end of the stream comes behind it. */
  fin: boolean
}

export interface SendQueue<A extends SendStream> {
  readonly state: Pick<State, "streamSend" | "streamCapacity">
  /** Streams with something pending, in the order in which they go on. */
  readonly blocked: Map<number, A>
  /** What all streams have pending. */
  unsent: number
  readonly onWritten: (size: number) => void
  /** Everything that was pending has been sent. */
  readonly onDrained: (stream: A) => void
  /** The engine takes nothing more of a stream; what was pending is dropped. */
  readonly onBroken: (stream: A, error: unknown) => void
}

/** A stream with no more pending than this goes before those with more. */
const smallBytes = 16 * 1024

/** What a stream with more sends before it is the next one's turn. */
const writeChunkBytes = 64 * 1024

const none = Buffer.alloc(0)

export const make = <A extends SendStream>(
  options: Pick<SendQueue<A>, "state" | "onWritten" | "onDrained" | "onBroken">
): SendQueue<A> => ({ ...options, blocked: new Map(), unsent: 0 })

const dropPending = <A extends SendStream>(queue: SendQueue<A>, stream: A): void => {
  queue.unsent -= stream.pendingBytes
  stream.pending.length = 0
  stream.pendingBytes = 0
  stream.fin = false
}

/** Sends what a stream has pending, as far as there is room; returns whether something is left. Throws as the engine does. */
const sendPending = <A extends SendStream>(queue: SendQueue<A>, stream: A, maxBytes: number): boolean => {
  const { id, pending } = stream
  for (let left = maxBytes; ; ) {
    const [bytes = none] = pending
    const chunk = bytes.length > left ? bytes.subarray(0, left) : bytes
    const isLast = stream.fin && pending.length <= 1 && chunk.length === bytes.length
    if (chunk.length === 0 && !isLast) {
      return pending.length > 0
    }
    const taken = queue.state.streamSend(id, chunk, isLast)
    if (taken === null) {
      // There is no room, or quiche has forgotten the stream; then this throws.
      queue.state.streamCapacity(id)
      return true
    }
    queue.onWritten(taken)
    left -= taken
    stream.pendingBytes -= taken
    queue.unsent -= taken
    if (taken < bytes.length) {
      pending[0] = bytes.subarray(taken)
      if (taken < chunk.length || left === 0) {
        return true
      }
    } else {
      pending.shift()
      if (isLast) {
        stream.fin = false
        return false
      }
    }
  }
}

const push = <A extends SendStream>(queue: SendQueue<A>, stream: A, maxBytes: number): boolean => {
  try {
    return sendPending(queue, stream, maxBytes)
  } catch (error) {
    dropPending(queue, stream)
    queue.onBroken(stream, error)
    return false
  }
}

/** Returns whether all of it is sent, or dropped because the stream is broken. If not, `onDrained` follows. */
export const write = <A extends SendStream>(queue: SendQueue<A>, stream: A, bytes: Buffer, fin: boolean): boolean => {
  if (bytes.length > 0) {
    stream.pending.push(bytes)
    stream.pendingBytes += bytes.length
    queue.unsent += bytes.length
  }
  stream.fin ||= fin
  if (queue.blocked.has(stream.id)) {
    return false
  }
  if (push(queue, stream, writeChunkBytes)) {
    queue.blocked.set(stream.id, stream)
    return false
  }
  return true
}

const settle = <A extends SendStream>(queue: SendQueue<A>, stream: A): void => {
  queue.blocked.delete(stream.id)
  queue.onDrained(stream)
}

/** Sends what there is room for now. Callbacks may write, reset and end the connection meanwhile, which clears the queue. */
export const advance = <A extends SendStream>(queue: SendQueue<A>): void => {
  const { blocked } = queue
  if (blocked.size === 0) {
    return
  }
  for (const stream of [...blocked.values()]) {
    if (blocked.has(stream.id) && stream.pendingBytes <= smallBytes && !push(queue, stream, smallBytes)) {
      settle(queue, stream)
    }
  }
  for (const stream of [...blocked.values()]) {
    if (!blocked.has(stream.id)) {
      continue
    }
    const before = stream.pendingBytes
    if (!push(queue, stream, writeChunkBytes)) {
      settle(queue, stream)
    } else if (stream.pendingBytes < before) {
      blocked.delete(stream.id)
      blocked.set(stream.id, stream)
    }
  }
}

/** What a stream has pending is not sent any more. */
export const drop = <A extends SendStream>(queue: SendQueue<A>, stream: A): void => {
  dropPending(queue, stream)
  queue.blocked.delete(stream.id)
}

export const isBlocked = <A extends SendStream>(queue: SendQueue<A>, stream: A): boolean => queue.blocked.has(stream.id)

/** Forgets everything, when the connection has ended. */
export const clear = <A extends SendStream>(queue: SendQueue<A>): void => {
  queue.unsent = 0
  queue.blocked.clear()
}
