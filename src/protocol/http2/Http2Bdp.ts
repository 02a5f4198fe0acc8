/**
 * How large a window the path can use: an estimate of its bandwidth-delay product, as grpc-go makes it. What comes between a
 * PING and its answer is what one round trip carries; if that is nearly the window, the window is what limits it.
 */

export interface Bdp {
  /** What a stream's window may grow to now. */
  target: number
  readonly max: number
  /** A reader keeps up with what comes, so that a larger window may help. */
  isWanted: boolean
  isPingOut: boolean
  /** Bytes of DATA since the PING, the frame that it answers included. */
  bytes: number
  /** Measurements since the target has grown. */
  fruitless: number
  /** When the next PING may leave, in milliseconds. */
  notBefore: number
}

/**
 * The payload of its PING, in two halves: "http2bdp". Whoever answers one that was not sent, or lies about when it came, gets
 * smaller windows, or ones within the budget that are larger than they need be.
 */
export const payloadHigh = 0x6874_7470
export const payloadLow = 0x3262_6470

/** What a window has grown by takes two round trips to arrive, and to show in a measurement. */
const maxFruitless = 3

/** How long measurements are good for that brought no growth: few PINGs, even where a round trip takes microseconds. */
const remeasureAfterMillis = 200

export const make = (initial: number, max: number): Bdp => ({
  target: initial,
  max: Math.max(initial, max),
  isWanted: false,
  isPingOut: false,
  bytes: 0,
  fruitless: 0,
  notBefore: Number.NEGATIVE_INFINITY
})

/** Credit is due to a stream, since its reader has read. */
export const onUpdateDue = (bdp: Bdp): void => {
  bdp.isWanted = bdp.target < bdp.max
}

/**
 * A DATA frame has come. Returns whether a PING is to answer it: only DATA does, since servers of grpc-go count PINGs that come
 * between none as abuse. It is sent at once, and not with the credit: what that brings arrives behind the answer.
 */
export const onData = (bdp: Bdp, size: number, now: number): boolean => {
  bdp.bytes += size
  if (!bdp.isWanted || bdp.isPingOut || now < bdp.notBefore) {
    return false
  }
  bdp.isPingOut = true
  bdp.bytes = size
  return true
}

/** The answer has come: the target grows where the path carried at least two thirds of it. */
export const onAck = (bdp: Bdp, now: number): void => {
  if (3 * bdp.bytes >= 2 * bdp.target) {
    bdp.target = Math.min(bdp.max, 2 * bdp.bytes)
    bdp.fruitless = 0
  } else {
    bdp.fruitless += 1
    if (bdp.fruitless >= maxFruitless) {
      bdp.notBefore = now + remeasureAfterMillis
      bdp.isWanted = false
    }
  }
  bdp.isWanted &&= bdp.target < bdp.max
  bdp.isPingOut = false
}
