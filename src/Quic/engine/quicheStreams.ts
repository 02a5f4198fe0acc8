/** The streams of one connection on quiche's state machine: what comes, what waits for room, and who is stopped. */
import * as IdTable from "../../protocol/IdTable.js"
import type { Connection, ConnectionSettings, Read, StreamEvents } from "./QuicEngine.js"
import type { Quiche, State } from "./quiche.js"
import * as StreamError from "./streamError.js"

export interface Options {
  readonly quiche: Quiche
  readonly state: State
  readonly role: "client" | "server"
  readonly isClosed: () => boolean
  /** Has what follows sent at the end of this turn of the event loop. */
  readonly schedule: () => void
  /** Sends what there is at once. */
  readonly send: () => void
  /** Hears how many bytes were read. */
  readonly onRead: (size: number) => void
  /** Hears how many bytes the engine has taken to send. */
  readonly onWritten: (size: number) => void
  /** A stream that this end opened is over before its end has come. */
  readonly onAbandoned: () => void
  readonly onStream: (id: number) => StreamEvents
  readonly onOverflow: (id: number) => void
  readonly onStreamsAvailable: () => void
}

export interface Streams {
  readonly methods: Pick<
    Connection,
    "mayOpenBidi" | "openBidi" | "openUni" | "write" | "read" | "unsent" | "reset" | "stop" | "watch" | "release"
  >
  /** Tells of all that is readable. */
  readonly readAll: () => void
  /** The most that can be unread of the streams that have something to read. */
  readonly maxUnread: (streamWindow: number) => number
  /** Has streams that nobody reads broken off, the latest first, until no more is unread than may be; gives how much that is. */
  readonly relieve: (unread: number, windows: Pick<ConnectionSettings, "connectionWindow" | "streamWindow">) => number
  /** Tells who was stopped and that streams may be opened, and hands on what waits for room. */
  readonly advance: () => void
  /** Whether something waits for room. */
  readonly isBlocked: () => boolean
  /** Forgets all of them, when the connection has ended. */
  readonly clear: () => void
}

interface Stream {
  readonly id: number
  readonly events: StreamEvents
  /** What was written and quiche has no room for, and whether the end comes behind it. */
  readonly pending: Array<Buffer>
  pendingSize: number
  fin: boolean
  isReleased: boolean
}

/** What is read from a stream, one read at a time. */
const readBuffer = Buffer.allocUnsafeSlow(128 * 1024)

/** Not `readBuffer`, which whoever gives a stream up may be reading. */
const discarded = Buffer.allocUnsafeSlow(64 * 1024)

/** A stream with no more waiting than this goes before those with more. */
const small = 16 * 1024
/** Those take turns with portions of this size. */
const portion = 64 * 1024

const none = Buffer.alloc(0)

const unknownCode = 0

/** Streams of the peer that have come, from the first of their kind on. They can come out of order. */
const makeSeen = (first: number) => {
  let next = first
  const gaps = new Set<number>()
  return {
    /** The one that comes next where none is out of order. */
    next: () => next,
    /** Tells the first time that it is asked for a stream from any other. */
    isNew: (id: number): boolean => {
      if (id < next) {
        return gaps.delete(id)
      }
      for (let gap = next; gap < id; gap += 4) {
        gaps.add(gap)
      }
      next = id + 4
      return true
    }
  }
}

/** With no more streams than this each is asked whether it is readable. */
const mostAsked = 32

