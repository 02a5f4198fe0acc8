/**
 * What belongs to streams, by their ids. A `Map` of short-lived entries is slow to live with: each time it makes room, its
 * old table points to the new one, and once the garbage collector has taken an old one for long-lived, it takes all that
 * follows for that. Here that is only an empty cell for each stream that has ended.
 */
export interface StreamMap<A> {
  readonly get: (id: number) => A | undefined
  readonly add: (id: number, value: A) => void
  /** Whether it was there. */
  readonly remove: (id: number) => boolean
  readonly clear: () => void
  readonly size: () => number
  /** All that is in it now, whatever changes while it is read. */
  readonly entries: () => ReadonlyArray<readonly [id: number, value: A]>
}

interface Cell<A> {
  value: A | undefined
}

export const make = <A>(): StreamMap<A> => {
  const cells = new Map<number, Cell<A>>()
  return {
    get: (id) => cells.get(id)?.value,
    add: (id, value) => {
      cells.set(id, { value })
    },
    remove: (id) => {
      const cell = cells.get(id)
      if (cell !== undefined) {
        cell.value = undefined
      }
      return cells.delete(id)
    },
    clear: () => {
      cells.clear()
    },
    size: () => cells.size,
    entries: () => Array.from(cells).flatMap(([id, { value }]) => (value === undefined ? [] : [[id, value] as const]))
  }
}
