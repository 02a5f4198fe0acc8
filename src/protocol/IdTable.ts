/**
 * Calls and streams by their ids, which are integers from 0 on. A `Map` of short-lived entries is slow to live with: each
 * time it makes room, its old table, and what was in it then, points to the new one, and once the garbage collector has
 * taken an old one for long-lived, it takes all that follow for that.
 */
export interface IdTable<A> {
  readonly get: (id: number) => A | undefined
  /** For an id that is not in it. */
  readonly add: (id: number, value: A) => void
  readonly remove: (id: number) => A | undefined
  readonly clear: () => void
  readonly size: () => number
  /** The ids of all that is in it now, whatever changes while they are read. */
  readonly ids: () => ReadonlyArray<number>
  /** The same with what is there for them. */
  readonly entries: () => ReadonlyArray<readonly [id: number, value: A]>
}

const smallest = 16

/** Two kilobytes. Smaller tables don't shrink: a connection whose calls come in bursts would make new ones all the time. */
const smallestShrunk = 128

/** Where no id is. */
const none = -1

const emptyIds = (capacity: number) => new Float64Array(capacity).fill(none)

const emptyValues = <A>(capacity: number) => new Array<A | undefined>(capacity).fill(undefined)

export const make = <A>(): IdTable<A> => {
  // Open addressing with linear probing. The ids of one end count up by two or four, so that few meet.
  let ids = emptyIds(smallest)
  let values = emptyValues<A>(smallest)
  let mask = smallest - 1
  let size = 0

  const find = (id: number): number => {
    let at = (id >>> 1) & mask
    while (ids[at] !== id && ids[at] !== none) {
      at = (at + 1) & mask
    }
    return at
  }

  const put = (id: number, value: A | undefined) => {
    const at = find(id)
    ids[at] = id
    values[at] = value
  }

  const resize = (capacity: number) => {
    const oldIds = ids
    const oldValues = values
    ids = emptyIds(capacity)
    values = emptyValues(capacity)
    mask = capacity - 1
    for (const [at, id] of oldIds.entries()) {
      if (id !== none) {
        put(id, oldValues[at])
      }
    }
  }

  return {
    get: (id) => values[find(id)],
    add: (id, value) => {
      if ((size + 1) * 2 > ids.length) {
        resize(ids.length * 2)
      }
      put(id, value)
      size += 1
    },
    remove: (id) => {
      let hole = find(id)
      const value = values[hole]
      if (value === undefined) {
        return undefined
      }
      // What was pushed past the hole moves back into it.
      for (let at = (hole + 1) & mask; ids[at] !== none; at = (at + 1) & mask) {
        const home = ((ids[at] ?? none) >>> 1) & mask
        if (((at - home) & mask) >= ((at - hole) & mask)) {
          ids[hole] = ids[at] ?? none
          values[hole] = values[at]
          hole = at
        }
      }
      ids[hole] = none
      values[hole] = undefined
      size -= 1
      if (ids.length > smallestShrunk && size * 16 < ids.length) {
        resize(ids.length / 2)
      }
      return value
    },
    clear: () => {
      ids = emptyIds(smallest)
      values = emptyValues(smallest)
      mask = smallest - 1
      size = 0
    },
    size: () => size,
    ids: () => {
      const present: Array<number> = []
      for (const id of ids) {
        if (id !== none) {
          present.push(id)
        }
      }
      return present
    },
    entries: () =>
      Array.from(ids).flatMap((id, at) => {
        const value = values[at]
        return value === undefined ? [] : [[id, value] as const]
      })
  }
}
