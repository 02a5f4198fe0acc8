/** The content of a plain HTTP message as a web stream, within the connection's budget, and its fields as web headers. */
import type { Fields } from "../protocol/Fields.js"
import type { Kept } from "./GrpcReceiving.js"

/** Bytes that wait for a reader of a body before the peer has to wait. */
const maxWaiting = 64 * 1024

/** The parts of a connection that content on its way in needs. */
export interface Context {
  readonly kept: Kept
  readonly settings: { readonly connectionWindow: number }
}

/** What the content does to its stream. */
export interface Source {
  /** The peer has to wait until the stream is resumed. */
  readonly pause: () => void
  readonly resume: () => void
  /** Nobody wants the rest. */
  readonly stop: () => void
}

/** The content of a message on its way to a web stream, no more of it than a reader has room for. */
export interface HttpContent {
  readonly stream: ReadableStream<Uint8Array>
  readonly push: (chunk: Buffer) => void
  readonly end: () => void
  /** Ends the content too early, unless all of it has come. */
  readonly fail: (error: Error) => void
  /** What nobody has read counts no longer: the exchange is over. */
  readonly release: () => void
}

const none: Buffer = Buffer.alloc(0)

export const make = ({ kept, settings }: Context, source: Source): HttpContent => {
  let controller: ReadableStreamDefaultController<Uint8Array> | undefined
  let isWanted = false
  let hasEnded = false
  let isOver = false
  /** What came since the last read, in one piece however small the frames were: a frame of one byte costs one byte. */
  let room: Buffer = none
  let size = 0

  let isCounted = true

  const setRoom = (next: Buffer) => {
    if (isCounted) {
      kept.unread += next.length - room.length
    }
    room = next
  }

  const over = (end: () => void) => {
    if (!isOver) {
      isOver = true
      setRoom(none)
      end()
    }
  }

  const append = (chunk: Buffer) => {
    const needed = size + chunk.length
    if (needed > room.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * room.length))
      room.copy(larger, 0, 0, size)
      setRoom(larger)
    }
    chunk.copy(room, size)
    size = needed
  }

  /** Hands on what there is to a reader that waits. */
  const handOn = () => {
    if (isOver) {
      return
    }
    if (isWanted && size > 0) {
      isWanted = false
      const bytes = new Uint8Array(room.buffer, room.byteOffset, size)
      setRoom(none)
      size = 0
      controller?.enqueue(bytes)
    }
    if (hasEnded && size === 0) {
      over(() => controller?.close())
    }
  }

  return {
    stream: new ReadableStream<Uint8Array>(
      {
        start: (made) => {
          controller = made
        },
        pull: () => {
          isWanted = true
          if (size <= maxWaiting) {
            source.resume()
          }
          handOn()
        },
        cancel: () => over(source.stop)
      },
      { highWaterMark: 0 }
    ),
    push: (chunk) => {
      if (isOver) {
        return
      }
      append(chunk)
      if (isWanted) {
        // What comes with it is read with it.
        queueMicrotask(handOn)
      }
      if (size > maxWaiting || kept.unread > settings.connectionWindow) {
        source.pause()
      }
    },
    end: () => {
      hasEnded = true
      handOn()
    },
    fail: (error) => {
      if (!hasEnded) {
        over(() => controller?.error(error))
      }
    },
    release: () => {
      if (isCounted) {
        kept.unread -= room.length
        isCounted = false
      }
    }
  }
}

/** Fields that belong to a connection of HTTP/1 and not to a message: RFC 9113 section 8.2.2 and RFC 9114 section 4.2. */
const connectionFields = new Set([
  "connection",
  "host",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "te"
])

/** The fields of a message to send. */
export const fieldsOf = (headers: Iterable<readonly [string, string]>): Fields =>
  [...headers]
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .filter(([name]) => !connectionFields.has(name))

/** The fields of a message that came. */
export const headersOf = (fields: Fields): Headers => {
  const headers = new Headers()
  for (const [name, value] of fields) {
    headers.append(name, value)
  }
  return headers
}
