/** Whether the peer of a connection is there: the time for the handshake, and pings to a peer that is silent. */
import type { ConnectionSettings } from "./QuicEngine.js"

export interface Liveness {
  readonly settings: Pick<ConnectionSettings, "handshakeTimeout" | "keepaliveTimeout">
  readonly started: number
  /** How long the peer may be silent before it gets a ping. */
  keepaliveTime: number
  lastReceived: number
  /** When the ping was sent that waits for an answer. */
  pingSince: number | undefined
}

export const make = (
  settings: Pick<ConnectionSettings, "handshakeTimeout" | "keepaliveTime" | "keepaliveTimeout">,
  now: number
): Liveness => ({
  settings,
  started: now,
  keepaliveTime: settings.keepaliveTime,
  lastReceived: now,
  pingSince: undefined
})

/** The peer forgets the connection after so many milliseconds, or never with 0: it gets its ping in time. */
export const onPeerIdleTimeout = (liveness: Liveness, idleTimeout: number): void => {
  if (idleTimeout > 0) {
    liveness.keepaliveTime = Math.min(liveness.keepaliveTime, idleTimeout / 2)
  }
}

/** When `check` has to be called next. */
export const due = (liveness: Liveness, isAccepted: boolean): number => {
  const { lastReceived, pingSince, settings } = liveness
  if (!isAccepted) {
    return liveness.started + settings.handshakeTimeout
  }
  return pingSince === undefined
    ? lastReceived + liveness.keepaliveTime
    : Math.max(pingSince, lastReceived) + settings.keepaliveTimeout
}

/** Whether a ping is to be sent, because none waits for its answer and nothing came for so long. Counts as sent then. */
export const shouldPing = (liveness: Liveness, silence: number, now: number): boolean => {
  if (liveness.pingSince !== undefined || now - liveness.lastReceived < silence) {
    return false
  }
  liveness.pingSince = now
  return true
}

/** Returns why the peer is given up, or that a ping is to be sent. */
export const check = (
  liveness: Liveness,
  isAccepted: boolean,
  now: number
): "HandshakeTimeout" | "Silent" | "Ping" | undefined => {
  const { lastReceived, pingSince, settings } = liveness
  if (!isAccepted && now - liveness.started >= settings.handshakeTimeout) {
    return "HandshakeTimeout"
  }
  if (pingSince !== undefined) {
    if (lastReceived > pingSince) {
      liveness.pingSince = undefined
    } else if (now - pingSince >= settings.keepaliveTimeout) {
      return "Silent"
    }
  }
  return isAccepted && shouldPing(liveness, liveness.keepaliveTime, now) ? "Ping" : undefined
}
