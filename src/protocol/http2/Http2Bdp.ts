/**
 * How large a window the path can use: an estimate of its bandwidth-delay product, as grpc-go makes it. What comes between a
 * PING and its answer is what one round trip carries; if that is nearly the window, the window is what limits it.
 */

export interface Bdp {
  /** What a stream's window may grow to now. */
  target: number
  readonly max: number
  /** Bytes of DATA since the last PING, or since its answer. */
  bytes: number
  isPingOut: boolean
  /** When the next PING may leave, in milliseconds. */
  notBefore: number
}

/**
 * The payload of its PING, in two halves: "http2bdp". Whoever answers one that was not sent, or lies about when it came, gets
 * smaller windows, or ones within the budget that are larger than they need be.
 */
export const payloadHigh = 0x6874_7470
export const payloadLow = 0x3262_6470

/** How long a measurement that brought no growth is good for: few PINGs, even where a round trip takes microseconds. */
const remeasureAfterMillis = 200

export const make = (initial: number, max: number): Bdp => ({
  target: initial,
  max: Math.max(initial, max),
  bytes: 0,
  isPingOut: false,
  notBefore: Number.NEGATIVE_INFINITY
})

export const onData = (bdp: Bdp, size: number): void => {
  bdp.bytes += size
}

/**
 * Credit is due to a stream whose reader keeps up. Returns whether a PING is to be sent: never without DATA since the answer to
 * the last one, since servers of grpc-go count such PINGs as abuse.
 */
export const onUpdateDue = (bdp: Bdp, now: number): boolean => {
  if (bdp.isPingOut || bdp.bytes === 0 || bdp.target >= bdp.max || now < bdp.notBefore) {
    return false
  }
  bdp.isPingOut = true
  bdp.bytes = 0
  return true
}

/** The answer has come: the target grows where the path carried at least two thirds of it. */
export const onAck = (bdp: Bdp, now: number): void => {
  if (3 * bdp.bytes >= 2 * bdp.target) {
    bdp.target = Math.min(bdp.max, Math.max(bdp.target, 2 * bdp.bytes))
  } else {
    bdp.notBefore = now + remeasureAfterMillis
  }
  bdp.isPingOut = false
  bdp.bytes = 0
}
