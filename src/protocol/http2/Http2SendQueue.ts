/** Frames on their way out: in what pieces, in which order, and which of them wait for credit. */

import * as Bytes from "../Bytes.js"
import * as ByteWriter from "../ByteWriter.js"
import { type Fields, isName, isValue } from "../Fields.js"
import * as FlowControl from "../FlowControl.js"
import type { Encoder, Head } from "./HpackEncoder.js"
import * as HpackEncoder from "./HpackEncoder.js"
import type { Http2Code } from "./Http2Error.js"
import * as Frames from "./Http2Frames.js"
import { Flag } from "./Http2Frames.js"
import * as HeaderBlock from "./Http2HeaderBlock.js"
import type { Stream } from "./Http2Stream.js"
import * as Streams from "./Http2Stream.js"

export interface SendQueue<O> {
  readonly encoder: Encoder
  readonly writer: ByteWriter.ByteWriter
  /** Pieces of large messages. Everything in `writer` overtakes them. */
  readonly large: ByteWriter.ByteWriter
  /** The number of the batch that is being collected in `large`. */
  batch: number
  /** What follows the batch: header blocks are encoded in the order in which they leave. */
  behind: Array<Behind>
  /** The credit of the connection. */
  readonly flow: FlowControl.FlowControl
  /** Streams with data to send and credit for some, in a list; the first is the next to send a piece. */
  first: Stream<O> | undefined
  last: Stream<O> | undefined
  /** What is left to send of all messages. */
  unsent: number
  /** How many WINDOW_UPDATE frames the peer may send in answer to DATA before they count as useless. */
  freeUpdates: number
  /** The same for PING frames in answer to HEADERS and DATA. */
  freePings: number
  /** This end has sent a stream's END_STREAM. */
  readonly onLocalEnd: (stream: Stream<O>) => void
}

/** Frames of a stream behind its last piece: its trailers, or its reset. */
interface Behind {
  readonly id: number
  readonly trailers: Streams.Trailers | undefined
  readonly code: Http2Code | undefined
}

/** How much of large messages is written while bytes wait for the socket. Small ones overtake it. */
const maxAheadBytes = 128 * 1024

/** Messages from this size on go in pieces, and into records of TLS of their own. */
const minLargeBytes = 4096

/** About the size of a block, for those that are not encoded yet. */
const behindBytes = 64

/**
 * What the peer may answer to a DATA frame of at least `minAnsweredBytes`, or the last of a message: a PING (grpc-go measures
 * round trips so), two WINDOW_UPDATE frames, and one more for every 2 KiB (Go's net/http sends two for every 4 KiB it
 * reads). A peer whose credit makes this end send crumbs gets nothing for them.
 */
const minAnsweredBytes = 256
const updatesPerFrame = 2
const bytesPerUpdate = 2048

/** What may be answered at once, later. */
const maxFreeUpdates = 65_536
const maxFreePings = 1024

export const make = <O>(flow: FlowControl.FlowControl, onLocalEnd: (stream: Stream<O>) => void): SendQueue<O> => ({
  encoder: HpackEncoder.make(),
  writer: ByteWriter.make(),
  large: ByteWriter.make(32 * 1024, 160 * 1024),
  batch: 1,
  behind: [],
  flow,
  first: undefined,
  last: undefined,
  unsent: 0,
  freeUpdates: 16,
  freePings: 0,
  onLocalEnd
})

/** Bytes that are written and not taken. */
export const buffered = <O>(queue: SendQueue<O>): number =>
  queue.writer.size() + queue.large.size() + queue.behind.length * behindBytes

/** The peer may send so many more WINDOW_UPDATE frames. */
export const allowUpdates = <O>(queue: SendQueue<O>, count: number): void => {
  queue.freeUpdates = Math.min(maxFreeUpdates, queue.freeUpdates + count)
}

const link = <O>(queue: SendQueue<O>, stream: Stream<O>) => {
  const { last } = queue
  stream.isReady = true
  stream.previous = last
  if (last === undefined) {
    queue.first = stream
  } else {
    last.next = stream
  }
  queue.last = stream
}

