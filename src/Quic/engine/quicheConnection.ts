/** One connection on quiche's state machine: packets in and out, one timer, and its end. */
import { constVoid } from "effect/Function"
import * as Timers from "../../Transport/internal/timers.js"
import * as Coalesced from "./coalesced.js"
import * as Phase from "./connectionPhase.js"
import {
  type ConnectionState,
  checkEnd,
  close,
  connectionRefused,
  fail,
  leave,
  lose,
  type Options,
  refuse,
  schedule,
  send
} from "./connectionState.js"
import * as Liveness from "./liveness.js"
import * as PeerTraffic from "./peerTraffic.js"
import { type Close, type Connection, type Events, tooIdle } from "./QuicEngine.js"
import { unzoned } from "./quiche.js"
import * as QuicheStreams from "./quicheStreams.js"

/** What the endpoint needs of a connection. */
export interface Driver {
  readonly connection: Connection
  /** Ends a connection whose handshake takes too much. */
  readonly refuse: () => void
  /** Takes a packet. What follows from it happens later in this turn of the event loop, once for all packets. */
  readonly receive: (packet: Buffer) => void
  /** Begins to send. */
  readonly start: () => void
  /** Gives the connection up without telling the peer. */
  readonly lose: (close: Close) => void
}

/** How long the end of a connection may wait until it can be sent, in milliseconds. */
const lingerPeriod = 1000

/** Sets the timer for what is due first. */
const arm = (self: ConnectionState) => {
  const { liveness, phase } = self
  const now = performance.now()
  const timeout = self.state.timeout()
  const due = Math.min(
    timeout === null ? Number.POSITIVE_INFINITY : now + timeout,
    phase._tag === "Closed" ? phase.since + lingerPeriod : Liveness.due(liveness, Phase.isOpen(phase))
  )
  // A timer that comes too early looks again; to move it for every packet would cost more.
  if (self.timer === undefined || due < self.timerDue - 1) {
    clearTimeout(self.timer)
    self.timerDue = due
    self.timer = due === Number.POSITIVE_INFINITY ? undefined : setTimeout(self.onTimeout, Timers.clamp(due - now))
  }
}

const onTimer = (self: ConnectionState) => {
  const { phase, state } = self
  self.timer = undefined
  const now = performance.now()
  if (phase._tag === "Closed" && now - phase.since >= lingerPeriod) {
    return leave(self)
  }
  if (!Phase.isClosed(phase)) {
    const verdict = Liveness.check(self.liveness, Phase.isOpen(phase), now)
    if (verdict === "Ping") {
      state.sendAckEliciting()
    } else if (verdict !== undefined) {
      return lose(self, { _tag: "Lost", why: verdict })
    }
  }
  if (state.timeout() === 0) {
    state.onTimeout()
  }
  process(self)
}

const readDatagrams = (self: ConnectionState) => {
  while (!Phase.isClosed(self.phase)) {
    const datagram = self.state.dgramRecvVec()
    if (datagram === null) {
      return
    }
    PeerTraffic.onRead(self.traffic, datagram.byteLength)
    self.events.onDatagram(Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength))
  }
}

/** Not more than so many bytes can be unread: ends a connection whose peer sent too much without content. */
const checkTraffic = (self: ConnectionState, maxUnread: number) => {
  const verdict = PeerTraffic.check(self.traffic, maxUnread, self.liveness.lastReceived)
  if (verdict === "Idle") {
    close(self, false, connectionRefused, tooIdle)
  } else if (verdict === "Worn") {
    self.events.onWorn?.()
  }
}

