/** One connection on quiche's state machine: packets in and out, one timer, and its end. */
import * as Timers from "../../Transport/internal/timers.js"
import * as Coalesced from "./coalesced.js"
import {
  type Close,
  type Connection,
  type ConnectionSettings,
  type Events,
  type HostPort,
  type OnThrown,
  tooIdle,
  tooMuch
} from "./QuicEngine.js"
import { type Paths, type Quiche, type State, unzoned } from "./quiche.js"
import * as QuicheStreams from "./quicheStreams.js"

/** What the endpoint needs of a connection. */
export interface Driven {
  readonly connection: Connection
  /** Ends a connection whose handshake takes too much. */
  readonly refuse: () => void
  /** Takes a packet. What follows from it happens later in this turn of the event loop, once for all packets. */
  readonly receive: (packet: Buffer) => void
  /** Begins to send. */
  readonly start: () => void
  /** Gives the connection up without a word. */
  readonly lose: (close: Close) => void
}

export interface Options {
  readonly quiche: Quiche
  readonly state: State
  readonly paths: Paths
  readonly role: "client" | "server"
  readonly settings: ConnectionSettings
  readonly transmit: (slab: Buffer, offset: number, length: number, to: HostPort) => void
  readonly events: (connection: Connection) => Events
  readonly onThrown: OnThrown | undefined
  /** The last packet has been sent; nothing more is wanted from the peer. */
  readonly onGone: () => void
}

/** Packets are written behind each other into a slab, which is not used again: the system may still read them. */
const slabSize = 256 * 1024
let slab = Buffer.allocUnsafeSlow(slabSize)
let slabAt = 0

/** Packets that one connection sends before others and the event loop have their turn. */
const maxBurst = 256

/**
 * What a packet is counted as, of which quiche does not say what it carries: all but what headers, acknowledgements and the
 * seal take, and not less than the least that quiche may keep for it.
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

/** After so much it is time to look what of it was content. */
const bytesToLook = 16 * 1024
const packetsToLook = 64

/** How long more than `maxIdleBytes` must have come for nothing. */
const minWornMillis = 1000

/** A connection that has not been replaced by this multiple of `maxIdleBytes` is closed. */
const idleBytesFactor = 4

/** What may still arrive of streams that this end opened and gave up, at the most. */
const maxAbandonedBytes = 64 * 1024 * 1024

/** How long the end of a connection may wait until it can be sent, in milliseconds. */
const lingerPeriod = 1000

/** Of packets before the handshake is over, on average. Few bytes in a packet cost as much as many. */
const minHandshakePacket = 512

/** RFC 9000, section 20.1. */
const internalError = 0x1
const connectionRefused = 0x2

