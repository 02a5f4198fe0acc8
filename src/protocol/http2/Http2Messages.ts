/** Header blocks and DATA as HTTP messages: checked against RFC 9113 section 8, events out. */

import type { Fields } from "../Fields.js"
import * as FlowControl from "../FlowControl.js"
import * as HttpFields from "../http/HttpFields.js"
import * as HpackDecoder from "./HpackDecoder.js"
import { CompressionError, type Decoder, type Section } from "./HpackDecoder.js"
import * as Bdp from "./Http2Bdp.js"
import { codes, type Http2Code, Http2Violation, protocolError } from "./Http2Error.js"
import * as Frames from "./Http2Frames.js"
import { Flag } from "./Http2Frames.js"
import * as State from "./Http2State.js"
import { type Stream, unknownLength } from "./Http2Stream.js"

/** Each throws a `Http2Violation` when the peer does more in a second than its limit. */
export interface Counters {
  readonly countCall: (now: number) => void
  readonly countCancel: (now: number) => void
  readonly countPing: (now: number) => void
  readonly countUseless: (now: number) => void
}

/** What header blocks of one kind said that come again and again, and the last of them. */
interface Known<A> {
  readonly all: WeakMap<Section, A>
  section: Section | undefined
  value: A | undefined
}

const makeKnown = <A>(): Known<A> => ({ all: new WeakMap(), section: undefined, value: undefined })

export interface Messages<O> {
  readonly state: State.State<O>
  readonly counters: Counters
  readonly decoder: Decoder
  readonly requests: Known<HttpFields.RequestHead>
  readonly responses: Known<HttpFields.ResponseHead>
  readonly trailers: Known<Fields>
  /** Streams that the peer has begun, and those that it has reset. */
  came: number
  /** Ids that the peer has passed over, which it may not use any more: the first of each gap and the one behind it. */
  readonly gaps: Array<readonly [first: number, behind: number]>
  /** The stream of the DATA frame that is being received, unless it is dropped. */
  stream: Stream<O> | undefined
  isLast: boolean
  frameSize: number
  contentSize: number
}

export const make = <O>(state: State.State<O>, counters: Counters): Messages<O> => ({
  state,
  counters,
  decoder: HpackDecoder.make({ maxHeaderListSize: state.limits.maxHeaderListSize }),
  requests: makeKnown(),
  responses: makeKnown(),
  trailers: makeKnown(),
  came: 0,
  gaps: [],
  stream: undefined,
  isLast: false,
  frameSize: 0,
  contentSize: 0
})

/** Content that makes fewer bytes than the prefix of a gRPC message is not worth a frame. */
const minContent = 5

/** How many gaps are remembered: no client in use leaves any. */
const maxGaps = 16

/** A frame for a stream that has ended. What may have been under way is free. */
export const onLate = <O>({ counters, state }: Messages<O>): void => {
  if (state.lateFrames > 0) {
    state.lateFrames -= 1
  } else {
    counters.countUseless(state.now)
  }
}

/** Resets a stream on which the peer has broken a rule. */
export const fail = <O>({ counters, state }: Messages<O>, stream: Stream<O>, code: Http2Code, text: string): void => {
  State.reset(state, stream, code)
  state.events.onReset(stream, codes[code], "local", text)
  // A peer that makes this end reset what it has opened costs as much as one that resets it itself.
  if (!stream.isMine) {
    counters.countCancel(state.now)
  }
}

/** The peer's half of a stream is closed, by the frame that is read. */
const endRemote = <O>({ state }: Messages<O>, stream: Stream<O>) => {
  stream.isRemoteDone = true
  if (stream.isLocalDone) {
    State.finish(state, stream)
  }
}

const onEnd = <O>({ state }: Messages<O>, stream: Stream<O>) => {
  if (!stream.isReset) {
    state.events.onEnd(stream)
  }
}

/** What a section says, which is not read again where it came before. */
const readSection = <A>(
  known: Known<A>,
  section: Section,
  read: (section: Section) => A
): A | HttpFields.MalformedMessage => {
  if (known.section === section && known.value !== undefined) {
    return known.value
  }
  try {
    const value = (section.isShared ? known.all.get(section) : undefined) ?? read(section)
    if (section.isShared) {
      known.all.set(section, value)
      known.section = section
      known.value = value
    }
    return value
  } catch (error) {
    if (error instanceof HttpFields.MalformedMessage) {
      return error
    }
    throw error
  }
}

