/** The handshakes in progress at a listener, and which of them makes way when there are too many. */

/** A place among the handshakes in progress. */
export interface Place {
  /** The peer has sent something. */
  readonly speak: () => void
  /** Gives the place up, once. */
  readonly leave: () => void
}

/** The places of one listener, whose handshakes are closed for reasons `R`. */
export interface HandshakePlaces<R> {
  /**
   * Takes a place. If there is none, another handshake is closed: the oldest that has sent nothing, or else the oldest
   * of the source that has the most.
   */
  readonly enter: (source: string, close: (reason: R) => void) => Place
  /** Closes all handshakes of a source. */
  readonly evict: (source: string, reason: R) => void
}

interface Pending<R> {
  readonly source: string
  readonly close: (reason: R) => void
}

/** Places for so many handshakes; `tooMany` is the reason of those that make way. */
export const make = <R>(maxHandshakes: number, tooMany: R): HandshakePlaces<R> => {
  /** Each from the oldest on: those that have sent nothing, and those that have. */
  const silent = new Set<Pending<R>>()
  const speaking = new Set<Pending<R>>()

  const close = (pending: Pending<R>, reason: R) => {
    silent.delete(pending)
    speaking.delete(pending)
    pending.close(reason)
  }

  const oldestSilent = (): Pending<R> | undefined => silent.values().next().value

  const oldestOfMost = (): Pending<R> | undefined => {
    const counts = new Map<string, number>()
    let most = { source: "", count: 0 }
    for (const { source } of speaking) {
      const count = (counts.get(source) ?? 0) + 1
      counts.set(source, count)
      if (count > most.count) {
        most = { source, count }
      }
    }
    for (const pending of speaking) {
      if (pending.source === most.source) {
        return pending
      }
    }
    return undefined
  }

  return {
    enter: (source, onClose) => {
      if (silent.size + speaking.size >= maxHandshakes) {
        const pending = oldestSilent() ?? oldestOfMost()
        if (pending !== undefined) {
          close(pending, tooMany)
        }
      }
      const pending: Pending<R> = { source, close: onClose }
      silent.add(pending)
      return {
        speak: () => {
          if (silent.delete(pending)) {
            speaking.add(pending)
          }
        },
        leave: () => {
          silent.delete(pending)
          speaking.delete(pending)
        }
      }
    },
    evict: (source, reason) => {
      for (const pending of [...silent, ...speaking]) {
        if (pending.source === source) {
          close(pending, reason)
        }
      }
    }
  }
}