const unlink = <O>(queue: SendQueue<O>, stream: Stream<O>) => {
  const { next, previous } = stream
  if (previous === undefined) {
    queue.first = next
  } else {
    previous.next = next
  }
  if (next === undefined) {
    queue.last = previous
  } else {
    next.previous = previous
  }
  stream.isReady = false
  stream.previous = undefined
  stream.next = undefined
}

/** A stream has got data or credit. */
export const wake = <O>(queue: SendQueue<O>, stream: Stream<O>): void => {
  if (!stream.isReady && stream.data !== undefined && stream.sendCredit > 0) {
    link(queue, stream)
  }
}

/** The size of the next piece of a large message: up to where a record of TLS ends, so that none is cut in two. */
const pieceSize = <O>(queue: SendQueue<O>): number => {
  const left = Frames.recordSize - (queue.large.size() % Frames.recordSize) - Frames.headerSize
  return left >= minLargeBytes ? left : Frames.recordSize - Frames.headerSize
}

/** All data of a stream has been written. */
const complete = <O>(queue: SendQueue<O>, stream: Stream<O>) => {
  const { endsStream, trailers } = stream
  if (stream.isReady) {
    unlink(queue, stream)
  }
  const sent = Streams.dropData(stream)
  if (trailers !== undefined) {
    stream.trailers = undefined
    writeHeaders(queue, stream, trailers.head, trailers.rest, true)
  } else if (endsStream) {
    queue.onLocalEnd(stream)
  }
  sent()
}

/** HEADERS and DATA let the peer ping once more (gRFC A8). */
const allowPing = (queue: Pick<SendQueue<never>, "freePings">) => {
  queue.freePings = Math.min(maxFreePings, queue.freePings + 1)
}

/** Sends the next piece of a stream's data; there is some, and credit for it if it has a size. */
const sendPiece = <O>(queue: SendQueue<O>, stream: Stream<O>, data: Uint8Array) => {
  const { flow } = queue
  const { length, offset, prefix } = stream
  const left = stream.size - offset
  const isLarge = stream.size >= minLargeBytes || stream.batch === queue.batch
  const size = Math.min(left, stream.sendCredit, flow.sendCredit, isLarge ? pieceSize(queue) : minLargeBytes)
  const isWhole = size === left
  if (isLarge) {
    stream.batch = queue.batch
  }
  const flags = isWhole && stream.endsStream ? Flag.endStream : 0
  Frames.writeData(isLarge ? queue.large : queue.writer, stream.id, flags, prefix, data, length, offset, size)
  FlowControl.send(stream, size)
  FlowControl.send(flow, size)
  queue.unsent -= size
  stream.offset += size
  if (isWhole || size >= minAnsweredBytes) {
    allowUpdates(queue, updatesPerFrame + Math.floor(size / bytesPerUpdate))
    allowPing(queue)
  }
  if (isWhole) {
    complete(queue, stream)
  }
}

const hasCredit = <O>(queue: SendQueue<O>, stream: Stream<O>): boolean =>
  stream.size === stream.offset || (stream.sendCredit > 0 && queue.flow.sendCredit > 0)

/**
 * Whether a stream may send now what it has. Small messages wait for large ones only where the credit of the connection is scarce.
 */
const isNext = <O>(queue: SendQueue<O>, { batch, size }: Stream<O>): boolean => {
  const { first, flow, writer } = queue
  if (size === 0) {
    return true
  }
  return size >= minLargeBytes || batch === queue.batch
    ? first === undefined && buffered(queue) < maxAheadBytes
    : writer.size() < maxAheadBytes && (first === undefined || flow.sendCredit >= size + Frames.recordSize)
}

/** Sends data as far as there is credit and nothing waits before it; the rest waits. */
export const add = <O>(
  queue: SendQueue<O>,
  stream: Stream<O>,
  data: Uint8Array,
  prefix: number,
  endsStream: boolean,
  sent: () => void
): void => {
  if (stream.data !== undefined || stream.isLocalDone) {
    throw new Error(`data on stream ${stream.id} before the last was sent, or after its end`)
  }
  const length = Bytes.sizeOf(data)
  const size = Frames.sizeWith(prefix, length)
  stream.data = data
  stream.length = length
  stream.size = size
  stream.offset = 0
  stream.prefix = prefix
  stream.endsStream = endsStream
  stream.sent = sent
  queue.unsent += size
  while (stream.data !== undefined && isNext(queue, stream) && hasCredit(queue, stream)) {
    sendPiece(queue, stream, stream.data)
  }
  wake(queue, stream)
}