const readRequest = ({ fields }: Section) => HttpFields.readRequestHead(fields, { needsAuthority: false })
const readResponse = ({ fields }: Section) => HttpFields.readResponseHead(fields)
const readTrailers = ({ fields }: Section) => HttpFields.readTrailers(fields)

const hasContent = (contentLength: number | undefined) => contentLength !== undefined && contentLength > 0

/** The id of a new stream: higher than all before it, and none that was passed over. */
const takeId = <O>(messages: Messages<O>, id: number) => {
  const { gaps, state } = messages
  if (id > state.nextTheirs) {
    gaps.push([state.nextTheirs, id])
    if (gaps.length > maxGaps) {
      gaps.shift()
    }
  }
  state.nextTheirs = id + 2
  messages.came += 1
}

const onRequest = <O>(messages: Messages<O>, id: number, isEnd: boolean, section: Section) => {
  const { counters, state } = messages
  const { events, limits, now } = state
  takeId(messages, id)
  counters.countCall(now)
  if (id > state.lastTheirs) {
    // The client has not read the GOAWAY, and will try elsewhere.
    State.expectLate(state, State.initialWindow(state), 0)
    return onLate(messages)
  }
  if (state.theirs >= limits.maxConcurrentStreams) {
    State.refuse(state, id, "REFUSED_STREAM")
    if (state.isSettingsAcked) {
      counters.countUseless(now)
    }
    return
  }
  const head = section.isTooLarge ? undefined : readSection(messages.requests, section, readRequest)
  if (head instanceof HttpFields.MalformedMessage || (isEnd && hasContent(head?.contentLength))) {
    State.refuse(state, id, "PROTOCOL_ERROR")
    return counters.countCancel(now)
  }
  const stream = State.begin(state, id, false)
  stream.hasHead = true
  stream.isRemoteDone = isEnd
  if (head === undefined) {
    events.onTooLarge(stream, false)
  } else {
    stream.contentLeft = head.contentLength ?? unknownLength
    events.onRequest(stream, head, isEnd)
  }
  if (isEnd) {
    onEnd(messages, stream)
  }
}

const onResponse = <O>(messages: Messages<O>, stream: Stream<O>, isEnd: boolean, section: Section) => {
  const { counters, state } = messages
  const { events, now } = state
  const head = section.isTooLarge ? undefined : readSection(messages.responses, section, readResponse)
  if (head instanceof HttpFields.MalformedMessage) {
    return fail(messages, stream, "PROTOCOL_ERROR", head.text)
  }
  if (head !== undefined && head.status < 200) {
    return isEnd
      ? fail(messages, stream, "PROTOCOL_ERROR", "an informational response that ends its stream")
      : counters.countUseless(now)
  }
  const contentLength = stream.isHeadRequest || head?.status === 304 ? undefined : head?.contentLength
  if (isEnd && hasContent(contentLength)) {
    return fail(messages, stream, "PROTOCOL_ERROR", "less content than content-length says")
  }
  stream.hasHead = true
  stream.contentLeft = contentLength ?? unknownLength
  if (isEnd) {
    endRemote(messages, stream)
  }
  if (head === undefined) {
    events.onTooLarge(stream, false)
  } else {
    events.onResponse(stream, head, isEnd)
  }
  if (isEnd) {
    onEnd(messages, stream)
  }
}

const onTrailers = <O>(messages: Messages<O>, stream: Stream<O>, isEnd: boolean, section: Section) => {
  const { events } = messages.state
  if (!isEnd) {
    return fail(messages, stream, "PROTOCOL_ERROR", "trailers that don't end their stream")
  }
  if (stream.contentLeft > 0) {
    return fail(messages, stream, "PROTOCOL_ERROR", "less content than content-length says")
  }
  const trailers = section.isTooLarge ? undefined : readSection(messages.trailers, section, readTrailers)
  if (trailers instanceof HttpFields.MalformedMessage) {
    return fail(messages, stream, "PROTOCOL_ERROR", trailers.text)
  }
  endRemote(messages, stream)
  if (trailers === undefined) {
    events.onTooLarge(stream, true)
  } else {
    events.onTrailers(stream, trailers)
  }
  onEnd(messages, stream)
}

