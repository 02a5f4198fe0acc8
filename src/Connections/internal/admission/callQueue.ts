/** The calls that wait for their turn, and whose it is next. */

/** What is asked about a call that waits. */
export interface Entry {
  /** Higher goes first. */
  readonly priority: number
  /** When its caller stops waiting, in milliseconds since 1970. */
  readonly deadline: number
  /** Whose it is: of those with equal priority the one that runs the fewest calls goes first. */
  readonly owner: Owner
}

export interface Owner {
  /** Its calls that run, and that wait. */
  running: number
  waiting: number
}

export interface CallQueue<E extends Entry> {
  readonly size: () => number
  /** Adds a call. Returns the one that has to make way, which may be this one; undefined where there is room. */
  readonly add: (entry: E) => E | undefined
  /** Returns whether it was there. */
  readonly remove: (entry: E) => boolean
  /** Takes out the next one whose deadline has not passed. Those whose deadline has passed are never returned. */
  readonly next: (now: number) => E | undefined
}

const isBefore = (a: Entry, b: Entry): boolean =>
  a.priority !== b.priority
    ? a.priority > b.priority
    : a.owner !== b.owner && a.owner.running !== b.owner.running
      ? a.owner.running < b.owner.running
      : a.deadline < b.deadline

/** Of the lowest priority, of whoever has most that wait, what would wait longest; of equal ones the one that came last. */
const isWorse = (a: Entry, b: Entry): boolean =>
  a.priority !== b.priority
    ? a.priority < b.priority
    : a.owner !== b.owner && a.owner.waiting !== b.owner.waiting
      ? a.owner.waiting > b.owner.waiting
      : a.deadline >= b.deadline

/**
 * A queue of at most so many. To look through it takes some microseconds where it is full, which is when calls are refused
 * for less.
 */
export const make = <E extends Entry>(maxSize: () => number): CallQueue<E> => {
  const entries = new Set<E>()

  const best = (isBetter: (a: E, b: E) => boolean, passes: (entry: E) => boolean): E | undefined => {
    let found: E | undefined
    for (const entry of entries) {
      if (passes(entry) && (found === undefined || isBetter(entry, found))) {
        found = entry
      }
    }
    return found
  }

  const remove = (entry: E): boolean => {
    const was = entries.delete(entry)
    if (was) {
      entry.owner.waiting -= 1
    }
    return was
  }

  return {
    size: () => entries.size,
    add: (entry) => {
      entries.add(entry)
      entry.owner.waiting += 1
      if (entries.size <= maxSize()) {
        return undefined
      }
      const worst = best(isWorse, () => true) ?? entry
      remove(worst)
      return worst
    },
    remove,
    next: (now) => {
      const found = best(isBefore, ({ deadline }) => deadline > now)
      if (found !== undefined) {
        remove(found)
      }
      return found
    }
  }
}