/** Looks how much is unread, and has streams reset where that is more than the window of the connection. */
const checkUnread = (self: ConnectionState) => {
  const { options, streams, traffic } = self
  const { streamWindow } = options.settings
  if (!self.state.isReadable()) {
    return checkTraffic(self, 0)
  }
  const connectionWindow = Math.max(0, options.settings.connectionWindow - (self.events.kept?.() ?? 0))
  if (PeerTraffic.isBoundDue(traffic, connectionWindow)) {
    checkTraffic(self, Math.min(traffic.unread, streams.maxUnread(streamWindow)))
    PeerTraffic.setUnread(
      traffic,
      !Phase.isClosed(self.phase) && traffic.unread > connectionWindow
        ? streams.relieve(traffic.unread, { connectionWindow, streamWindow })
        : traffic.unread
    )
  }
}

/** What follows from the packets, writes and timers of one turn of the event loop. */
const process = (self: ConnectionState) => {
  const { state, streams, traffic } = self
  self.isScheduled = true
  if (self.phase._tag === "Gone") {
    return
  }
  if (self.phase._tag === "Handshaking" && state.isEstablished()) {
    self.phase = Phase.established
    Liveness.onPeerIdleTimeout(self.liveness, state.stats().peerMaxIdleTimeout)
    self.events.onEstablished()
  }
  if (Phase.isOpen(self.phase)) {
    // To ask what is readable costs more than anything else here, also where nothing is.
    if (state.isReadable()) {
      streams.readAll()
      readDatagrams(self)
      if (!Phase.isClosed(self.phase) && PeerTraffic.isCheckDue(traffic)) {
        checkUnread(self)
      }
    } else if (traffic.unread > 0) {
      checkTraffic(self, 0)
    }
  }
  if (!Phase.isClosed(self.phase)) {
    streams.advance()
  }
  // The fibers that this has woken run first, so that what they write goes with it.
  queueMicrotask(self.onMicrotask)
}

/** Nothing waits for an acknowledgement: without an idle timeout no timer runs then. */
const isAcknowledged = ({ liveness, options, state }: ConnectionState): boolean => {
  const timeout = state.timeout()
  return timeout === null || timeout > Math.min(options.settings.keepaliveTimeout + 500, liveness.keepaliveTime)
}

const isFlushed = (self: ConnectionState): boolean =>
  Phase.isClosed(self.phase) ||
  // What was just written leaves at the end of the turn; where something is not acknowledged, a timer runs that is shorter
  // than what is left to the idle timeout.
  (!self.isScheduled && !self.streams.isBlocked() && isAcknowledged(self))

const flush = (self: ConnectionState) => {
  const { state } = self
  self.isScheduled = false
  if (self.phase._tag === "Gone") {
    return
  }
  send(self)
  if (!Phase.isClosed(self.phase)) {
    checkEnd(self)
  }
  if (self.phase._tag === "Accepted" && isFlushed(self)) {
    self.phase = Phase.confirmed
    self.events.onConfirmed()
  }
  if (Phase.isOpen(self.phase)) {
    self.events.onTurn?.()
  }
  if (Phase.isClosed(self.phase) && (state.isClosed() || state.isDraining())) {
    return leave(self)
  }
  if (self.phase._tag !== "Gone") {
    arm(self)
  }
}

const receive = (self: ConnectionState, packet: Buffer) => {
  const { state } = self
  if (self.phase._tag === "Gone") {
    return
  }
  const now = performance.now()
  const excess = PeerTraffic.onPacket(self.traffic, packet.length, !Phase.isEstablished(self.phase), now)
  if (excess !== undefined) {
    return excess === "Handshake" ? refuse(self) : close(self, false, connectionRefused, "too many packets")
  }
  self.liveness.lastReceived = now
  for (const each of Coalesced.split(packet)) {
    try {
      state.recv(each, self.recvInfo)
    } catch {
      // What can't be read is dropped (RFC 9000, section 12.2), and what breaks the rules is in `localError` now.
      self.hasFailed = true
    }
  }
  // What is not drained grows (CVE-2026-12707, CVE-2025-7054).
  while (state.pathEventNext() !== null) {}
  while (state.retiredScidNext() !== null) {}
  schedule(self)
}