/** A header block of a stream that has begun. */
const onMore = <O>(messages: Messages<O>, id: number, isEnd: boolean, section: Section) => {
  const { gaps, state } = messages
  const stream = State.find(state, id)
  if (stream === undefined) {
    if (gaps.some(([first, behind]) => id >= first && id < behind)) {
      throw protocolError(`stream ${id} was opened after a later one`)
    }
    return onLate(messages)
  }
  if (stream.isRemoteDone) {
    return fail(messages, stream, "STREAM_CLOSED", "header fields after the end of the stream")
  }
  return stream.hasHead ? onTrailers(messages, stream, isEnd, section) : onResponse(messages, stream, isEnd, section)
}

/** A whole header block. It is decoded whatever becomes of its stream: all share the decoder's table. */
export const onBlock = <O>(
  messages: Messages<O>,
  id: number,
  isEnd: boolean,
  bytes: Buffer,
  start: number,
  end: number
): void => {
  const { state } = messages
  const section = messages.decoder.decode(bytes, start, end)
  if (section instanceof CompressionError) {
    throw new Http2Violation("COMPRESSION_ERROR", section.text)
  }
  if (state.role === "server" && id >= state.nextTheirs && id % 2 === 1) {
    onRequest(messages, id, isEnd, section)
  } else {
    onMore(messages, id, isEnd, section)
  }
}

/** A DATA frame begins. All of it counts against both windows, its padding included: RFC 9113 section 6.1. */
export const onData = <O>(messages: Messages<O>, flags: number, id: number, length: number): void => {
  const { counters, state } = messages
  messages.stream = undefined
  messages.isLast = (flags & Flag.endStream) !== 0
  messages.frameSize = length
  messages.contentSize = 0
  if (!FlowControl.canReceive(state.flow, length)) {
    throw new Http2Violation("FLOW_CONTROL_ERROR", "more DATA than the window of the connection")
  }
  FlowControl.receive(state.flow, length)
  if (Bdp.onData(state.bdp, length, state.now)) {
    Frames.writePing(state.sendQueue.writer, 0, Bdp.payloadHigh, Bdp.payloadLow)
  }
  const stream = State.find(state, id)
  if (stream === undefined) {
    state.lateBytes -= length
    if (state.lateBytes < 0) {
      state.lateBytes = 0
      counters.countUseless(state.now)
    }
  } else if (stream.isRemoteDone) {
    fail(messages, stream, "STREAM_CLOSED", "DATA after the end of the stream")
  } else if (!stream.hasHead) {
    fail(messages, stream, "PROTOCOL_ERROR", "DATA before the header fields")
  } else if (!FlowControl.canReceive(stream, length)) {
    fail(messages, stream, "FLOW_CONTROL_ERROR", "more DATA than the window of the stream")
  } else {
    FlowControl.receive(stream, length)
    messages.stream = stream
  }
}

const passOn = <O>(
  messages: Messages<O>,
  stream: Stream<O>,
  isEnd: boolean,
  bytes: Buffer,
  start: number,
  end: number
) => {
  if (stream.contentLeft !== unknownLength) {
    stream.contentLeft -= end - start
    if (stream.contentLeft < 0 || (isEnd && stream.contentLeft > 0)) {
      return fail(messages, stream, "PROTOCOL_ERROR", "other content than content-length says")
    }
  }
  if (isEnd) {
    endRemote(messages, stream)
  }
  if (end > start) {
    messages.state.events.onData(stream, bytes.subarray(start, end), isEnd)
  }
  if (isEnd) {
    onEnd(messages, stream)
  }
}

/** Some content of the DATA frame that has begun. */
export const onContent = <O>(
  messages: Messages<O>,
  bytes: Buffer,
  start: number,
  end: number,
  isFrameEnd: boolean
): void => {
  const { counters, frameSize, isLast, state, stream } = messages
  messages.contentSize += end - start
  if (stream !== undefined && !stream.isGone) {
    passOn(messages, stream, isFrameEnd && isLast, bytes, start, end)
  }
  if (!isFrameEnd) {
    return
  }
  messages.stream = undefined
  const { contentSize } = messages
  if (stream !== undefined && contentSize < frameSize) {
    // Nobody reads the padding.
    State.consume(state, stream, frameSize - contentSize)
  }
  if (!isLast && contentSize < minContent) {
    counters.countUseless(state.now)
  }
  // A stream that is not read must not hold up others: what is unread is the owner's to count.
  FlowControl.release(state.flow, frameSize)
  if (!state.events.isFull()) {
    State.replenish(state)
  }
}
