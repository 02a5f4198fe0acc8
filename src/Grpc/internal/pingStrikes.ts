/** Counts the pings of a client that come too early: more often than data is abuse (gRFC A8). */

/** A client may ping so often, or as often as it is sent something. gRFC A8 has 5 minutes for servers. */
const minPingMillis = 10_000

/** Pings that a client sends at even distances may come a little unevenly. */
const tolerance = 0.9

/** So many pings that come too early are let pass. */
const maxStrikes = 2

/** Counts a ping that follows nothing this end has sent; returns whether the connection goes on. */
export type PingStrikes = (now: number) => boolean

/** A listener that pings more often itself lets its clients do so. */
export const make = (keepaliveMillis: number): PingStrikes => {
  const minMillis = tolerance * Math.min(minPingMillis, keepaliveMillis)
  let last = Number.NEGATIVE_INFINITY
  let strikes = 0
  return (now) => {
    strikes = now - last < minMillis ? strikes + 1 : strikes
    last = now
    return strikes <= maxStrikes
  }
}
