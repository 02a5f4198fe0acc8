/**
 * Messages as gRPC frames them on any HTTP: one byte that says whether the message is compressed, four for its length.
 *
 * Source: "PROTOCOL-HTTP2.md" of gRPC, production `Length-Prefixed-Message`.
 */

export const prefixSize = 5

/** Writes what stands before a message of so many bytes. */
export const writePrefix = (buffer: Buffer, at: number, length: number): number => {
  buffer[at] = 0
  return buffer.writeUInt32BE(length, at + 1)
}

/** What hears of the messages of one direction of a call. */
export interface Events {
  /** The bytes are the receiver's. */
  readonly onMessage: (message: Uint8Array) => void
  /** What comes is no message, or none that this side takes. Nothing is heard afterwards. */
  readonly onBroken: (why: "TooLarge" | "Compressed") => void
}

/** Where the messages of one direction are. */
export interface Decoder {
  /** Takes bytes as they come, and keeps none of the chunk. */
  readonly receive: (chunk: Buffer) => void
  /** Whether a message has begun and not ended. */
  readonly isMidMessage: () => boolean
}

const none = Buffer.alloc(0)

/** Room for a message grows with what has come of it: its prefix may claim what never comes. */
const firstRoom = 64 * 1024

export const makeDecoder = (limit: number, { onBroken, onMessage }: Events): Decoder => {
  /** Bytes of the prefix that have come; all of them while a message comes. */
  let prefixAt = 0
  let isCompressed = false
  let length = 0
  let message = none
  let messageAt = 0
  let isBroken = false

  const breakOff = (why: "TooLarge" | "Compressed") => {
    isBroken = true
    onBroken(why)
  }

  const readPrefix = (chunk: Buffer, start: number): number => {
    let at = start
    for (; prefixAt < prefixSize && at < chunk.length; prefixAt++) {
      const byte = chunk[at++] ?? 0
      if (prefixAt === 0) {
        isCompressed = byte !== 0
        length = 0
      } else {
        length = length * 256 + byte
      }
    }
    return at
  }

  const begin = () => {
    messageAt = 0
    if (isCompressed) {
      breakOff("Compressed")
    } else if (length > limit) {
      breakOff("TooLarge")
    } else {
      message = Buffer.allocUnsafe(Math.min(length, firstRoom))
    }
  }

  const grow = (size: number) => {
    if (size > message.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(length, Math.max(size, 2 * message.length)))
      message.copy(larger, 0, 0, messageAt)
      message = larger
    }
  }

  const end = () => {
    prefixAt = 0
    const { buffer, byteOffset } = message
    message = none
    onMessage(new Uint8Array(buffer, byteOffset, length))
  }

  return {
    receive: (chunk) => {
      let at = 0
      while (!isBroken) {
        if (prefixAt < prefixSize) {
          at = readPrefix(chunk, at)
          if (prefixAt < prefixSize) {
            return
          }
          begin()
          continue
        }
        const taken = Math.min(length - messageAt, chunk.length - at)
        grow(messageAt + taken)
        chunk.copy(message, messageAt, at, at + taken)
        messageAt += taken
        at += taken
        if (messageAt < length) {
          return
        }
        end()
      }
    },
    isMidMessage: () => prefixAt > 0
  }
}