export const make = (options: Options): Driven => {
  const { paths, quiche, role, settings, state } = options
  const recvInfo = { from: unzoned(paths.remote), to: unzoned(paths.local) }
  let isScheduled = false
  let isEstablished = false
  let isAccepted = false
  let isConfirmed = false
  let { keepaliveTime } = settings
  let closed: Close | undefined
  let closedSince = 0
  /** quiche has thrown: whether that is the end is in `localError`. */
  let hasFailed = false
  let isGone = false
  let timer: NodeJS.Timeout | undefined
  let timerDue = Number.POSITIVE_INFINITY
  const started = performance.now()
  let lastReceived = started
  let pingSince: number | undefined
  let rateSince = started
  let packets = 0
  /** What came before the handshake was over. */
  let handshakeBytes = 0
  /** No fewer bytes than are unread. */
  let unread = 0
  /** At so many it is time to look how many there can be. */
  let unreadToLook = settings.streamWindow
  /** Packets since that look. */
  let unseenPackets = 0
  /** What came and was no content, less what use allows for. */
  let idleBytes = 0
  let idlePackets = 0
  let wornSince: number | undefined
  let isWorn = false

  const schedule = () => {
    if (!isScheduled) {
      isScheduled = true
      setImmediate(onImmediate)
    }
  }

  const finish = (close: Close) => {
    if (closed === undefined) {
      closed = close
      closedSince = performance.now()
      streams.clear()
      try {
        events.onClosed(close)
      } catch (cause) {
        options.onThrown?.("engine", paths.remote, cause)
      }
    }
  }

  const gone = () => {
    if (!isGone) {
      isGone = true
      clearTimeout(timer)
      timer = undefined
      options.onGone()
    }
  }

  const lose = (close: Close) => {
    finish(close)
    gone()
  }

  const send = () => {
    for (let burst = 0; !isGone; burst++) {
      if (burst === maxBurst) {
        return schedule()
      }
      if (slab.length - slabAt < settings.maxUdpPayload) {
        slab = Buffer.allocUnsafeSlow(Math.max(slabSize, settings.maxUdpPayload))
        slabAt = 0
      }
      let sent: ReturnType<State["send"]>
      try {
        sent = state.send(slabAt === 0 ? slab : slab.subarray(slabAt))
      } catch {
        // What is wrong is in `localError`, or will end by the idle timeout.
        hasFailed = true
        return
      }
      if (sent === null) {
        return
      }
      const [length] = sent
      options.transmit(slab, slabAt, length, paths.remote)
      slabAt += length
    }
  }

  const arm = () => {
    const now = performance.now()
    const timeout = state.timeout()
    let due = timeout === null ? Number.POSITIVE_INFINITY : now + timeout
    if (closed === undefined) {
      due = Math.min(
        due,
        !isAccepted
          ? started + settings.handshakeTimeout
          : pingSince === undefined
            ? lastReceived + keepaliveTime
            : Math.max(pingSince, lastReceived) + settings.keepaliveTimeout
      )
    } else {
      due = Math.min(due, closedSince + lingerPeriod)
    }
    // A timer that comes too early looks again; to move it for every packet would cost more.
    if (timer === undefined || due < timerDue - 1) {
      clearTimeout(timer)
      timerDue = due
      timer = due === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimeout, Timers.clamp(due - now))
    }
  }

  const onTimer = () => {
    timer = undefined
    const now = performance.now()
    if (closed === undefined) {
      if (!isAccepted && now - started >= settings.handshakeTimeout) {
        return lose({ _tag: "Lost", why: "HandshakeTimeout" })
      }
      if (pingSince !== undefined) {
        if (lastReceived > pingSince) {
          pingSince = undefined
        } else if (now - pingSince >= settings.keepaliveTimeout) {
          return lose({ _tag: "Lost", why: "Silent" })
        }
      }
      if (isAccepted && pingSince === undefined && now - lastReceived >= keepaliveTime) {
        pingSince = now
        state.sendAckEliciting()
      }
    } else if (now - closedSince >= lingerPeriod) {
      return gone()
    }
    if (state.timeout() === 0) {
      state.onTimeout()
    }
    process()
  }

  const readDatagrams = () => {
    while (closed === undefined) {
      const datagram = state.dgramRecvVec()
      if (datagram === null) {
        return
      }
      onRead(datagram.byteLength)
      events.onDatagram(Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength))
    }
  }

  /** Content was read or written: allows for so many bytes without. */
  const onUse = (size: number, allowance: number) => {
    idlePackets = Math.max(0, idlePackets - idlePacketsPerUse - size / bytesPerIdlePacket)
    idleBytes = Math.max(Math.min(0, idleBytes), idleBytes - idlePacketsPerUse * minPacketCost - allowance)
  }

  const onRead = (size: number) => {
    unread = Math.max(0, unread - size)
    onUse(size, idleBytesPerByteRead * size)
  }

  const onWritten = (size: number) => onUse(size, (size / bytesPerIdlePacket) * minPacketCost)

  /** A stream of this end was given up before its end: what was under way may still come. */
  const onAbandoned = () => {
    idleBytes = Math.max(-maxAbandonedBytes, idleBytes - settings.streamWindow)
  }

  /** What came and can't be unread was no content. */
  const countIdle = (maxUnread: number) => {
    const bytes = unread - maxUnread
    if (bytes > 0) {
      unread = maxUnread
      idleBytes += bytes
      idlePackets += Math.min(unseenPackets, bytes / minPacketCost)
    }
    unseenPackets = 0
    if (idlePackets > settings.maxIdlePacketRate || idleBytes > idleBytesFactor * settings.maxIdleBytes) {
      close(false, connectionRefused, tooIdle)
    } else if (idleBytes <= settings.maxIdleBytes) {
      wornSince = undefined
    } else if (!isWorn) {
      // Behind a lost packet content can't be read either, until that has come.
      wornSince ??= lastReceived
      isWorn = lastReceived - wornSince >= minWornMillis
      if (isWorn) {
        events.onWorn?.()
      }
    }
  }

  const lookForOverflow = () => {
    if (!state.isReadable()) {
      return countIdle(0)
    }
    const connectionWindow = Math.max(0, settings.connectionWindow - (events.kept?.() ?? 0))
    if (unread > Math.min(unreadToLook, connectionWindow)) {
      countIdle(Math.min(unread, streams.maxUnread(settings.streamWindow)))
      if (closed === undefined && unread > connectionWindow) {
        unread = streams.relieve(unread, { connectionWindow, streamWindow: settings.streamWindow })
      }
      unreadToLook = unread + settings.streamWindow
    }
  }

  const isErrorOf = (by: "local" | "remote"): Close | undefined => {
    const error = by === "local" ? state.localError() : state.peerError()
    return error === null
      ? undefined
      : {
          _tag: "Closed",
          by,
          isApplication: error.isApp,
          code: error.errorCode,
          text: Buffer.from(error.reason).toString("utf8")
        }
  }

  const lookForEnd = () => {
    if (!hasFailed && !state.isDraining() && !state.isClosed()) {
      return
    }
    hasFailed = false
    const close = isErrorOf("remote") ?? isErrorOf("local")
    if (close !== undefined) {
      finish(close)
    } else if (state.isTimedOut()) {
      finish({ _tag: "Lost", why: "Silent" })
    } else if (state.isClosed()) {
      finish({ _tag: "Lost", why: "Reset" })
    }
  }

  /** What follows from the packets, writes and timers of one turn of the event loop. */
  const process = () => {
    isScheduled = true
    if (isGone) {
      return
    }
    if (closed === undefined && !isEstablished && state.isEstablished()) {
      isEstablished = true
      const { peerMaxIdleTimeout } = state.stats()
      if (peerMaxIdleTimeout > 0) {
        // A peer that forgets earlier than that is asked earlier.
        keepaliveTime = Math.min(keepaliveTime, peerMaxIdleTimeout / 2)
      }
      events.onEstablished()
    }
    // To ask what is readable costs more than anything else here, also where nothing is.
    if (closed === undefined && isAccepted && state.isReadable()) {
      streams.readAll()
      readDatagrams()
      // To ask quiche once more costs a small call some microseconds.
      if (closed === undefined && (unread > bytesToLook || unseenPackets >= packetsToLook)) {
        lookForOverflow()
      }
    } else if (closed === undefined && isAccepted && unread > 0) {
      countIdle(0)
    }
    if (closed === undefined) {
      streams.advance()
    }
    // The fibers that this has woken run first, so that what they write goes with it.
    queueMicrotask(onMicrotask)
  }

  const flush = () => {
    isScheduled = false
    if (isGone) {
      return
    }
    send()
    if (closed === undefined) {
      lookForEnd()
    }
    if (closed === undefined && isAccepted && !isConfirmed && isFlushed()) {
      isConfirmed = true
      events.onConfirmed()
    }
    if (closed === undefined && isAccepted) {
      events.onTurn?.()
    }
    if (closed !== undefined && (state.isClosed() || state.isDraining())) {
      return gone()
    }
    if (!isGone) {
      arm()
    }
  }

  const close = (isApplication: boolean, code: number, text: string) => {
    if (closed !== undefined) {
      return
    }
    // Nothing but the end is sent behind it, and a peer that misses the end of the handshake can't read that.
    send()
    try {
      state.close(isApplication, code, Buffer.from(text))
    } catch {
      // It has ended already.
    }
    send()
    finish({ _tag: "Closed", by: "local", isApplication, code, text })
    if (state.isClosed() || state.isDraining()) {
      gone()
    } else {
      // There is no room for the end before something is acknowledged.
      schedule()
    }
  }

  /** Ends the connection for what was thrown behind one of its doors. */
  const fail = (door: "packet" | "timer" | "engine", cause: unknown) => {
    options.onThrown?.(door, paths.remote, cause)
    try {
      if (closed === undefined) {
        return close(false, internalError, "internal error")
      }
    } catch (again) {
      options.onThrown?.(door, paths.remote, again)
    }
    lose({ _tag: "Closed", by: "local", isApplication: false, code: internalError, text: "internal error" })
  }

  const onTimeout = () => {
    try {
      onTimer()
    } catch (cause) {
      fail("timer", cause)
    }
  }

  const onImmediate = () => {
    try {
      process()
    } catch (cause) {
      fail("engine", cause)
    }
  }

  const onMicrotask = () => {
    try {
      flush()
    } catch (cause) {
      fail("engine", cause)
    }
  }

  const refuse = () => close(false, connectionRefused, tooMuch)

  const receive = (packet: Buffer) => {
    try {
      take(packet)
    } catch (cause) {
      fail("packet", cause)
    }
  }

  const take = (packet: Buffer) => {
    if (isGone) {
      return
    }
    const now = performance.now()
    packets += 1
    if (now - rateSince >= 1000) {
      rateSince = now
      packets = 1
      idlePackets = 0
    } else if (packets > settings.maxPacketRate) {
      return close(false, connectionRefused, "too many packets")
    }
    if (!isEstablished) {
      // quiche keeps twenty bytes for each in a CRYPTO frame of its own (CVE-2024-1765).
      handshakeBytes += Math.max(packet.length, minHandshakePacket)
      if (handshakeBytes > settings.maxHandshakeBytes) {
        return refuse()
      }
    }
    lastReceived = now
    unseenPackets += 1
    unread += Math.max(minPacketCost, packet.length - packetOverhead)
    for (const each of Coalesced.split(packet)) {
      try {
        state.recv(each, recvInfo)
      } catch {
        // What can't be read is dropped (RFC 9000, section 12.2), and what breaks the rules is in `localError` now.
        hasFailed = true
      }
    }
    // What is not drained grows (CVE-2026-12707, CVE-2025-7054).
    while (state.pathEventNext() !== null) {}
    while (state.retiredScidNext() !== null) {}
    schedule()
  }

  /** Nothing waits for an acknowledgement: without an idle timeout no timer runs then. */
  const isAcknowledged = () => {
    const timeout = state.timeout()
    return timeout === null || timeout > Math.min(settings.keepaliveTimeout + 500, keepaliveTime)
  }

  const isFlushed = () =>
    closed !== undefined ||
    // What was just written leaves at the end of the turn; where something is not acknowledged, a timer runs that is
    // shorter than what is left to the idle timeout.
    (!isScheduled && !streams.isBlocked() && isAcknowledged())

  const streams = QuicheStreams.make({
    quiche,
    state,
    role,
    isClosed: () => closed !== undefined,
    schedule,
    send,
    onRead,
    onWritten,
    onAbandoned,
    onStream: (id) => events.onStream(id),
    onOverflow: (id) => events.onOverflow(id),
    onStreamsAvailable: () => events.onStreamsAvailable()
  })

  const connection: Connection = {
    remote: paths.remote,
    isEstablished: () => isEstablished,
    accept: () => {
      isAccepted = true
      schedule()
    },
    peerCertificates: () =>
      (state.peerCertChain() ?? []).map((der) => Buffer.from(der.buffer, der.byteOffset, der.byteLength)),
    ...streams.methods,
    unread: () => unread,
    sendDatagram: (datagram) => {
      if (closed !== undefined) {
        return false
      }
      schedule()
      try {
        if (state.isDgramSendQueueFull() || state.dgramSend(datagram) === null) {
          return false
        }
        onWritten(datagram.length)
        return true
      } catch {
        return false
      }
    },
    maxDatagramSize: () => (closed === undefined ? (state.dgramMaxWritableLen() ?? undefined) : undefined),
    probe: (silence) => {
      const now = performance.now()
      if (closed === undefined && isAccepted && pingSince === undefined && now - lastReceived >= silence) {
        pingSince = now
        state.sendAckEliciting()
        schedule()
      }
    },
    isFlushed,
    close
  }

  const events = options.events(connection)

  return {
    connection,
    refuse,
    receive,
    start: onImmediate,
    lose
  }
}
