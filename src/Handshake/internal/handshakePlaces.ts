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
   * of the source that has the most. If the source itself has `most` of them, it is one of its own.
   */
  readonly enter: (source: string, close: (reason: R) => void, most?: number) => Place
  /** Closes all handshakes of a source. */
  readonly evict: (source: string, reason: R) => void
}

interface Pending<R> {
  readonly source: string
  readonly close: (reason: R) => void
}

/** Places for so many handshakes; `tooMany` is the reason of those that make way. */
export const make = <R>(maxHandshakes: number, tooMany: R): HandshakePlaces<R> => {
  /** Each from the oldest on: those that have sent nothing, and those that have, of all and by source. */
  const silent = new Set<Pending<R>>()
  const speaking = new Set<Pending<R>>()
  const bySource = new Map<string, Set<Pending<R>>>()

  const add = (pending: Pending<R>) => {
    silent.add(pending)
    const own = bySource.get(pending.source)
    if (own === undefined) {
      bySource.set(pending.source, new Set([pending]))
    } else {
      own.add(pending)
    }
  }

  const remove = (pending: Pending<R>) => {
    silent.delete(pending)
    speaking.delete(pending)
    const own = bySource.get(pending.source)
    own?.delete(pending)
    if (own?.size === 0) {
      bySource.delete(pending.source)
    }
  }

  const close = (pending: Pending<R> | undefined, reason: R) => {
    if (pending !== undefined) {
      remove(pending)
      pending.close(reason)
    }
  }

  const oldest = (pendings: Iterable<Pending<R>>, isOne: (pending: Pending<R>) => boolean = () => true) => {
    for (const pending of pendings) {
      if (isOne(pending)) {
        return pending
      }
    }
    return undefined
  }

  /** Asked when all have sent something. */
  const oldestOfMost = (): Pending<R> | undefined => {
    let most = new Set<Pending<R>>()
    for (const own of bySource.values()) {
      most = own.size > most.size ? own : most
    }
    return oldest(most)
  }

  return {
    enter: (source, onClose, most = Number.POSITIVE_INFINITY) => {
      const own = bySource.get(source)
      if (own !== undefined && own.size >= most) {
        close(oldest(own, (pending) => silent.has(pending)) ?? oldest(own), tooMany)
      } else if (silent.size + speaking.size >= maxHandshakes) {
        close(oldest(silent) ?? oldestOfMost(), tooMany)
      }
      const pending: Pending<R> = { source, close: onClose }
      add(pending)
      return {
        speak: () => {
          if (silent.delete(pending)) {
            speaking.add(pending)
          }
        },
        leave: () => remove(pending)
      }
    },
    evict: (source, reason) => {
      for (const pending of [...(bySource.get(source) ?? [])]) {
        close(pending, reason)
      }
    }
  }
}
