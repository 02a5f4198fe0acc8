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
  readonly limit: number
  readonly events: Events
  /** Bytes of the prefix that have come; all of them while a message comes. */
  prefixAt: number
  isCompressed: boolean
  length: number
  message: Buffer
  messageAt: number
  isBroken: boolean
}

const none = Buffer.alloc(0)

/** Room for a message grows with what has come of it: its prefix may claim what never comes. */
const firstRoom = 64 * 1024

export const makeDecoder = (limit: number, events: Events): Decoder => ({
  limit,
  events,
  prefixAt: 0,
  isCompressed: false,
  length: 0,
  message: none,
  messageAt: 0,
  isBroken: false
})

/** Whether a message has begun and not ended. */
export const isMidMessage = (decoder: Decoder): boolean => decoder.prefixAt > 0

const breakOff = (decoder: Decoder, why: "TooLarge" | "Compressed") => {
  decoder.isBroken = true
  decoder.events.onBroken(why)
}

const readPrefix = (decoder: Decoder, chunk: Buffer, start: number): number => {
  let at = start
  for (; decoder.prefixAt < prefixSize && at < chunk.length; decoder.prefixAt++) {
    const byte = chunk[at++] ?? 0
    if (decoder.prefixAt === 0) {
      decoder.isCompressed = byte !== 0
      decoder.length = 0
    } else {
      decoder.length = decoder.length * 256 + byte
    }
  }
  return at
}

const begin = (decoder: Decoder) => {
  decoder.messageAt = 0
  if (decoder.isCompressed) {
    breakOff(decoder, "Compressed")
  } else if (decoder.length > decoder.limit) {
    breakOff(decoder, "TooLarge")
  } else {
    decoder.message = Buffer.allocUnsafe(Math.min(decoder.length, firstRoom))
  }
}

const grow = (decoder: Decoder, size: number) => {
  const { length, message, messageAt } = decoder
  if (size > message.length) {
    const larger = Buffer.allocUnsafeSlow(Math.min(length, Math.max(size, 2 * message.length)))
    message.copy(larger, 0, 0, messageAt)
    decoder.message = larger
  }
}

const end = (decoder: Decoder) => {
  const { buffer, byteOffset } = decoder.message
  decoder.prefixAt = 0
  decoder.message = none
  decoder.events.onMessage(new Uint8Array(buffer, byteOffset, decoder.length))
}

/** Takes bytes as they come, and keeps none of the chunk. */
export const receive = (decoder: Decoder, chunk: Buffer): void => {
  let at = 0
  while (!decoder.isBroken) {
    if (decoder.prefixAt < prefixSize) {
      at = readPrefix(decoder, chunk, at)
      if (decoder.prefixAt < prefixSize) {
        return
      }
      begin(decoder)
      continue
    }
    const { length, messageAt } = decoder
    const taken = Math.min(length - messageAt, chunk.length - at)
    grow(decoder, messageAt + taken)
    chunk.copy(decoder.message, messageAt, at, at + taken)
    decoder.messageAt += taken
    at += taken
    if (decoder.messageAt < length) {
      return
    }
    end(decoder)
  }
}
