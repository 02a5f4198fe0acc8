/** Whether the peer of a connection is there: frames that do not end, and pings to a peer that is silent. In milliseconds. */
import * as Timers from "../Transport/internal/timers.js"

export interface Liveness {
  readonly keepaliveTime: number
  readonly keepaliveTimeout: number
  readonly frameTimeout: number
  lastReceived: number
  /** When the frame began that has not ended. */
  frameSince: number | undefined
  /** When the ping was sent that waits for an answer. */
  pingSince: number | undefined
}

export const make = (
  times: Pick<Liveness, "keepaliveTime" | "keepaliveTimeout" | "frameTimeout">,
  now: number
): Liveness => ({ ...times, lastReceived: now, frameSince: undefined, pingSince: undefined })

/** How often `check` has to be called. */
export const period = ({ frameTimeout, keepaliveTime, keepaliveTimeout }: Liveness): number =>
  Math.max(1, Timers.clamp(Math.min(keepaliveTime, keepaliveTimeout, frameTimeout) / 2))

/** Bytes have been read, and whether they end in the middle of a frame. */
export const onRead = (liveness: Liveness, isMidFrame: boolean): void => {
  liveness.frameSince = isMidFrame ? (liveness.frameSince ?? liveness.lastReceived) : undefined
}

/** Whether to send a ping, because none waits for its answer and nothing came for so long. It counts as sent then. */
export const shouldPing = (liveness: Liveness, silence: number, now: number): boolean => {
  if (liveness.pingSince !== undefined || now - liveness.lastReceived < silence) {
    return false
  }
  liveness.pingSince = now
  return true
}

/** Returns why the peer is given up, or that a ping is to be sent, where pings may be sent now. */
export const check = (
  liveness: Liveness,
  now: number,
  mayPing = true
): "FrameTimeout" | "PingTimeout" | "Ping" | undefined => {
  const { frameSince, lastReceived, pingSince } = liveness
  if (frameSince !== undefined && now - frameSince > liveness.frameTimeout) {
    return "FrameTimeout"
  }
  if (pingSince !== undefined && now - Math.max(pingSince, lastReceived) > liveness.keepaliveTimeout) {
    return "PingTimeout"
  }
  return mayPing && shouldPing(liveness, liveness.keepaliveTime, now) ? "Ping" : undefined
}
