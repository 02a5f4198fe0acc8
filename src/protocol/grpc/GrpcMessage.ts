/**
 * Messages as gRPC frames them on any HTTP: one byte that says whether the message is compressed, four for its length.
 *
 * Source: "PROTOCOL-HTTP2.md" of gRPC, production `Length-Prefixed-Message`.
 */

export const prefixSize = 5

/** Writes what stands before a message of so many bytes. */
export const writePrefix = (buffer: Buffer, at: number, length: number, isCompressed = false): number => {
  buffer[at] = isCompressed ? 1 : 0
  return buffer.writeUInt32BE(length, at + 1)
}

/** Why a message is not taken. One that is malformed has flags that gRPC does not define. */
export type Broken = "TooLarge" | "Compressed" | "Malformed"

/** What hears of the messages of one direction of calls, each with the call. */
export interface Events<Call> {
  /** The bytes are the receiver's. */
  readonly onMessage: (message: Uint8Array, call: Call, isCompressed: boolean) => void
  /** What comes is no message, or none that this side takes. Nothing is heard afterwards. */
  readonly onBroken: (why: Broken, call: Call) => void
}

/** Where the messages of one direction are. */
export interface Decoder {
  readonly limit: number
  /** Bytes of the prefix that have come; all of them while a message comes. */
  prefixAt: number
  /** Whether messages may be compressed. */
  takesCompressed: boolean
  flags: number
  length: number
  message: Buffer
  messageAt: number
  isBroken: boolean
}

const none = Buffer.alloc(0)

/**
 * Room for a message grows with what has come of it: its prefix may claim what never comes. Many have 64 KiB of content and a
 * little beside.
 */
const firstRoom = 64 * 1024 + 1024

export const makeDecoder = (limit: number): Decoder => ({
  limit,
  prefixAt: 0,
  takesCompressed: false,
  flags: 0,
  length: 0,
  message: none,
  messageAt: 0,
  isBroken: false
})

/** Whether a message has begun and not ended. */
export const isMidMessage = (decoder: Decoder): boolean => decoder.prefixAt > 0

/** What is to come of a message whose prefix has come. */
export const missing = ({ length, messageAt, prefixAt }: Decoder): number =>
  prefixAt < prefixSize ? 0 : length - messageAt

/** The room that is taken for a message that has begun and not ended. */
export const pendingSize = (decoder: Decoder): number =>
  isMidMessage(decoder) ? Math.max(prefixSize, decoder.message.length) : 0

const readPrefix = (decoder: Decoder, chunk: Buffer, start: number): number => {
  let at = start
  for (; decoder.prefixAt < prefixSize && at < chunk.length; decoder.prefixAt++) {
    const byte = chunk[at++] ?? 0
    if (decoder.prefixAt === 0) {
      decoder.flags = byte
      decoder.length = 0
    } else {
      decoder.length = decoder.length * 256 + byte
    }
  }
  return at
}

/** Makes room for a message; gives why there shall be none. */
const begin = (decoder: Decoder): Broken | undefined => {
  decoder.messageAt = 0
  if (decoder.length > decoder.limit) {
    return "TooLarge"
  }
  if (decoder.flags > 1) {
    return "Malformed"
  }
  if (decoder.flags === 1 && !decoder.takesCompressed) {
    return "Compressed"
  }
  decoder.message = Buffer.allocUnsafe(Math.min(decoder.length, firstRoom))
  return undefined
}

const grow = (decoder: Decoder, size: number) => {
  const { length, message, messageAt } = decoder
  if (size > message.length) {
    const larger = Buffer.allocUnsafeSlow(Math.min(length, Math.max(size, 2 * message.length)))
    message.copy(larger, 0, 0, messageAt)
    decoder.message = larger
  }
}

const end = (decoder: Decoder): Uint8Array => {
  const { buffer, byteOffset } = decoder.message
  decoder.prefixAt = 0
  decoder.message = none
  return new Uint8Array(buffer, byteOffset, decoder.length)
}

/** Lets go of what has come. Nothing is heard afterwards. */
export const drop = (decoder: Decoder): void => {
  decoder.isBroken = true
  decoder.message = none
}

/** Takes bytes as they come, and keeps none of the chunk. */
export const receive = <Call>(decoder: Decoder, events: Events<Call>, call: Call, chunk: Buffer): void => {
  let at = 0
  while (!decoder.isBroken) {
    if (decoder.prefixAt < prefixSize) {
      at = readPrefix(decoder, chunk, at)
      if (decoder.prefixAt < prefixSize) {
        return
      }
      const why = begin(decoder)
      if (why !== undefined) {
        decoder.isBroken = true
        events.onBroken(why, call)
      }
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
    events.onMessage(end(decoder), call, decoder.flags === 1)
  }
}