/** A block that is encoded later must not fail then. */
const checkFields = (fields: Fields) => {
  for (const [name, value] of fields) {
    if (!isName(name) || !isValue(value)) {
      throw new RangeError(`a field that can't be sent: ${name}`)
    }
  }
}

/** A header block of a stream that has no data before it: in its place behind pieces that are written. */
const writeHeaders = <O>(
  queue: SendQueue<O>,
  stream: Stream<O>,
  head: Head | undefined,
  rest: Fields,
  isEnd: boolean
) => {
  const { encoder, writer } = queue
  if (stream.batch === queue.batch) {
    queue.behind.push({ id: stream.id, trailers: { head, rest }, code: undefined })
  } else {
    HeaderBlock.write(writer, encoder, stream.id, isEnd ? Flag.endStream : 0, head, rest)
  }
  allowPing(queue)
  if (isEnd) {
    queue.onLocalEnd(stream)
  }
}

/** Sends a header block behind what the stream has sent before, and behind the data that it has still to send. */
export const addHeaders = <O>(
  queue: SendQueue<O>,
  stream: Stream<O>,
  head: Head | undefined,
  rest: Fields,
  isEnd: boolean
): void => {
  if (stream.isLocalDone || stream.trailers !== undefined) {
    throw new Error(`header fields on stream ${stream.id} after its end`)
  }
  const hasData = stream.data !== undefined
  if (hasData || stream.batch === queue.batch) {
    if (!isEnd || stream.endsStream) {
      throw new Error(`header fields on stream ${stream.id} between data`)
    }
    checkFields(rest)
  }
  if (hasData) {
    stream.trailers = { head, rest }
  } else {
    writeHeaders(queue, stream, head, rest, isEnd)
  }
}

/** Sends RST_STREAM behind what the stream has sent before. */
export const reset = <O>(queue: SendQueue<O>, stream: Stream<O>, code: Http2Code): void => {
  if (stream.batch === queue.batch) {
    queue.behind.push({ id: stream.id, trailers: undefined, code })
  } else {
    Frames.writeReset(queue.writer, stream.id, code)
  }
}

/** A stream is over: what it has not sent is not sent. */
export const remove = <O>(queue: SendQueue<O>, stream: Stream<O>): void => {
  if (stream.data !== undefined) {
    queue.unsent -= stream.size - stream.offset
    Streams.dropData(stream)
    stream.trailers = undefined
  }
  if (stream.isReady) {
    unlink(queue, stream)
  }
}

const writeBehind = <O>({ behind, encoder, writer }: SendQueue<O>) => {
  for (const { code, id, trailers } of behind) {
    if (trailers !== undefined) {
      HeaderBlock.write(writer, encoder, id, Flag.endStream, trailers.head, trailers.rest)
    }
    if (code !== undefined) {
      Frames.writeReset(writer, id, code)
    }
  }
}

/** Returns the bytes to send now. The streams that are ready add pieces in turn until there are `budget` bytes. */
export const take = <O>(queue: SendQueue<O>, budget: number): ReadonlyArray<Buffer> => {
  const { flow, large, writer } = queue
  while (queue.first !== undefined && buffered(queue) < budget && flow.sendCredit > 0) {
    const stream: Stream<O> = queue.first
    unlink(queue, stream)
    // The peer may have taken back its credit.
    if (stream.data !== undefined && stream.sendCredit > 0) {
      sendPiece(queue, stream, stream.data)
      wake(queue, stream)
    }
  }
  queue.batch += 1
  if (large.size() === 0) {
    return writer.take()
  }
  const chunks = [...writer.take(), ...large.take()]
  if (queue.behind.length > 0) {
    writeBehind(queue)
    queue.behind = []
    chunks.push(...writer.take())
  }
  return chunks
}

/** All that was taken has been sent: its room serves again. */
export const reclaim = <O>(queue: SendQueue<O>): void => {
  queue.writer.reclaim()
  queue.large.reclaim()
}

/** The same, and lets go of all room that nothing is in. */
export const trim = <O>(queue: SendQueue<O>): void => {
  queue.writer.trim()
  queue.large.trim()
}
