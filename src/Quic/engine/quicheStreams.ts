/** The streams of one connection on quiche's state machine: opening, reading, writing, and resets in both directions. */
import * as IdTable from "../../protocol/IdTable.js"
import * as LocalStreams from "./localStreams.js"
import * as PeerStreams from "./peerStreams.js"
import type { Connection, StreamEvents } from "./QuicEngine.js"
import type { Quiche, State } from "./quiche.js"
import * as ReadableStreams from "./readableStreams.js"
import * as StreamError from "./streamError.js"
import * as StreamReader from "./streamReader.js"
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

export interface Streams extends ReadableStreams.ReadableStreams {
  readonly methods: Pick<
    Connection,
    "mayOpenBidi" | "openBidi" | "openUni" | "write" | "read" | "unsent" | "reset" | "stop" | "watch" | "release"
  >
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

/** The code of a stop that the engine has forgotten. */
const unknownCode = 0

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
  const local = LocalStreams.make(role)

  const askPeer = () => state.peerStreamsLeftBidi()

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

  const readable = ReadableStreams.make({
    state,
    isClosed,
    streams,
    expected: [peerBidi, peerUni],
    onReadable: readStream,
    onOverflow
  })

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

  const reader = StreamReader.make({
    state,
    schedule,
    onRead: (id, size) => {
      const stream = streams.get(id)
      if (stream !== undefined) {
        stream.readBytes += size
      }
      onRead(size)
    },
    onGivenUp: (id, isReset) => {
      if (!isPeers(id)) {
        onAbandoned()
      } else if (isReset) {
        onPeerReset(streams.get(id)?.readBytes ?? 0)
      }
    }
  })

  return {
    methods: {
      mayOpenBidi: () => !isClosed() && LocalStreams.mayOpenBidi(local, askPeer),
      openBidi: (events) => open(LocalStreams.openBidi(local), events),
      openUni: (events) => open(LocalStreams.openUni(local), events),
      write: (id, bytes, fin) => {
        const stream = streams.get(id)
        if (stream === undefined || isClosed()) {
          return true
        }
        schedule()
        return SendQueue.write(queue, stream, bytes, fin)
      },
      read: (id, maxBytes) => (isClosed() ? undefined : reader.read(id, maxBytes)),
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
          reader.discard(id)
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
    ...readable,
    advance: () => {
      if (watched.size > 0) {
        checkStopped()
      }
      if (!isClosed() && LocalStreams.stopWaiting(local, askPeer)) {
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
