/**
 * Calls by their number. A `Map` of short-lived entries is slow to live with: each time it makes room, its old table points
 * to the new one, and once the garbage collector has taken an old one for long-lived, it takes all that follow for that.
 */
export interface CallTable<A> {
  readonly get: (id: number) => A | undefined
  /** For a number that is not in it. */
  readonly add: (id: number, value: A) => void
  readonly remove: (id: number) => A | undefined
  readonly size: () => number
  /** All that is in it now, whatever changes while it is read. */
  readonly entries: () => ReadonlyArray<readonly [id: number, value: A]>
}

const smallest = 16

export const make = <A>(): CallTable<A> => {
  // Open addressing with linear probing. Numbers of one end count up by two, so that few meet. 0 is no call.
  let ids = new Uint32Array(smallest)
  let values = new Array<A | undefined>(smallest).fill(undefined)
  let mask = smallest - 1
  let size = 0

  const find = (id: number): number => {
    let at = (id >>> 1) & mask
    while (ids[at] !== id && ids[at] !== 0) {
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
    ids = new Uint32Array(capacity)
    values = new Array<A | undefined>(capacity).fill(undefined)
    mask = capacity - 1
    for (const [at, id] of oldIds.entries()) {
      if (id !== 0) {
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
      for (let at = (hole + 1) & mask; ids[at] !== 0; at = (at + 1) & mask) {
        const home = ((ids[at] ?? 0) >>> 1) & mask
        if (((at - home) & mask) >= ((at - hole) & mask)) {
          ids[hole] = ids[at] ?? 0
          values[hole] = values[at]
          hole = at
        }
      }
      ids[hole] = 0
      values[hole] = undefined
      size -= 1
      if (ids.length > smallest && size * 8 < ids.length) {
        resize(ids.length / 2)
      }
      return value
    },
    size: () => size,
    entries: () =>
      Array.from(ids).flatMap((id, at) => {
        const value = values[at]
        return value === undefined ? [] : [[id, value] as const]
      })
  }
}
