/** One connection on quiche's state machine: packets in and out, one timer, and streams that wait for room. */
import type { Close, Connection, ConnectionSettings, Events, HostPort, Read, StreamEvents } from "../QuicEngine.js"
import * as Coalesced from "./coalesced.js"
import type { Paths, Quiche, State } from "./quiche.js"
import * as StreamError from "./streamError.js"
import * as StreamMap from "./streamMap.js"

/** What the endpoint needs of a connection. */
export interface Driven {
  readonly connection: Connection
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
  /** The last packet has been sent; nothing more is wanted from the peer. */
  readonly onGone: () => void
}

interface Stream {
  readonly id: number
  readonly events: StreamEvents
  /** What was written and quiche has no room for, and whether the end comes behind it. */
  readonly pending: Array<Buffer>
  pendingSize: number
  fin: boolean
  isReleased: boolean
}

/** Packets are written behind each other into a slab, which is not used again: the system may still read them. */
const slabSize = 256 * 1024
let slab = Buffer.allocUnsafeSlow(slabSize)
let slabAt = 0

/** What is read from a stream, one read at a time. */
const readBuffer = Buffer.allocUnsafeSlow(128 * 1024)

/** Packets that one connection sends before others and the event loop have their turn. */
const maxBurst = 256

/** A stream with no more waiting than this goes before those with more. */
const small = 16 * 1024
/** Those take turns with portions of this size. */
const portion = 64 * 1024

const none = Buffer.alloc(0)

/** Tells the first time that it is asked for a stream from any other. Streams can come out of order. */
const makeSeen = () => {
  let next = 0
  const gaps = new Set<number>()
  return (id: number): boolean => {
    if (id < next) {
      return gaps.delete(id)
    }
    for (let gap = next === 0 ? id & 3 : next; gap < id; gap += 4) {
      gaps.add(gap)
    }
    next = id + 4
    return true
  }
}

/** How long the end of a connection may wait until it can be sent, in milliseconds. */
const lingerPeriod = 1000

/** RFC 9000, section 20.1. */
const connectionRefused = 0x2