const sendDatagram = (self: ConnectionState, datagram: Buffer): boolean => {
  const { state } = self
  if (Phase.isClosed(self.phase)) {
    return false
  }
  schedule(self)
  try {
    if (state.isDgramSendQueueFull() || state.dgramSend(datagram) === null) {
      return false
    }
    PeerTraffic.onWritten(self.traffic, datagram.length)
    return true
  } catch {
    return false
  }
}

const probe = (self: ConnectionState, silence: number) => {
  if (Phase.isOpen(self.phase) && Liveness.shouldPing(self.liveness, silence, performance.now())) {
    self.state.sendAckEliciting()
    schedule(self)
  }
}

const connectionOf = (self: ConnectionState): Connection => {
  const { options, state } = self
  return {
    remote: options.paths.remote,
    isEstablished: () => Phase.isEstablished(self.phase),
    accept: () => {
      if (self.phase._tag === "Established") {
        self.phase = Phase.accepted
      }
      schedule(self)
    },
    peerCertificates: () =>
      (state.peerCertChain() ?? []).map((der) => Buffer.from(der.buffer, der.byteOffset, der.byteLength)),
    ...self.streams.methods,
    unread: () => self.traffic.unread,
    sendDatagram: (datagram) => sendDatagram(self, datagram),
    maxDatagramSize: () => (Phase.isClosed(self.phase) ? undefined : (state.dgramMaxWritableLen() ?? undefined)),
    probe: (silence) => probe(self, silence),
    isFlushed: () => isFlushed(self),
    close: (isApplication, code, text) => close(self, isApplication, code, text)
  }
}

/** Nothing is told before the owner has given its callbacks. */
const noEvents: Events = {
  onEstablished: constVoid,
  onConfirmed: constVoid,
  onStream: () => ({ onReadable: constVoid, onDrain: constVoid, onStopped: constVoid }),
  onDatagram: constVoid,
  onOverflow: constVoid,
  onStreamsAvailable: constVoid,
  onClosed: constVoid
}

export const make = (options: Options): Driver => {
  const { paths, quiche, role, settings, state } = options
  const now = performance.now()
  const traffic = PeerTraffic.make(settings, now)
  /** What is thrown behind a door ends this connection and nothing else. */
  const guarded = (door: "timer" | "engine", run: (self: ConnectionState) => void) => () => {
    try {
      run(self)
    } catch (cause) {
      fail(self, door, cause)
    }
  }
  const self: ConnectionState = {
    options,
    state,
    recvInfo: { from: unzoned(paths.remote), to: unzoned(paths.local) },
    streams: QuicheStreams.make({
      quiche,
      state,
      role,
      isClosed: () => Phase.isClosed(self.phase),
      schedule: () => schedule(self),
      send: () => send(self),
      onRead: (size) => PeerTraffic.onRead(traffic, size),
      onWritten: (size) => PeerTraffic.onWritten(traffic, size),
      onAbandoned: () => PeerTraffic.onAbandoned(traffic),
      onPeerReset: (readBytes) => PeerTraffic.onPeerReset(traffic, readBytes),
      onStream: (id) => self.events.onStream(id),
      onOverflow: (id) => self.events.onOverflow(id),
      onStreamsAvailable: () => self.events.onStreamsAvailable()
    }),
    traffic,
    liveness: Liveness.make(settings, now),
    events: noEvents,
    phase: Phase.handshaking,
    isScheduled: false,
    hasFailed: false,
    timer: undefined,
    timerDue: Number.POSITIVE_INFINITY,
    onImmediate: guarded("engine", process),
    onMicrotask: guarded("engine", flush),
    onTimeout: guarded("timer", onTimer)
  }
  const connection = connectionOf(self)
  self.events = options.events(connection)
  return {
    connection,
    refuse: () => refuse(self),
    receive: (packet) => {
      try {
        receive(self, packet)
      } catch (cause) {
        fail(self, "packet", cause)
      }
    },
    start: self.onImmediate,
    lose: (close) => lose(self, close)
  }
}
