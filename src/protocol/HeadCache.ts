/**
 * Head cache: what encoded header and trailer sections said, since the calls of a connection begin and end alike. Whoever
 * reads a section that came before gets the very value that was read then.
 *
 * Its size is fixed, and so is the work for a section, whatever a peer sends: one pass over its bytes, and one comparison.
 */

export interface HeadCache<A> {
  /** What stands between the two positions, where it came before. */
  readonly find: (bytes: Buffer, start: number, end: number) => A | undefined
  readonly keep: (bytes: Buffer, start: number, end: number, value: A) => void
  readonly clear: () => void
}

/** More sections than an ordinary connection has methods, and few enough to be no burden when each is another one. */
const maxSections = 16

/** Longer ones carry metadata, which changes. */
const maxSectionBytes = 256

interface Entry<A> {
  readonly hash: number
  readonly bytes: Uint8Array
  readonly value: A
}

/** FNV-1a. Whoever makes two sections of one hash gets a cache in which they replace each other. */
const hashOf = (bytes: Buffer, start: number, end: number): number => {
  let hash = 0x811c_9dc5
  for (let at = start; at < end; at++) {
    hash = Math.imul(hash ^ (bytes[at] ?? 0), 0x0100_0193)
  }
  return hash
}

const isSame = (known: Uint8Array, bytes: Buffer, start: number, end: number): boolean => {
  if (known.length !== end - start) {
    return false
  }
  for (let i = 0; i < known.length; i++) {
    if (known[i] !== bytes[start + i]) {
      return false
    }
  }
  return true
}

export const make = <A>(): HeadCache<A> => {
  let entries: Array<Entry<A>> = []
  /** The entry that is replaced next. */
  let oldest = 0
  const indexOf = (hash: number): number => {
    for (let i = 0; i < entries.length; i++) {
      if (entries[i]?.hash === hash) {
        return i
      }
    }
    return -1
  }
  return {
    find: (bytes, start, end) => {
      if (entries.length === 0 || end - start > maxSectionBytes) {
        return undefined
      }
      const entry = entries[indexOf(hashOf(bytes, start, end))]
      return entry !== undefined && isSame(entry.bytes, bytes, start, end) ? entry.value : undefined
    },
    keep: (bytes, start, end, value) => {
      if (end - start > maxSectionBytes) {
        return
      }
      const hash = hashOf(bytes, start, end)
      const entry = { hash, bytes: new Uint8Array(bytes.subarray(start, end)), value }
      const index = indexOf(hash)
      if (index !== -1) {
        entries[index] = entry
      } else if (entries.length < maxSections) {
        entries.push(entry)
      } else {
        entries[oldest] = entry
        oldest = (oldest + 1) % maxSections
      }
    },
    clear: () => {
      if (entries.length > 0) {
        entries = []
        oldest = 0
      }
    }
  }
}