export const make = (options: Options): Driven => {
  const { paths, quiche, role, settings, state } = options
  const { Shutdown } = quiche
  const recvInfo = { from: paths.remote, to: paths.local }
  const streams = StreamMap.make<Stream>()
  /** Streams with something pending, in the order of their turns. */
  const blocked = new Set<number>()
  const watched = new Set<number>()
  const isNew = { bidi: makeSeen(), uni: makeSeen() }
  let nextBidi = role === "client" ? 0 : 1
  let nextUni = role === "client" ? 2 : 3
  /** Streams that may be opened, of those that the peer was known to allow; and whether more are waited for. */
  let bidiLeft = 0
  let wantsStream = false
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

  const schedule = () => {
    if (!isScheduled) {
      isScheduled = true
      setImmediate(process)
    }
  }

  const finish = (close: Close) => {
    if (closed === undefined) {
      closed = close
      closedSince = performance.now()
      streams.clear()
      blocked.clear()
      watched.clear()
      events.onClosed(close)
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
      timer = due === Number.POSITIVE_INFINITY ? undefined : setTimeout(onTimer, Math.max(0, Math.ceil(due - now)))
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

  /** Hands on what a stream has pending, as far as there is room; gives whether something is left. */
  const push = (stream: Stream, most: number): boolean => {
    const { id, pending } = stream
    try {
      for (let left = most; ; ) {
        const [bytes = none] = pending
        const chunk = bytes.length > left ? bytes.subarray(0, left) : bytes
        const isLast = stream.fin && pending.length <= 1 && chunk.length === bytes.length
        if (chunk.length === 0 && !isLast) {
          return pending.length > 0
        }
        const taken = state.streamSend(id, chunk, isLast)
        if (taken === null) {
          return true
        }
        left -= taken
        stream.pendingSize -= taken
        if (taken < bytes.length) {
          pending[0] = bytes.subarray(taken)
          if (taken < chunk.length || left === 0) {
            return true
          }
        } else {
          pending.shift()
          if (isLast) {
            stream.fin = false
            return false
          }
        }
      }
    } catch (error) {
      pending.length = 0
      stream.pendingSize = 0
      stream.fin = false
      onBroken(stream, error)
      return false
    }
  }

  const onBroken = (stream: Stream, error: unknown) => {
    const parsed = StreamError.parse(error)
    watched.delete(stream.id)
    if (parsed._tag === "Stopped" && !stream.isReleased) {
      stream.events.onStopped(parsed.code)
    }
  }

  const settle = (stream: Stream) => {
    blocked.delete(stream.id)
    if (stream.isReleased) {
      forget(stream.id)
    } else {
      stream.events.onDrain()
    }
  }

  const pushBlocked = () => {
    if (blocked.size === 0) {
      return
    }
    for (const id of [...blocked]) {
      const stream = streams.get(id)
      if (stream !== undefined && stream.pendingSize <= small && !push(stream, small)) {
        settle(stream)
      }
    }
    for (const id of [...blocked]) {
      const stream = streams.get(id)
      if (closed !== undefined) {
        return
      }
      if (stream === undefined || !blocked.has(id)) {
        continue
      }
      const before = stream.pendingSize
      if (!push(stream, portion)) {
        settle(stream)
      } else if (stream.pendingSize < before) {
        // It has had its turn.
        blocked.delete(id)
        blocked.add(id)
      }
    }
  }

  const forget = (id: number) => {
    streams.remove(id)
    watched.delete(id)
  }

  const lookForStopped = () => {
    for (const id of watched) {
      const stream = streams.get(id)
      if (stream !== undefined && !blocked.has(id)) {
        try {
          state.streamCapacity(id)
        } catch (error) {
          onBroken(stream, error)
        }
      }
    }
  }

  const isPeers = (id: number) => (id & 1) === (role === "client" ? 1 : 0)

  const readStreams = () => {
    for (const id of state.readable()) {
      let stream = streams.get(id)
      if (stream === undefined) {
        if (!isPeers(id) || !((id & 2) === 0 ? isNew.bidi : isNew.uni)(id)) {
          continue
        }
        stream = register(id, events.onStream(id))
      }
      if (!stream.isReleased) {
        stream.events.onReadable()
      }
      if (closed !== undefined) {
        return
      }
    }
  }

  const register = (id: number, events: StreamEvents): Stream => {
    const stream: Stream = { id, events, pending: [], pendingSize: 0, fin: false, isReleased: false }
    streams.add(id, stream)
    return stream
  }

  const readDatagrams = () => {
    while (closed === undefined) {
      const datagram = state.dgramRecvVec()
      if (datagram === null) {
        return
      }
      events.onDatagram(Buffer.from(datagram.buffer, datagram.byteOffset, datagram.byteLength))
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
      readStreams()
      readDatagrams()
    }
    if (closed === undefined && watched.size > 0) {
      lookForStopped()
    }
    if (closed === undefined && wantsStream && state.peerStreamsLeftBidi() > 0) {
      wantsStream = false
      events.onStreamsAvailable()
    }
    if (closed === undefined) {
      pushBlocked()
    }
    // The fibers that this has woken run first, so that what they write goes with it.
    queueMicrotask(flush)
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

  const receive = (packet: Buffer) => {
    if (isGone) {
      return
    }
    const now = performance.now()
    packets += 1
    if (now - rateSince >= 1000) {
      rateSince = now
      packets = 1
    } else if (packets > settings.maxPacketRate) {
      return close(false, connectionRefused, "too many packets")
    }
    lastReceived = now
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

  const isFlushed = () =>
    closed !== undefined ||
    // What was just written leaves at the end of the turn; where something is not acknowledged, a timer runs that is
    // shorter than what is left to the idle timeout.
    (!isScheduled &&
      blocked.size === 0 &&
      (state.timeout() ?? Number.POSITIVE_INFINITY) > Math.min(settings.keepaliveTimeout + 500, keepaliveTime))

  const open = (id: number, events: StreamEvents): number => {
    if (closed === undefined) {
      register(id, events)
    }
    return id
  }

  const shutdown = (id: number, direction: (typeof Shutdown)[keyof typeof Shutdown], code: number) => {
    try {
      state.streamShutdown(id, direction, code)
    } catch {
      // It has ended already.
    }
    schedule()
  }

  const read = (id: number): Read | undefined => {
    if (closed !== undefined) {
      return undefined
    }
    try {
      const got = state.streamRecv(id, readBuffer)
      if (got === null) {
        return undefined
      }
      schedule()
      return { _tag: "Bytes", bytes: readBuffer.subarray(0, got[0]), fin: got[1] }
    } catch (error) {
      const parsed = StreamError.parse(error)
      return parsed._tag === "Reset" ? parsed : undefined
    }
  }

  const connection: Connection = {
    remote: paths.remote,
    isEstablished: () => isEstablished,
    accept: () => {
      isAccepted = true
      schedule()
    },
    peerCertificates: () =>
      (state.peerCertChain() ?? []).map((der) => Buffer.from(der.buffer, der.byteOffset, der.byteLength)),
    mayOpenBidi: () => {
      if (closed !== undefined) {
        return false
      }
      bidiLeft ||= state.peerStreamsLeftBidi()
      wantsStream = bidiLeft === 0
      return !wantsStream
    },
    openBidi: (events) => {
      const id = nextBidi
      nextBidi += 4
      bidiLeft = Math.max(0, bidiLeft - 1)
      return open(id, events)
    },
    openUni: (events) => {
      const id = nextUni
      nextUni += 4
      return open(id, events)
    },
    write: (id, bytes, fin) => {
      const stream = streams.get(id)
      if (stream === undefined || closed !== undefined) {
        return true
      }
      schedule()
      if (bytes.length > 0) {
        stream.pending.push(bytes)
        stream.pendingSize += bytes.length
      }
      stream.fin ||= fin
      if (blocked.has(id)) {
        return false
      }
      if (push(stream, portion)) {
        blocked.add(id)
        return false
      }
      return true
    },
    read,
    reset: (id, code) => {
      const stream = streams.get(id)
      if (stream !== undefined && closed === undefined) {
        // A reset takes back what has not left yet.
        send()
        stream.pending.length = 0
        stream.pendingSize = 0
        stream.fin = false
        blocked.delete(id)
        shutdown(id, Shutdown.Write, code)
      }
    },
    stop: (id, code) => {
      if (closed === undefined && streams.get(id) !== undefined) {
        shutdown(id, Shutdown.Read, code)
      }
    },
    watch: (id, isWatched) => {
      if (isWatched && streams.get(id) !== undefined) {
        watched.add(id)
      } else {
        watched.delete(id)
      }
    },
    release: (id) => {
      const stream = streams.get(id)
      if (stream !== undefined && !stream.isReleased) {
        stream.isReleased = true
        watched.delete(id)
        if (!blocked.has(id)) {
          forget(id)
        }
      }
    },
    sendDatagram: (datagram) => {
      if (closed !== undefined) {
        return false
      }
      schedule()
      try {
        return !state.isDgramSendQueueFull() && state.dgramSend(datagram) !== null
      } catch {
        return false
      }
    },
    maxDatagramSize: () => (closed === undefined ? (state.dgramMaxWritableLen() ?? undefined) : undefined),
    isFlushed,
    close
  }

  const events = options.events(connection)

  return {
    connection,
    receive,
    start: process,
    lose
  }
}
