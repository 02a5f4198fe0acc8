/** What a peer sends, against what of it is content: limits for packets, for the handshake, for unread bytes and for the rest. */
import type { ConnectionSettings } from "./QuicEngine.js"

export interface PeerTraffic {
  readonly settings: ConnectionSettings
  rateSince: number
  packets: number
  /** What came before the handshake was over. */
  handshakeBytes: number
  /** An upper bound of the bytes that are unread. */
  unread: number
  /** With more than this unread, a better bound is worth its cost. */
  unreadToCheck: number
  /** Packets since the bound was last improved. */
  uncheckedPackets: number
  /** Bytes that are missing from what is unread because the peer has reset their stream: they are content. */
  resetBytes: number
  /** What came and was no content, less what use allows for. */
  idleBytes: number
  idlePackets: number
  wornSince: number | undefined
  isWorn: boolean
}

/**
 * What a packet counts as, since quiche does not say what it carries: all but headers, acknowledgements and the seal, and not
 * less than the least that quiche may keep for it.
 */
const packetOverhead = 64
const minPacketCost = 64

/**
 * What may come without content for each read or write: acknowledgements, window updates, what was sent twice, headers of
 * packets with few bytes. Calls, bulk both ways and 20 % loss were never above 430 packets and 0.5 MB.
 */
const idlePacketsPerUse = 2
const bytesPerIdlePacket = 512
const idleBytesPerByteRead = 3

/**
 * What quiche may have dropped of a stream that the peer reset, for each byte that was read of it: only the peer knows how much
 * that was. 128 KiB have been read for a handler that takes nothing when the window of 1 MiB is full.
 */
const unreadPerByteRead = 8

/** After so much it is time to look how much of it was content: to ask quiche costs a small call some microseconds. */
const uncheckedBytes = 16 * 1024
const maxUncheckedPackets = 64

/** How long more than `maxIdleBytes` must have come for nothing. */
const minWornMillis = 1000

/** A connection that has not been replaced by this multiple of `maxIdleBytes` is closed. */
const idleBytesFactor = 4

/** What may still arrive of streams that this end opened and gave up, at the most. */
const maxAbandonedBytes = 64 * 1024 * 1024

/** Packets before the handshake is over count as this much at least, because a small one costs as much as a large one. */
const minHandshakePacket = 512

export const make = (settings: ConnectionSettings, now: number): PeerTraffic => ({
  settings,
  rateSince: now,
  packets: 0,
  handshakeBytes: 0,
  unread: 0,
  unreadToCheck: settings.streamWindow,
  uncheckedPackets: 0,
  resetBytes: 0,
  idleBytes: 0,
  idlePackets: 0,
  wornSince: undefined,
  isWorn: false
})

/** A packet came. Returns what is too much, if anything is; the packet must not be read then. */
export const onPacket = (
  traffic: PeerTraffic,
  size: number,
  isHandshake: boolean,
  now: number
): "Packets" | "Handshake" | undefined => {
  traffic.packets += 1
  if (now - traffic.rateSince >= 1000) {
    traffic.rateSince = now
    traffic.packets = 1
    traffic.idlePackets = 0
  } else if (traffic.packets > traffic.settings.maxPacketRate) {
    return "Packets"
  }
  if (isHandshake) {
    // quiche keeps twenty bytes for each in a CRYPTO frame of its own (CVE-2024-1765).
    traffic.handshakeBytes += Math.max(size, minHandshakePacket)
    if (traffic.handshakeBytes > traffic.settings.maxHandshakeBytes) {
      return "Handshake"
    }
  }
  traffic.uncheckedPackets += 1
  traffic.unread += Math.max(minPacketCost, size - packetOverhead)
  return undefined
}

/** Content was read or written: allows for so many bytes without. */
const onUse = (traffic: PeerTraffic, size: number, allowance: number): void => {
  const { idleBytes, idlePackets } = traffic
  traffic.idlePackets = Math.max(0, idlePackets - idlePacketsPerUse - size / bytesPerIdlePacket)
  traffic.idleBytes = Math.max(Math.min(0, idleBytes), idleBytes - idlePacketsPerUse * minPacketCost - allowance)
}

export const onRead = (traffic: PeerTraffic, size: number): void => {
  traffic.unread = Math.max(0, traffic.unread - size)
  onUse(traffic, size, idleBytesPerByteRead * size)
}

export const onWritten = (traffic: PeerTraffic, size: number): void =>
  onUse(traffic, size, (size / bytesPerIdlePacket) * minPacketCost)

/** A stream of this end was given up before its end: what was under way may still come. */
export const onAbandoned = (traffic: PeerTraffic): void => {
  traffic.idleBytes = Math.max(-maxAbandonedBytes, traffic.idleBytes - traffic.settings.streamWindow)
}

/** The peer has reset a stream of which so much was read: what else came of it can't be read any more. */
export const onPeerReset = (traffic: PeerTraffic, readBytes: number): void => {
  const dropped = Math.min(traffic.settings.streamWindow, unreadPerByteRead * readBytes)
  traffic.resetBytes = Math.min(traffic.unread, traffic.resetBytes + dropped)
}

/** Whether so much came since the last check that it is time for the next. */
export const isCheckDue = (traffic: PeerTraffic): boolean =>
  traffic.unread > uncheckedBytes || traffic.uncheckedPackets >= maxUncheckedPackets

/** Whether more may be unread than what is allowed for the connection, or than what was found the last time. */
export const isBoundDue = (traffic: PeerTraffic, connectionWindow: number): boolean =>
  traffic.unread > Math.min(traffic.unreadToCheck, connectionWindow)

/** How much is unread is known as well as it can be: it is asked again after one more window of a stream. */
export const setUnread = (traffic: PeerTraffic, unread: number): void => {
  traffic.unread = unread
  traffic.unreadToCheck = unread + traffic.settings.streamWindow
}

/**
 * Not more than `maxUnread` can be unread: what came beyond that, and was not reset, was no content. Returns "Idle" where that
 * was too much, and "Worn", once, where the connection should be replaced.
 */
export const check = (traffic: PeerTraffic, maxUnread: number, now: number): "Idle" | "Worn" | undefined => {
  const { settings } = traffic
  const missing = traffic.unread - maxUnread
  if (missing > 0) {
    const bytes = Math.max(0, missing - traffic.resetBytes)
    traffic.unread = maxUnread
    traffic.resetBytes = Math.min(maxUnread, traffic.resetBytes - (missing - bytes))
    traffic.idleBytes += bytes
    traffic.idlePackets += Math.min(traffic.uncheckedPackets, bytes / minPacketCost)
  }
  traffic.uncheckedPackets = 0
  if (traffic.idlePackets > settings.maxIdlePacketRate || traffic.idleBytes > idleBytesFactor * settings.maxIdleBytes) {
    return "Idle"
  }
  if (traffic.idleBytes <= settings.maxIdleBytes) {
    traffic.wornSince = undefined
    return undefined
  }
  if (traffic.isWorn) {
    return undefined
  }
  // Behind a lost packet content can't be read either, until that has come.
  traffic.wornSince ??= now
  traffic.isWorn = now - traffic.wornSince >= minWornMillis
  return traffic.isWorn ? "Worn" : undefined
}
