/**
 * What a peer makes a listener keep of messages on one connection: those that are unfinished, and those that nobody has read.
 * HTTP/2's own windows bound neither, for they are given back as bytes come. Above the limit streams are not read on; the oldest
 * message always may end, so that all do in turn.
 */

/** The receiving side of one call. */
export interface Reader {
  /** Room taken for a message that has begun. */
  unfinished: number
  /** Messages that are whole and wait to be read. */
  unread: number
  isHeld: boolean
  /** Whether the next message goes to somebody who waits for it. */
  readonly isAwaited: () => boolean
  /** Called when the reader is held, and when it may go on. */
  readonly onHeld: () => void
}

export interface ReceiveWindow {
  /** So much room is taken now for a message that has begun; none if there is none. */
  readonly begin: (reader: Reader, size: number) => void
  readonly hold: (reader: Reader, size: number) => void
  readonly release: (reader: Reader, size: number) => void
  /** The call is over. */
  readonly end: (reader: Reader) => void
  readonly size: () => number
}

export const make = (limit: number, onChange: () => void): ReceiveWindow => {
  /** Those with a message that has begun, the oldest first. */
  const begun = new Set<Reader>()
  const held = new Set<Reader>()
  let unfinished = 0
  let unread = 0

  const oldest = (): Reader | undefined => {
    for (const reader of begun) {
      if (unread <= limit || reader.isAwaited()) {
        return reader
      }
    }
    return undefined
  }

  const mayRead = (reader: Reader) =>
    unfinished + unread <= limit ||
    (reader.unfinished > 0 ? oldest() === reader : unread <= limit || reader.unread === 0)

  const check = (reader: Reader) => {
    const isHeld = !mayRead(reader)
    if (isHeld !== reader.isHeld) {
      reader.isHeld = isHeld
      if (isHeld) {
        held.add(reader)
      } else {
        held.delete(reader)
      }
      reader.onHeld()
    }
  }

  const changed = () => {
    onChange()
    if (held.size > 0) {
      for (const reader of [...held]) {
        if (held.has(reader)) {
          check(reader)
        }
      }
    }
  }

  const setUnfinished = (reader: Reader, size: number) => {
    unfinished += size - reader.unfinished
    reader.unfinished = size
    if (size > 0) {
      begun.add(reader)
    } else {
      begun.delete(reader)
    }
  }

  return {
    begin: (reader, size) => {
      if (size !== reader.unfinished) {
        setUnfinished(reader, size)
        changed()
      }
      check(reader)
    },
    hold: (reader, size) => {
      unread += size
      reader.unread += size
      onChange()
      check(reader)
    },
    release: (reader, size) => {
      unread -= size
      reader.unread -= size
      changed()
      check(reader)
    },
    end: (reader) => {
      held.delete(reader)
      setUnfinished(reader, 0)
      unread -= reader.unread
      reader.unread = 0
      changed()
    },
    size: () => unfinished + unread
  }
}
