/** Messages on their way out: in what pieces, in which order, and which of them wait for credit. */

import * as Bytes from "../Bytes.js"
import * as FlowControl from "../FlowControl.js"
import * as ReassemblyBudget from "../ReassemblyBudget.js"
import * as Wire from "./Wire.js"
import { Flag } from "./Wire.js"
import * as Frames from "./WireFrames.js"
import * as Writer from "./WireWriter.js"

export interface SendQueue {
  readonly writer: Writer.Writer
  /** Pieces of large messages. Everything in `writer` overtakes them. */
  readonly large: Writer.Writer
  /** The number of the batch that is being collected in `large`. */
  batch: number
  /** The credit of the connection. */
  readonly flow: FlowControl.FlowControl
  /** Messages of which a piece has left and the rest has not, against the peer's budget for them. */
  readonly reassembly: ReassemblyBudget.ReassemblyBudget<SendStream>
  /** How much the peer keeps of unfinished messages. */
  maxBegun: number
  /** Streams with a message to send; the first is the next to send a piece. */
  readonly waiting: Set<SendStream>
  /** What is left to send of all messages. */
  unsent: number
}

/** The sending side of one stream. */
export interface SendStream extends FlowControl.FlowControl {
  readonly id: number
  outgoing: Outgoing | undefined
  /** The last batch of large pieces that holds one of this stream. */
  batch: number
}

/** A message, of which `offset` bytes have left. */
export interface Outgoing {
  readonly message: Uint8Array
  readonly size: number
  offset: number
  readonly end: boolean
  readonly sent: () => void
}

/** How much of large messages is written while bytes wait for the socket. Small ones overtake it. */
const maxAheadBytes = 128 * 1024

/** Pieces from this size on go to the large ones, and into a record of TLS of their own. */
const minLargePiece = 4096

export const make = (flow: FlowControl.FlowControl): SendQueue => ({
  writer: Writer.make(),
  large: Writer.make(32 * 1024, 160 * 1024),
  batch: 1,
  flow,
  reassembly: ReassemblyBudget.make(),
  maxBegun: 0,
  waiting: new Set(),
  unsent: 0
})

/** Bytes that are written and not taken. */
export const buffered = (queue: SendQueue): number => queue.writer.size() + queue.large.size()

/** Where the next frame of a stream goes: not before pieces of its own. */
export const writerOf = (queue: SendQueue, stream: SendStream): Writer.Writer =>
  stream.batch === queue.batch ? queue.large : queue.writer

/** The size of the next piece of a large message: up to where a record of TLS ends, so that none is cut in two. */
const pieceSize = (queue: SendQueue): number => {
  const left = Wire.recordSize - (queue.large.size() % Wire.recordSize) - Wire.headerSize
  return left >= minLargePiece ? left : Math.min(Wire.maxPiece, left + Wire.recordSize)
}

/** Sends the next piece of a stream's message if there is credit for one, and returns whether it did. */
const sendPiece = (queue: SendQueue, stream: SendStream): boolean => {
  const { flow, reassembly } = queue
  const { outgoing } = stream
  const room = Math.min(stream.sendCredit, flow.sendCredit) - Wire.messageOverhead
  if (outgoing === undefined || room < Math.min(1, outgoing.size)) {
    return false
  }
  const left = outgoing.size - outgoing.offset
  // A piece that is not the last must not overtake the ends of others, or the peer sees more that is unfinished.
  const isLarge = outgoing.size >= minLargePiece || left > room || stream.batch === queue.batch
  const size = Math.min(left, room, isLarge ? pieceSize(queue) : left)
  const isWhole = size === left
  const isFirst = outgoing.offset === 0
  if (!isWhole && isFirst && !ReassemblyBudget.mayBegin(reassembly, stream, outgoing.size, queue.maxBegun)) {
    return false
  }
  const flags = isWhole ? (outgoing.end ? Flag.end : 0) : Flag.more
  if (isLarge) {
    stream.batch = queue.batch
  }
  Frames.writeMessage(isLarge ? queue.large : queue.writer, flags, stream.id, outgoing.message, outgoing.offset, size)
  FlowControl.send(stream, Wire.messageOverhead + size)
  FlowControl.send(flow, Wire.messageOverhead + size)
  if (isFirst && !isWhole) {
    ReassemblyBudget.begin(reassembly, outgoing.size)
  }
  ReassemblyBudget.leave(reassembly, stream)
  queue.unsent -= size
  outgoing.offset += size
  if (isWhole) {
    if (!isFirst) {
      ReassemblyBudget.end(reassembly, outgoing.size)
    }
    stream.outgoing = undefined
    queue.waiting.delete(stream)
    outgoing.sent()
  }
  return true
}

/** Sends a message as far as there is credit and nothing waits before it; the rest waits. One at a time for each stream. */
export const add = (
  queue: SendQueue,
  stream: SendStream,
  message: Uint8Array,
  end: boolean,
  sent: () => void
): void => {
  const size = Bytes.sizeOf(message)
  stream.outgoing = { message, size, offset: 0, end, sent }
  queue.unsent += size
  while (
    queue.waiting.size === 0 &&
    stream.outgoing !== undefined &&
    buffered(queue) < maxAheadBytes &&
    sendPiece(queue, stream)
  ) {}
  if (stream.outgoing !== undefined) {
    queue.waiting.add(stream)
  }
}

/** A stream is over: what it has not sent is not sent. */
export const remove = (queue: SendQueue, stream: SendStream): void => {
  queue.waiting.delete(stream)
  const { outgoing } = stream
  if (outgoing !== undefined) {
    queue.unsent -= outgoing.size - outgoing.offset
    if (outgoing.offset > 0) {
      ReassemblyBudget.end(queue.reassembly, outgoing.size)
    }
    stream.outgoing = undefined
    ReassemblyBudget.leave(queue.reassembly, stream)
  }
}

/** Returns the bytes to send now. The streams that wait add pieces in turn until there are `budget` bytes. */
export const take = (queue: SendQueue, budget: number): ReadonlyArray<Buffer> => {
  const { large, waiting, writer } = queue
  let blocked = 0
  while (buffered(queue) < budget && waiting.size > blocked) {
    const [stream] = waiting
    if (stream === undefined) {
      break
    }
    waiting.delete(stream)
    waiting.add(stream)
    blocked = sendPiece(queue, stream) ? 0 : blocked + 1
  }
  queue.batch += 1
  return large.size() === 0 ? writer.take() : [...writer.take(), ...large.take()]
}

/** All that was taken has been sent: its room serves again. */
export const reclaim = (queue: SendQueue): void => {
  queue.writer.reclaim()
  queue.large.reclaim()
}

/** The same, and lets go of all room that nothing is in. */
export const trim = (queue: SendQueue): void => {
  queue.writer.trim()
  queue.large.trim()
}
