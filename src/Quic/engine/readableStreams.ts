/** Which streams of a connection have something to read, and what becomes of those of which too much is unread. */
import type { IdTable } from "../../protocol/IdTable.js"
import type { ConnectionSettings } from "./QuicEngine.js"
import type { State } from "./quiche.js"

export interface Options {
  readonly state: Pick<State, "isReadable" | "readable" | "streamReadable">
  readonly isClosed: () => boolean
  /** The streams that are open. */
  readonly streams: Pick<IdTable<unknown>, "ids" | "size">
  /** The streams of the peer that come next. */
  readonly expected: ReadonlyArray<{ readonly next: number }>
  readonly onReadable: (id: number) => void
  readonly onOverflow: (id: number) => void
}

export interface ReadableStreams {
  /** Calls `onReadable` of every stream that has something to read. */
  readonly readAll: () => void
  /** How much can be unread at the most: a window for each stream that has something to read. */
  readonly maxUnread: (streamWindow: number) => number
  /** Calls `onOverflow` of streams, the latest first, until no more is unread than may be; returns how much that is. */
  readonly relieve: (unread: number, windows: Pick<ConnectionSettings, "connectionWindow" | "streamWindow">) => number
}

/** With no more streams than this, each is asked whether it is readable, because `readable()` costs more. */
const maxPolledStreams = 32

export const make = ({ expected, isClosed, onOverflow, onReadable, state, streams }: Options): ReadableStreams => {
  /** Asks the streams that are known: the open ones, and those of the peer that come next. */
  const readExpected = () => {
    for (const id of streams.ids()) {
      if (isClosed()) {
        return
      }
      if (state.streamReadable(id)) {
        onReadable(id)
      }
    }
    for (const opened of expected) {
      while (!isClosed() && state.streamReadable(opened.next)) {
        onReadable(opened.next)
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
      onReadable(id)
      if (isClosed()) {
        return
      }
    }
  }

  const maxUnread: ReadableStreams["maxUnread"] = (streamWindow) => [...state.readable()].length * streamWindow

  const relieve: ReadableStreams["relieve"] = (unread, { connectionWindow, streamWindow }) => {
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

  return { readAll, maxUnread, relieve }
}
