/** The streams of one connection on quiche's state machine: opening, reading, writing, and resets in both directions. */
import * as IdTable from "../../protocol/IdTable.js"
import * as PeerStreams from "./peerStreams.js"
import type { Connection, ConnectionSettings, Read, StreamEvents } from "./QuicEngine.js"
import type { Quiche, State } from "./quiche.js"
import * as StreamError from "./streamError.js"
import * as SendQueue from "./streamSendQueue.js"

export interface Options {
  readonly quiche: Quiche
  readonly state: State
  readonly role: "client" | "server"
  readonly isClosed: () => boolean
  /** Sends what follows at the end of this turn of the event loop. */
  readonly schedule: () => void
  /** Sends what there is at once. */
  readonly send: () => void
  /** Bytes were read. */
  readonly onRead: (size: number) => void
  /** The engine has taken bytes to send. */
  readonly onWritten: (size: number) => void
  /** A stream that this end opened was given up before its end came. */
  readonly onAbandoned: () => void
  /** The peer has reset a stream that it opened, of which so many bytes were read. */
  readonly onPeerReset: (readBytes: number) => void
  readonly onStream: (id: number) => StreamEvents
  readonly onOverflow: (id: number) => void
  readonly onStreamsAvailable: () => void
}

export interface Streams {
  readonly methods: Pick<
    Connection,
    "mayOpenBidi" | "openBidi" | "openUni" | "write" | "read" | "unsent" | "reset" | "stop" | "watch" | "release"
  >
  /** Calls `onReadable` of every stream that has something to read. */
  readonly readAll: () => void
  /** How much can be unread at the most: a window for each stream that has something to read. */
  readonly maxUnread: (streamWindow: number) => number
  /** Calls `onOverflow` of streams, the latest first, until no more is unread than may be; returns how much that is. */
  readonly relieve: (unread: number, windows: Pick<ConnectionSettings, "connectionWindow" | "streamWindow">) => number
  /** Tells which streams were stopped and that more may be opened, and sends what waits for room. */
  readonly advance: () => void
  /** Whether something waits for room. */
  readonly isBlocked: () => boolean
  /** Forgets all of them, when the connection has ended. */
  readonly clear: () => void
}

interface Stream extends SendQueue.SendStream {
  readonly events: StreamEvents
  readBytes: number
  isReleased: boolean
}

/** What is read from a stream, one read at a time. */
const readBuffer = Buffer.allocUnsafeSlow(128 * 1024)

/** Not `readBuffer`, which a caller that gives a stream up may be reading. */
const discardBuffer = Buffer.allocUnsafeSlow(64 * 1024)

/** The code of a stop that the engine has forgotten. */
const unknownCode = 0

/** With no more streams than this, each is asked whether it is readable, because `readable()` costs more. */
const maxPolledStreams = 32

