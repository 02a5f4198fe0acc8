/** Which streams of one kind the peer has opened, from the first on. They can come out of order. */

export interface PeerStreams {
  /** The one that comes next where none is out of order. */
  next: number
  /** Those before `next` that have not come. */
  readonly gaps: Set<number>
}

export const make = (first: number): PeerStreams => ({ next: first, gaps: new Set() })

/** Returns whether a stream is new, the first time that it is asked for, and not again. */
export const isNew = (streams: PeerStreams, id: number): boolean => {
  if (id < streams.next) {
    return streams.gaps.delete(id)
  }
  for (let gap = streams.next; gap < id; gap += 4) {
    streams.gaps.add(gap)
  }
  streams.next = id + 4
  return true
}
