/**
 * Large messages that come while their reader has no room: they are decoded nevertheless, so that their bytes are copied once
 * and not twice, and it is their credit that waits for the reader. Small ones would cost more as messages than as bytes.
 */
import * as GrpcReceiving from "../../Calls/GrpcReceiving.js"
import * as GrpcMessage from "../../protocol/grpc/GrpcMessage.js"

/** Messages from this size on cost little beside their bytes. */
const minAheadBytes = 4096

/** Beyond this share of the budget for unread messages nothing is decoded ahead: the rest is for readers that keep up. */
const budgetShare = 1 / 2

/** Whether the connection keeps so little that some may be decoded ahead. */
export const isAllowed = ({ unfinished, unread }: GrpcReceiving.Kept, connectionWindow: number): boolean =>
  unread + unfinished <= budgetShare * connectionWindow

const isLarge = (length: number, { limit }: GrpcMessage.Decoder): boolean => length >= minAheadBytes && length <= limit

/**
 * How many of the bytes from a place on belong to the large message that has begun, or begins there; 0 where none does. One that
 * is larger than allowed is refused when the reader has read what comes before it.
 */
export const sizeOf = (decoder: GrpcMessage.Decoder, chunk: Buffer, at: number): number => {
  const { flags, length, prefixAt } = decoder
  const left = chunk.length - at
  if (prefixAt === GrpcMessage.prefixSize) {
    return flags === 0 && isLarge(length, decoder) ? Math.min(left, GrpcMessage.missing(decoder)) : 0
  }
  if ((prefixAt === 0 ? chunk[at] : flags) !== 0) {
    return 0
  }
  const end = at + GrpcMessage.prefixSize - prefixAt
  if (end > chunk.length) {
    return left
  }
  let whole = prefixAt === 0 ? 0 : length
  for (let i = at; i < end; i++) {
    whole = whole * 256 + (chunk[i] ?? 0)
  }
  return isLarge(whole, decoder) ? Math.min(left, end - at + whole) : 0
}

/** What of the credit held back is due: the reader has as much to read as it may, and the rest waits. */
export const creditDue = ({ decoder, unread }: GrpcReceiving.Inbound, heldCredit: number): number =>
  Math.max(0, heldCredit - Math.max(0, unread + GrpcMessage.arrived(decoder) - GrpcReceiving.maxUnreadBytes))
