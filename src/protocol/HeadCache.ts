/**
 * Head cache: what encoded header and trailer sections said, since the calls of a connection begin and end alike. Whoever
 * reads a section that came before gets the very value that was read then.
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

/** Whether a section is one that is kept. */
export const isShort = (start: number, end: number): boolean => end - start <= maxSectionBytes

export const make = <A>(): HeadCache<A> => {
  const known = new Map<string, A>()
  const keyOf = (bytes: Buffer, start: number, end: number) => bytes.toString("latin1", start, end)
  return {
    find: (bytes, start, end) =>
      known.size > 0 && isShort(start, end) ? known.get(keyOf(bytes, start, end)) : undefined,
    keep: (bytes, start, end, value) => {
      if (isShort(start, end)) {
        if (known.size === maxSections) {
          known.clear()
        }
        known.set(keyOf(bytes, start, end), value)
      }
    },
    clear: () => known.clear()
  }
}
