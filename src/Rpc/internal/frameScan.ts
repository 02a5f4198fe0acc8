/**
 * What a frame of a peer's would decode to, found out before it is decoded. Five bytes of MessagePack reserve 256 MiB, and
 * a decoder can't be stopped once it has begun.
 *
 * A scan goes on where it was when more bytes come, so that a frame in pieces of one byte costs no more than in one.
 */

export interface Limits {
  /** Bytes of a frame. */
  readonly maxFrameSize: number
  /** Items of lists, keys and values of maps, at any depth. */
  readonly maxFrameElements: number
}

export interface Scan {
  /**
   * Goes on over a frame that begins at `start` in `bytes` and of which nothing after `end` has been received. Returns the
   * frame's length when it is complete, 0 when it goes on, and what is wrong with it. After a complete frame the next call
   * is about another.
   */
  readonly next: (bytes: Uint8Array, start: number, end: number) => number | string
}

export const maxDepth = 64

/** Digits of a JSON number and bytes of a MessagePack integer: reading and printing long ones takes time quadratic in them. */
export const maxNumberLength = 1024

export const tooDeep = `a frame more than ${maxDepth} levels deep`
export const tooMany = "a frame with more elements than are allowed"
export const tooLarge = "a frame larger than is allowed"
export const longNumber = `a number longer than ${maxNumberLength}`
