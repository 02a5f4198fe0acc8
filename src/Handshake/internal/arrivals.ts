/** The connections of a listener whose peers have not proved who they are: their places, time limits and bytes. */
import type * as Net from "node:net"
import * as Duration from "effect/Duration"
import { constVoid } from "effect/Function"
import type * as Boundary from "../../Transport/internal/boundary.js"
import * as Timers from "../../Transport/internal/timers.js"
import * as Peer from "../../Transport/Peer.js"
import * as Admission from "../HandshakeAdmission.js"

/** What a listener allows its arrivals. */
export interface Limits {
  /** From accept to the peer's first frame. */
  readonly handshakeTimeout: Duration.Duration
  /** Before the handshake is over; `Infinity` where there is none. */
  readonly maxHandshakeBytes: number
}

/** How often the bytes of handshakes in progress are counted. */
const countPeriodMillis = 100

type State =
  /** The peer has sent nothing. */
  | { readonly _tag: "Silent" }
  /** Its handshake may begin when the rates allow it. */
  | { readonly _tag: "Delayed"; readonly timer: NodeJS.Timeout }
  | { readonly _tag: "Handshaking" }
  /** The transport has it and waits for the first frame. */
  | { readonly _tag: "HandedOver"; readonly giveUp: () => void }
  /** Closed, counted and logged. */
  | { readonly _tag: "TurnedAway" }

/** A connection from accept to the peer's first frame. */
export interface Arrival {
  readonly socket: Net.Socket
  readonly address: string
  /** The peer's address without its port; undefined for a unix socket. */
  readonly host: string | undefined
  /** What counts as one source of connections, see `Admission.sourceOf`. */
  readonly source: string
  readonly remainingMillis: () => number
  /** The peer has sent its first bytes. */
  readonly speak: () => void
  /** Calls `next` after so many milliseconds; where there is no number, the peer is turned away. */
  readonly delay: (millis: number | undefined, reason: Admission.Reason, next: () => void) => void
  /** The transport has the connection from now on: it is `giveUp` that ends it when its time is over. */
  readonly handOver: (giveUp: () => void) => void
  /** Gives up the place among the handshakes in progress. */
  readonly leave: () => void
  /** Ends the time limit: the peer's first frame has come, or the peer is refused. */
  readonly stopTimer: () => void
  /** Counts and logs why the listener doesn't want it. The socket stays open for whoever wants to tell the peer. */
  readonly reject: (reason: Admission.Reason) => void
  /** The same, and closes the socket. */
  readonly turnAway: (reason: Admission.Reason) => void
}

/** The arrivals of one listener. */
export interface Arrivals {
  /**
   * Takes a place, for which another connection makes way if there is none. `origin` is where the peer is, by default at the
   * other end of the socket.
   */
  readonly add: (socket: Net.Socket, origin?: Origin) => Arrival
  /** The arrival of an accepted socket, unless it has been turned away. */
  readonly find: (accepted: Net.Socket) => Arrival | undefined
  /** Closes the connections on which nothing has been received. */
  readonly closeSilent: () => void
  /** Counts no more bytes. */
  readonly stop: () => void
}

/** Where a peer is. */
export interface Origin {
  /** Undefined for a unix socket. */
  readonly host: string | undefined
  /** For logs and `Peer.address`; `unix` for a unix socket. */
  readonly address: string
}

export const originAt = (host: string | undefined, port: number | undefined): Origin =>
  host === undefined || port === undefined
    ? { host: undefined, address: "unix" }
    : { host, address: Peer.formatAddress({ host, port }) }

/** The other end of a socket. */
export const originOf = ({ remoteAddress, remotePort }: Net.Socket): Origin => originAt(remoteAddress, remotePort)

/** An arrival with what only this file knows of it. */
interface Entry extends Arrival {
  readonly state: () => State
}

/** The arrivals of a listener that has just begun. */
export const make = (limits: Limits, admission: Admission.Admission, boundary: Boundary.Boundary): Arrivals => {
  const limitMillis = Duration.toMillis(limits.handshakeTimeout)
  const bySocket = new WeakMap<Net.Socket, Entry>()
  const pending = new Set<Entry>()
  let counting: NodeJS.Timeout | undefined

  const countBytes = () => {
    if (pending.size === 0) {
      clearInterval(counting)
      counting = undefined
    }
    for (const { socket, source, turnAway } of [...pending]) {
      if (socket.bytesRead > limits.maxHandshakeBytes) {
        turnAway("TooMuch")
        admission.refused(source, Number.POSITIVE_INFINITY, "TooMuch")
      }
    }
  }

  const onTimeout = ({ address, source, state, turnAway }: Entry) => {
    const now = state()
    admission.refused(source, 0, "HandshakeTimeout")
    if (now._tag === "HandedOver") {
      admission.report("HandshakeTimeout", address)
      now.giveUp()
    } else {
      turnAway("HandshakeTimeout")
    }
  }

  const makeEntry = (socket: Net.Socket, { address, host }: Origin): Entry => {
    const source = Admission.sourceOf(host)
    const since = performance.now()
    let state: State = { _tag: "Silent" }

    const onTimer = (f: () => void) => () =>
      boundary.guard("timer", address, f, () => {
        socket.destroy()
      })
    const become = (next: State) => {
      if (state._tag === "Delayed") {
        clearTimeout(state.timer)
      }
      state = next
    }
    const leave = () => {
      if (state._tag === "Delayed") {
        become({ _tag: "Handshaking" })
      }
      place.leave()
      pending.delete(entry)
    }
    const reject = (reason: Admission.Reason) => {
      leave()
      become({ _tag: "TurnedAway" })
      admission.report(reason, address)
    }
    const turnAway = (reason: Admission.Reason) => {
      reject(reason)
      socket.destroy()
    }
    const place = admission.enter(source, turnAway)
    const entry: Entry = {
      socket,
      address,
      host,
      source,
      state: () => state,
      remainingMillis: () => limitMillis - (performance.now() - since),
      speak: () => {
        become({ _tag: "Handshaking" })
        place.speak()
      },
      delay: (millis, reason, next) => {
        if (millis === undefined) {
          turnAway(reason)
        } else if (millis === 0) {
          next()
        } else {
          become({ _tag: "Delayed", timer: setTimeout(onTimer(next), Timers.clamp(millis)) })
        }
      },
      handOver: (giveUp) => become({ _tag: "HandedOver", giveUp }),
      leave,
      stopTimer: Timers.after(
        limitMillis,
        onTimer(() => onTimeout(entry))
      ),
      reject,
      turnAway
    }
    return entry
  }

  return {
    add: (socket, origin = originOf(socket)) => {
      const entry = makeEntry(socket, origin)
      bySocket.set(socket, entry)
      pending.add(entry)
      socket.once("close", () => {
        entry.leave()
        entry.stopTimer()
      })
      if (Number.isFinite(limits.maxHandshakeBytes)) {
        counting ??= setInterval(
          () => boundary.guard("timer", "a listener", countBytes, constVoid),
          countPeriodMillis
        ).unref()
      }
      return entry
    },
    find: (accepted) => {
      const entry = bySocket.get(accepted)
      return entry?.state()._tag === "TurnedAway" ? undefined : entry
    },
    closeSilent: () => {
      for (const { socket, state } of [...pending]) {
        if (state()._tag === "Silent") {
          socket.destroy()
        }
      }
    },
    stop: () => clearInterval(counting)
  }
}
