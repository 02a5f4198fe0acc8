/**
 * Header and trailer sections that are read again and again: the calls of a connection begin and end alike. Whoever reads a
 * section that came before gets what was read then.
 */
import type { Fields, RequestHead, ResponseHead } from "./Http3Fields.js"

/** What sections of one kind said. */
export interface Sections<A> {
  /** Gives what stands between the two positions, from `read` where it is new. What `read` throws goes on. */
  readonly get: (bytes: Buffer, start: number, end: number, read: () => A) => A
}

/** Those of one end of a connection. */
export interface Known {
  readonly requests: Sections<RequestHead>
  readonly responses: Sections<ResponseHead>
  readonly trailers: Sections<Fields>
}

/** More sections than an ordinary connection has methods, and few enough to be no burden when each is another one. */
const most = 16

/** Longer ones carry metadata, which changes. */
const longest = 256

const makeSections = <A>(): Sections<A> => {
  const known = new Map<string, A>()
  return {
    get: (bytes, start, end, read) => {
      if (end - start > longest) {
        return read()
      }
      const key = bytes.toString("latin1", start, end)
      const before = known.get(key)
      if (before !== undefined) {
        return before
      }
      const value = read()
      if (known.size === most) {
        known.clear()
      }
      known.set(key, value)
      return value
    }
  }
}

export const make = (): Known => ({
  requests: makeSections(),
  responses: makeSections(),
  trailers: makeSections()
})