export const make = ({
  isClosed,
  onAbandoned,
  onOverflow,
  onRead,
  onStream,
  onStreamsAvailable,
  onWritten,
  quiche: { Shutdown },
  role,
  schedule,
  send,
  state
}: Options): Streams => {
  const streams = IdTable.make<Stream>()
  /** Streams with something pending, in the order of their turns. */
  const blocked = new Set<number>()
  const watched = new Set<number>()
  const seen = role === "client" ? { bidi: makeSeen(1), uni: makeSeen(3) } : { bidi: makeSeen(0), uni: makeSeen(2) }
  let nextBidi = role === "client" ? 0 : 1
  let nextUni = role === "client" ? 2 : 3
  /** Streams that may be opened, of those that the peer was known to allow; and whether more are waited for. */
  let bidiLeft = 0
  let wantsStream = false
  /** What all streams have pending. */
  let unsent = 0

  const dropPending = (stream: Stream) => {
    unsent -= stream.pendingSize
    stream.pending.length = 0
    stream.pendingSize = 0
    stream.fin = false
  }

  /** Hands on what a stream has pending, as far as there is room; gives whether something is left. */
  const push = (stream: Stream, most: number): boolean => {
    const { id, pending } = stream
    try {
      for (let left = most; ; ) {
        const [bytes = none] = pending
        const chunk = bytes.length > left ? bytes.subarray(0, left) : bytes
        const isLast = stream.fin && pending.length <= 1 && chunk.length === bytes.length
        if (chunk.length === 0 && !isLast) {
          return pending.length > 0
        }
        const taken = state.streamSend(id, chunk, isLast)
        if (taken === null) {
          // There is no room, or quiche has forgotten the stream; then this throws.
          state.streamCapacity(id)
          return true
        }
        onWritten(taken)
        left -= taken
        stream.pendingSize -= taken
        unsent -= taken
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
    } catch (error) {
      dropPending(stream)
      onBroken(stream, error)
      return false
    }
  }

  const onBroken = (stream: Stream, error: unknown) => {
    const parsed = StreamError.parse(error)
    watched.delete(stream.id)
    if (!stream.isReleased && parsed._tag !== "Reset") {
      // quiche forgets a stopped stream, and the code with it, when one packet stops it and acknowledges what was sent.
      stream.events.onStopped(parsed._tag === "Stopped" ? parsed.code : unknownCode, stream.id)
    }
  }

  const settle = (stream: Stream) => {
    blocked.delete(stream.id)
    if (stream.isReleased) {
      forget(stream.id)
    } else {
      stream.events.onDrain(stream.id)
    }
  }

  const pushBlocked = () => {
    if (blocked.size === 0) {
      return
    }
    for (const id of [...blocked]) {
      const stream = streams.get(id)
      if (stream !== undefined && stream.pendingSize <= small && !push(stream, small)) {
        settle(stream)
      }
    }
    for (const id of [...blocked]) {
      const stream = streams.get(id)
      if (isClosed()) {
        return
      }
      if (stream === undefined || !blocked.has(id)) {
        continue
      }
      const before = stream.pendingSize
      if (!push(stream, portion)) {
        settle(stream)
      } else if (stream.pendingSize < before) {
        // It has had its turn.
        blocked.delete(id)
        blocked.add(id)
      }
    }
  }

  const forget = (id: number) => {
    streams.remove(id)
    watched.delete(id)
  }

  const lookForStopped = () => {
    for (const id of watched) {
      const stream = streams.get(id)
      if (stream !== undefined && !blocked.has(id)) {
        try {
          state.streamCapacity(id)
        } catch (error) {
          onBroken(stream, error)
        }
      }
    }
  }

  const isPeers = (id: number) => (id & 1) === (role === "client" ? 1 : 0)

  const readStream = (id: number) => {
    let stream = streams.get(id)
    if (stream === undefined) {
      if (!isPeers(id) || !((id & 2) === 0 ? seen.bidi : seen.uni).isNew(id)) {
        return
      }
      stream = register(id, onStream(id))
    }
    if (!stream.isReleased) {
      stream.events.onReadable(id)
    }
  }

  /** Reads those that are known to be there: the open ones, and those of the peer that come next. */
  const readExpected = () => {
    for (const id of streams.ids()) {
      if (isClosed()) {
        return
      }
      if (state.streamReadable(id)) {
        readStream(id)
      }
    }
    for (const { next } of [seen.bidi, seen.uni]) {
      while (!isClosed() && state.streamReadable(next())) {
        readStream(next())
      }
    }
  }

  const readAll = () => {
    if (streams.size() <= mostAsked) {
      readExpected()
      if (isClosed() || !state.isReadable()) {
        return
      }
    }
    // A function for each of the iterator's methods, which the garbage collector takes for long-lived.
    for (const id of state.readable()) {
      readStream(id)
      if (isClosed()) {
        return
      }
    }
  }

  const maxUnread: Streams["maxUnread"] = (streamWindow) => [...state.readable()].length * streamWindow

  const relieve: Streams["relieve"] = (unread, { connectionWindow, streamWindow }) => {
    const ids = [...state.readable()].sort((a, b) => a - b)
    let left = Math.min(unread, ids.length * streamWindow)
    while (left > connectionWindow) {
      const id = ids.pop()
      if (id === undefined) {
        return 0
      }
      left -= Math.min(streamWindow, left / (ids.length + 1))
      onOverflow(id)
    }
    return left
  }

  const register = (id: number, events: StreamEvents): Stream => {
    const stream: Stream = { id, events, pending: [], pendingSize: 0, fin: false, isReleased: false }
    streams.add(id, stream)
    return stream
  }

  const open = (id: number, events: StreamEvents): number => {
    if (!isClosed()) {
      register(id, events)
    }
    return id
  }

  const shutdown = (id: number, direction: (typeof Shutdown)[keyof typeof Shutdown], code: number) => {
    try {
      state.streamShutdown(id, direction, code)
    } catch {
      // It has ended already.
    }
    schedule()
  }

  const read = (id: number, most = readBuffer.length): Read | undefined => {
    if (isClosed()) {
      return undefined
    }
    try {
      const got = state.streamRecv(id, most < readBuffer.length ? readBuffer.subarray(0, most) : readBuffer)
      if (got === null) {
        return undefined
      }
      schedule()
      onRead(got[0])
      return { _tag: "Bytes", bytes: readBuffer.subarray(0, got[0]), fin: got[1] }
    } catch (error) {
      const parsed = StreamError.parse(error)
      if (parsed._tag !== "Reset") {
        return undefined
      }
      abandon(id)
      return parsed
    }
  }

  const abandon = (id: number) => {
    if (!isPeers(id)) {
      onAbandoned()
    }
  }

  /** What has come of a stream that is given up is not to be taken for what came for nothing. */
  const discard = (id: number) => {
    try {
      for (let got = state.streamRecv(id, discarded); got !== null; got = state.streamRecv(id, discarded)) {
        onRead(got[0])
        if (got[1]) {
          return
        }
      }
    } catch {
      // It was reset.
    }
    abandon(id)
  }

  return {
    methods: {
      mayOpenBidi: () => {
        if (isClosed()) {
          return false
        }
        bidiLeft ||= state.peerStreamsLeftBidi()
        wantsStream = bidiLeft === 0
        return !wantsStream
      },
      openBidi: (events) => {
        const id = nextBidi
        nextBidi += 4
        bidiLeft = Math.max(0, bidiLeft - 1)
        return open(id, events)
      },
      openUni: (events) => {
        const id = nextUni
        nextUni += 4
        return open(id, events)
      },
      write: (id, bytes, fin) => {
        const stream = streams.get(id)
        if (stream === undefined || isClosed()) {
          return true
        }
        schedule()
        if (bytes.length > 0) {
          stream.pending.push(bytes)
          stream.pendingSize += bytes.length
          unsent += bytes.length
        }
        stream.fin ||= fin
        if (blocked.has(id)) {
          return false
        }
        if (push(stream, portion)) {
          blocked.add(id)
          return false
        }
        return true
      },
      read,
      unsent: () => unsent,
      reset: (id, code) => {
        const stream = streams.get(id)
        if (stream !== undefined && !isClosed()) {
          // A reset takes back what has not left yet.
          send()
          dropPending(stream)
          blocked.delete(id)
          shutdown(id, Shutdown.Write, code)
        }
      },
      stop: (id, code) => {
        if (!isClosed() && streams.get(id) !== undefined) {
          discard(id)
          shutdown(id, Shutdown.Read, code)
        }
      },
      watch: (id, isWatched) => {
        if (isWatched && streams.get(id) !== undefined) {
          watched.add(id)
        } else {
          watched.delete(id)
        }
      },
      release: (id) => {
        const stream = streams.get(id)
        if (stream !== undefined && !stream.isReleased) {
          stream.isReleased = true
          watched.delete(id)
          if (!blocked.has(id)) {
            forget(id)
          }
        }
      }
    },
    readAll,
    maxUnread,
    relieve,
    advance: () => {
      if (watched.size > 0) {
        lookForStopped()
      }
      if (!isClosed() && wantsStream && state.peerStreamsLeftBidi() > 0) {
        wantsStream = false
        onStreamsAvailable()
      }
      if (!isClosed()) {
        pushBlocked()
      }
    },
    isBlocked: () => blocked.size > 0,
    clear: () => {
      streams.clear()
      unsent = 0
      blocked.clear()
      watched.clear()
    }
  }
}
