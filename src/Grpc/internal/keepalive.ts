/** How often the connections of a client to one peer are pinged: half as often after each that was lost for it (gRFC A8). */
import * as Duration from "effect/Duration"

export interface Keepalive {
  /** The time between pings of a connection that is made now, in milliseconds. */
  readonly millis: () => number
  readonly onTooManyPings: () => void
}

export const make = (time: Duration.Duration): Keepalive => {
  let millis = Duration.toMillis(time)
  return {
    millis: () => millis,
    onTooManyPings: () => {
      millis *= 2
    }
  }
}