export const make = ({
  isClosed,
  onAbandoned,
  onOverflow,
  onPeerReset,
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
  const watched = new Set<number>()
  const peerBit = role === "client" ? 1 : 0
  const peerBidi = PeerStreams.make(peerBit)
  const peerUni = PeerStreams.make(peerBit + 2)
  let nextBidi = role === "client" ? 0 : 1
  let nextUni = role === "client" ? 2 : 3
  /** Streams that may be opened, of those that the peer was known to allow; and whether the owner waits for more. */
  let bidiLeft = 0
  let wantsStream = false

  const onBroken = (stream: Stream, error: unknown) => {
    const parsed = StreamError.parse(error)
    watched.delete(stream.id)
    if (!stream.isReleased && parsed._tag !== "Reset") {
      // quiche forgets a stopped stream, and the code with it, when one packet stops it and acknowledges what was sent.
      stream.events.onStopped(parsed._tag === "Stopped" ? parsed.code : unknownCode, stream.id)
    }
  }

  const onDrained = (stream: Stream) => {
    if (stream.isReleased) {
      forget(stream.id)
    } else {
      stream.events.onDrain(stream.id)
    }
  }

  const queue = SendQueue.make<Stream>({ state, onWritten, onDrained, onBroken })

  const forget = (id: number) => {
    streams.remove(id)
    watched.delete(id)
  }

  const checkStopped = () => {
    for (const id of watched) {
      const stream = streams.get(id)
      if (stream !== undefined && !SendQueue.isBlocked(queue, stream)) {
        try {
          state.streamCapacity(id)
        } catch (error) {
          onBroken(stream, error)
        }
      }
    }
  }

  const isPeers = (id: number) => (id & 1) === peerBit

  const readStream = (id: number) => {
    let stream = streams.get(id)
    if (stream === undefined) {
      if (!isPeers(id) || !PeerStreams.isNew((id & 2) === 0 ? peerBidi : peerUni, id)) {
        return
      }
      stream = register(id, onStream(id))
    }
    if (!stream.isReleased) {
      stream.events.onReadable(id)
    }
  }

  /** Asks the streams that are known: the open ones, and those of the peer that come next. */
  const readExpected = () => {
    for (const id of streams.ids()) {
      if (isClosed()) {
        return
      }
      if (state.streamReadable(id)) {
        readStream(id)
      }
    }
    for (const opened of [peerBidi, peerUni]) {
      while (!isClosed() && state.streamReadable(opened.next)) {
        readStream(opened.next)
      }
    }
  }

  const readAll = () => {
    if (streams.size() <= maxPolledStreams) {
      readExpected()
      if (isClosed() || !state.isReadable()) {
        return
      }
    }
    // Its iterator allocates a function for each method, and the garbage collector takes those for long-lived.
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
    const stream: Stream = { id, events, pending: [], pendingBytes: 0, fin: false, readBytes: 0, isReleased: false }
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

  const countRead = (id: number, size: number) => {
    const stream = streams.get(id)
    if (stream !== undefined) {
      stream.readBytes += size
    }
    onRead(size)
  }

  /** A stream has ended before it was read to its end. */
  const onGivenUp = (id: number, isReset: boolean) => {
    if (!isPeers(id)) {
      onAbandoned()
    } else if (isReset) {
      onPeerReset(streams.get(id)?.readBytes ?? 0)
    }
  }

  const read = (id: number, maxBytes = readBuffer.length): Read | undefined => {
    if (isClosed()) {
      return undefined
    }
    try {
      const got = state.streamRecv(id, maxBytes < readBuffer.length ? readBuffer.subarray(0, maxBytes) : readBuffer)
      if (got === null) {
        return undefined
      }
      schedule()
      countRead(id, got[0])
      return { _tag: "Bytes", bytes: readBuffer.subarray(0, got[0]), fin: got[1] }
    } catch (error) {
      const parsed = StreamError.parse(error)
      if (parsed._tag !== "Reset") {
        return undefined
      }
      onGivenUp(id, true)
      return parsed
    }
  }

  /** Reads what has come of a stream that is given up, so that it does not count as traffic without content. */
  const discard = (id: number) => {
    let isReset = false
    try {
      for (let got = state.streamRecv(id, discardBuffer); got !== null; got = state.streamRecv(id, discardBuffer)) {
        countRead(id, got[0])
        if (got[1]) {
          return
        }
      }
    } catch (error) {
      isReset = StreamError.parse(error)._tag === "Reset"
    }
    onGivenUp(id, isReset)
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
        return SendQueue.write(queue, stream, bytes, fin)
      },
      read,
      unsent: () => queue.unsent,
      reset: (id, code) => {
        const stream = streams.get(id)
        if (stream !== undefined && !isClosed()) {
          // A reset would take back what was written and has not left yet.
          send()
          SendQueue.drop(queue, stream)
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
          if (!SendQueue.isBlocked(queue, stream)) {
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
        checkStopped()
      }
      if (!isClosed() && wantsStream && state.peerStreamsLeftBidi() > 0) {
        wantsStream = false
        onStreamsAvailable()
      }
      if (!isClosed()) {
        SendQueue.advance(queue)
      }
    },
    isBlocked: () => queue.blocked.size > 0,
    clear: () => {
      streams.clear()
      SendQueue.clear(queue)
      watched.clear()
    }
  }
}
