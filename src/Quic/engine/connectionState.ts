/** What a connection on quiche keeps, and how it sends and ends. */
import * as Phase from "./connectionPhase.js"
import type * as Liveness from "./liveness.js"
import * as PacketSlab from "./packetSlab.js"
import type * as PeerTraffic from "./peerTraffic.js"
import {
  type Close,
  type Connection,
  type ConnectionSettings,
  type Events,
  type HostPort,
  type OnThrown,
  tooMuch
} from "./QuicEngine.js"
import type { Paths, Quiche, State } from "./quiche.js"
import type * as QuicheStreams from "./quicheStreams.js"

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

/** What a connection keeps. */
export interface ConnectionState {
  readonly options: Options
  readonly state: State
  readonly recvInfo: { readonly from: HostPort; readonly to: HostPort }
  readonly streams: QuicheStreams.Streams
  readonly traffic: PeerTraffic.PeerTraffic
  readonly liveness: Liveness.Liveness
  /** The callbacks of the owner. */
  events: Events
  phase: Phase.Phase
  /** Whether packets, writes and timers are to be processed at the end of this turn of the event loop. */
  isScheduled: boolean
  /** quiche has thrown: whether that is the end is in `localError`. */
  hasFailed: boolean
  timer: NodeJS.Timeout | undefined
  timerDue: number
  readonly onImmediate: () => void
  readonly onMicrotask: () => void
  readonly onTimeout: () => void
}

const slab = PacketSlab.make()

/** Packets that one connection sends before others and the event loop have their turn. */
const maxBurst = 256

/** RFC 9000, section 20.1. */
const internalError = 0x1
export const connectionRefused = 0x2

export const schedule = (self: ConnectionState) => {
  if (!self.isScheduled) {
    self.isScheduled = true
    setImmediate(self.onImmediate)
  }
}

const finish = (self: ConnectionState, close: Close) => {
  if (!Phase.isClosed(self.phase)) {
    self.phase = Phase.closed(self.phase, performance.now())
    self.streams.clear()
    try {
      self.events.onClosed(close)
    } catch (cause) {
      self.options.onThrown?.("engine", self.options.paths.remote, cause)
    }
  }
}

export const leave = (self: ConnectionState) => {
  if (self.phase._tag !== "Gone") {
    self.phase = Phase.gone(self.phase)
    clearTimeout(self.timer)
    self.timer = undefined
    self.options.onGone()
  }
}

export const lose = (self: ConnectionState, close: Close) => {
  finish(self, close)
  leave(self)
}

export const send = (self: ConnectionState) => {
  const { options, state } = self
  for (let burst = 0; self.phase._tag !== "Gone"; burst++) {
    if (burst === maxBurst) {
      return schedule(self)
    }
    const room = PacketSlab.rest(slab, options.settings.maxUdpPayload)
    let sent: ReturnType<State["send"]>
    try {
      sent = state.send(room)
    } catch {
      // What is wrong is in `localError`, or will end by the idle timeout.
      self.hasFailed = true
      return
    }
    if (sent === null) {
      return
    }
    const [length] = sent
    const at = slab.used
    slab.used += length
    options.transmit(slab.buffer, at, length, options.paths.remote)
  }
}

export const close = (self: ConnectionState, isApplication: boolean, code: number, text: string) => {
  const { state } = self
  if (Phase.isClosed(self.phase)) {
    return
  }
  // Nothing but the end is sent behind it, and a peer that misses the end of the handshake can't read that.
  send(self)
  try {
    state.close(isApplication, code, Buffer.from(text))
  } catch {
    // It has ended already.
  }
  send(self)
  finish(self, { _tag: "Closed", by: "local", isApplication, code, text })
  if (state.isClosed() || state.isDraining()) {
    leave(self)
  } else {
    // There is no room for the end before something is acknowledged.
    schedule(self)
  }
}

/** Ends the connection for what was thrown behind one of its doors. */
export const fail = (self: ConnectionState, door: "packet" | "timer" | "engine", cause: unknown) => {
  const { onThrown, paths } = self.options
  onThrown?.(door, paths.remote, cause)
  try {
    if (!Phase.isClosed(self.phase)) {
      return close(self, false, internalError, "internal error")
    }
  } catch (second) {
    onThrown?.(door, paths.remote, second)
  }
  lose(self, { _tag: "Closed", by: "local", isApplication: false, code: internalError, text: "internal error" })
}

const errorOf = ({ state }: ConnectionState, by: "local" | "remote"): Close | undefined => {
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

/** Whether quiche has ended the connection, and why. */
export const checkEnd = (self: ConnectionState) => {
  const { state } = self
  if (!self.hasFailed && !state.isDraining() && !state.isClosed()) {
    return
  }
  self.hasFailed = false
  const close = errorOf(self, "remote") ?? errorOf(self, "local")
  if (close !== undefined) {
    finish(self, close)
  } else if (state.isTimedOut()) {
    finish(self, { _tag: "Lost", why: "Silent" })
  } else if (state.isClosed()) {
    finish(self, { _tag: "Lost", why: "Reset" })
  }
}

/** Ends a connection whose handshake takes too much. */
export const refuse = (self: ConnectionState): void => close(self, false, connectionRefused, tooMuch)
