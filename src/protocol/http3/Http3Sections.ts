/**
 * Header and trailer sections that are read again and again: the calls of a connection begin and end alike. Whoever reads a
 * section that came before gets what was read then.
 */
import type { Fields, RequestHead, ResponseHead } from "./Http3Fields.js"

/** What sections of one kind said. */
export interface Sections<A> {
  /** What stands between the two positions, where it came before. */
  readonly find: (bytes: Buffer, start: number, end: number) => A | undefined
  readonly keep: (bytes: Buffer, start: number, end: number, value: A) => void
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
  const keyOf = (bytes: Buffer, start: number, end: number) => bytes.toString("latin1", start, end)
  return {
    find: (bytes, start, end) => (end - start > longest ? undefined : known.get(keyOf(bytes, start, end))),
    keep: (bytes, start, end, value) => {
      if (end - start <= longest) {
        if (known.size === most) {
          known.clear()
        }
        known.set(keyOf(bytes, start, end), value)
      }
    }
  }
}

export const make = (): Known => ({
  requests: makeSections(),
  responses: makeSections(),
  trailers: makeSections()
})
