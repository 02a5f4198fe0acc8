/** A TCP or unix socket listener that hands over connections once their peer is verified. */
import * as Net from "node:net"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Credentials from "../Credentials/Credentials.js"
import * as Authorization from "../Transport/internal/authorization.js"
import * as Bind from "../Transport/internal/bind.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as Count from "../Transport/internal/gauge.js"
import * as Timers from "../Transport/internal/timers.js"
import * as Peer from "../Transport/Peer.js"
import { type BindError, HandshakeFailed, type HandshakeReason } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions } from "../Transport/TransportService.js"
import * as Admission from "./Admission.js"
import * as UnixSocket from "./internal/unixSocket.js"
import * as Reverification from "./Reverification.js"
import * as TlsHandshake from "./TlsHandshake.js"

/** What a system takes for the path of a unix socket, in bytes (`sun_path`). libuv cuts longer ones short and binds that. */
const maxPathLength = process.platform === "linux" ? 107 : 103

/** The first byte of TLS: the type of the record that a client begins with (RFC 8446, section 5.1). */
const handshakeRecord = 22

/** A fatal alert, protocol_version, as its own record (RFC 8446, section 6). */
const protocolVersionAlert = Buffer.from([21, 3, 3, 0, 2, 2, 70])

/** How long a refused peer may take to read why. */
const refusalPeriod = Duration.seconds(1)

/** A silent peer is probed by TCP after so long; Linux gives it up after ten more probes, one a second. */
const tcpKeepAliveMillis = 30_000

/** What a listener allows those who connect. */
export interface Limits extends Admission.Limits {
  /** From accept to `onReady`. */
  readonly handshakeTimeout: Duration.Duration
  readonly maxHandshakeBytes: number
  /** Connections at a time, without those whose handshakes are not over. */
  readonly maxConnections: number
}

/** A connection that a transport speaks its protocol on. */
export interface Connected extends Reverification.Ending {
  /** Ends it because the peer's first frame has not come in time. */
  readonly giveUp: () => void
}

/** What a transport does with the connections of its listener. */
export interface Options {
  readonly boundary: Boundary.Boundary
  readonly credentials: Credentials.CredentialsService
  readonly alpnProtocols: ReadonlyArray<string>
  readonly limits: Limits
  readonly reverification: Reverification.Reverification
  /**
   * A connection whose peer is who it should be; anyone's where the material is insecure. Calls `onReady` when the peer's
   * first frame has come. Gives what ends the connection.
   */
  readonly onConnection: (socket: Net.Socket, peer: Peer.Peer, onReady: () => void) => Connected
  /** What tells a refused peer why, in the transport's own protocol. The socket is closed behind it. */
  readonly farewell: (reason: HandshakeReason) => Uint8Array
  /** What turns away a peer that comes when the listener closes already. It may come again. */
  readonly goingAway: Uint8Array
  /**
   * Ends the calls when the scope closes. Connections are accepted no more, and destroyed afterwards; `closed` completes
   * when all have ended before that.
   */
  readonly drain: (closed: Effect.Effect<void>) => Effect.Effect<void>
}

/** How often the bytes are counted of those whose handshakes go on, in milliseconds. */
const countingPeriod = 100

/** A connection from accept to the peer's first frame. */
interface Arrival {
  readonly socket: Net.Socket
  readonly address: string
  readonly source: string
  readonly place: Admission.Place
  /** How much longer it may take, in milliseconds. */
  readonly left: () => number
  readonly stopTimer: () => void
  isSilent: boolean
  /** While it waits until its handshake may begin. */
  waiting: NodeJS.Timeout | undefined
  connected: Connected | undefined
}

/** Says a last word to a peer, and waits a little for it to hang up. Unread bytes would turn the end into a reset. */
const bid = (socket: Net.Socket, farewell: Uint8Array): void => {
  socket.resume()
  socket.end(farewell)
  const timer = setTimeout(() => socket.destroy(), Duration.toMillis(refusalPeriod))
  socket.once("close", () => clearTimeout(timer))
}

const addressOf = ({ remoteAddress, remotePort }: Net.Socket): string =>
  remoteAddress === undefined || remotePort === undefined
    ? "unix"
    : Peer.formatAddress({ host: remoteAddress, port: remotePort })

/** Listens until the scope closes, and does all that comes before a transport's own protocol. */
export const listen = (options: Options, where: ListenOptions): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const material = yield* options.credentials.current
    if (material._tag === "Tls" && Option.isNone(material.certificate)) {
      return yield* Bind.error(
        where,
        "CredentialsRefused",
        "a listener needs a certificate, and its credentials hold none"
      )
    }
    const { boundary } = options
    const authorize = Authorization.authorizer(boundary, where.authorize)
    const sockets = new Set<Net.Socket>()
    const { limits } = options
    const admission = Admission.make(limits, boundary)
    const arrivals = new WeakMap<Net.Socket, Arrival>()
    /** Those whose peers have not proved who they are. */
    const strangers = new Set<Arrival>()
    /** Those that have been turned away, and said to be. */
    const turnedAway = new WeakSet<Net.Socket>()
    let connections = 0
    let unixPeers = 0
    let closing = false
    let counting: NodeJS.Timeout | undefined

    /** Nothing more is expected of the handshake. */
    const settle = (arrival: Arrival) => {
      clearTimeout(arrival.waiting)
      arrival.place.leave()
      strangers.delete(arrival)
    }

    const turnAway = (reason: Admission.Reason, { address, socket }: Pick<Arrival, "address" | "socket">) => {
      turnedAway.add(socket)
      admission.report(reason, address)
      socket.destroy()
    }

    const onLate = (arrival: Arrival) => {
      if (arrival.connected === undefined) {
        settle(arrival)
        return turnAway("HandshakeTimeout", arrival)
      }
      admission.report("HandshakeTimeout", arrival.address)
      arrival.connected.giveUp()
    }

    const isFull = () => connections >= limits.maxConnections

    const countConnection = ({ socket }: Arrival) => {
      connections += 1
      socket.once("close", () => {
        connections -= 1
      })
    }

    /** Hands a connection to the transport. `isProven`: the peer has proved who it is. */
    const open = (
      arrival: Arrival,
      socket: Net.Socket,
      isProven: boolean,
      identity: Peer.Peer["identity"],
      evidence: Option.Option<TlsHandshake.Evidence> = Option.none()
    ) => {
      if (isProven) {
        settle(arrival)
        admission.succeeded(arrival.source)
      }
      if (closing || isFull()) {
        settle(arrival)
        arrival.stopTimer()
        if (!closing) {
          turnedAway.add(arrival.socket)
          admission.report("TooManyConnections", arrival.address)
        }
        return bid(socket, options.goingAway)
      }
      if (isProven) {
        countConnection(arrival)
      }
      const onReady = () => {
        arrival.stopTimer()
        if (isProven) {
          return
        }
        settle(arrival)
        if (isFull()) {
          return turnAway("TooManyConnections", arrival)
        }
        countConnection(arrival)
      }
      // The peers of a unix socket have no address: a number tells them apart.
      const address = arrival.source === Admission.exempt ? `unix:${++unixPeers}` : arrival.address
      const connected = options.onConnection(socket, { address, identity }, onReady)
      arrival.connected = connected
      if (Option.isSome(evidence) && !socket.destroyed) {
        const client = Reverification.client(evidence.value, address, authorize, connected)
        socket.once("close", options.reverification.add(client))
      }
    }

    const onRefused = (arrival: Arrival, { address, error, socket }: TlsHandshake.Refusal) => {
      settle(arrival)
      arrival.stopTimer()
      Metric.tagged(TransportMetrics.handshakesRefused, "reason", error.reason).unsafeUpdate(1, [])
      boundary.log(
        LogLevel.Warning,
        `refused ${error.reason}`,
        `refused ${address}: ${Boundary.escapeText(error.message, 250)}`,
        { reason: error.reason }
      )
      if (error.refusedBy === "local") {
        admission.refused(arrival.source, arrival.socket.bytesRead)
      }
      if (socket !== undefined) {
        bid(socket, options.farewell(error.reason))
      }
    }

    /** What to do with what comes of a handshake, unless it was turned away before. */
    const ifWanted = (accepted: Net.Socket, f: (arrival: Arrival) => void) => {
      const arrival = arrivals.get(accepted)
      if (arrival === undefined || turnedAway.has(accepted)) {
        return accepted.destroy()
      }
      f(arrival)
    }

    const acceptor =
      material._tag === "Insecure"
        ? undefined
        : TlsHandshake.makeAcceptor({
            material,
            alpnProtocols: options.alpnProtocols,
            handshakeTimeoutMillis: Duration.toMillis(limits.handshakeTimeout),
            clientCertificate: "require",
            authorize,
            boundary,
            onSecure: ({ evidence, identity, socket }, accepted) =>
              ifWanted(accepted, (arrival) => open(arrival, socket, true, identity, evidence)),
            onRefused: (refusal, accepted) => ifWanted(accepted, (arrival) => onRefused(arrival, refusal))
          })

    if (acceptor !== undefined) {
      yield* TlsHandshake.follow(acceptor, options.credentials.changes)
    }

    /** Nobody proves an identity without TLS. */
    const openInsecure = (arrival: Arrival) => {
      const { address, socket } = arrival
      if (authorize === undefined || authorize(Option.none())) {
        return open(arrival, socket, false, Option.none())
      }
      const message = `${address} may not connect`
      const error = new HandshakeFailed({ message, reason: "NotAuthorized", refusedBy: "local", peer: address })
      onRefused(arrival, { error, address, socket })
    }

    /** Goes on when the rate of handshakes lets it. */
    const wait = (arrival: Arrival, delay: number | undefined, reason: Admission.Reason, then: () => void) => {
      if (delay === undefined) {
        settle(arrival)
        turnAway(reason, arrival)
      } else if (delay === 0) {
        then()
      } else {
        const onTimer = () =>
          boundary.guard("timer", arrival.address, then, () => {
            arrival.socket.destroy()
          })
        arrival.waiting = setTimeout(onTimer, Timers.clamp(delay))
      }
    }

    const countBytes = () => {
      if (strangers.size === 0) {
        clearInterval(counting)
        counting = undefined
      }
      for (const arrival of strangers) {
        if (arrival.socket.bytesRead > limits.maxHandshakeBytes) {
          settle(arrival)
          turnAway("TooMuch", arrival)
          admission.refused(arrival.source, Number.POSITIVE_INFINITY)
        }
      }
    }

    /**
     * OpenSSL hangs up on what is no TLS without an alert, and a client without TLS would take that for a peer that goes
     * away. So the first byte is looked at before.
     */
    const shake = (arrival: Arrival, accept: (socket: Net.Socket) => void) => {
      const { address, place, socket, source } = arrival
      const onReadable = () => boundary.guard("socket", address, readFirst, () => socket.destroy())
      const readFirst = () => {
        const bytes: unknown = socket.read()
        if (!Buffer.isBuffer(bytes)) {
          return
        }
        socket.off("readable", onReadable)
        if (bytes[0] === handshakeRecord) {
          arrival.isSilent = false
          place.speak()
          socket.unshift(bytes)
          return wait(arrival, admission.delay(source, arrival.left()), "HandshakeRate", () =>
            wait(arrival, admission.totalDelay(arrival.left()), "TotalHandshakeRate", () => accept(socket))
          )
        }
        const message = `${address} does not speak TLS`
        const error = new HandshakeFailed({ message, reason: "NoCommonProtocol", refusedBy: "local", peer: address })
        onRefused(arrival, { error, address, socket: undefined })
        bid(socket, protocolVersionAlert)
      }
      counting ??= setInterval(
        () => boundary.guard("timer", "a listener", countBytes, constVoid),
        countingPeriod
      ).unref()
      socket.on("readable", onReadable)
    }

    const arrive = (socket: Net.Socket): Arrival => {
      const since = performance.now()
      const limit = Duration.toMillis(limits.handshakeTimeout)
      const address = addressOf(socket)
      const source = Admission.sourceOf(socket.remoteAddress)
      const arrival: Arrival = {
        socket,
        address,
        source,
        place: admission.enter(source, (reason) => {
          settle(arrival)
          turnAway(reason, arrival)
        }),
        left: () => limit - (performance.now() - since),
        stopTimer: Timers.after(limit, () =>
          boundary.guard(
            "timer",
            address,
            () => onLate(arrival),
            () => socket.destroy()
          )
        ),
        isSilent: true,
        waiting: undefined,
        connected: undefined
      }
      socket.once("close", () => {
        settle(arrival)
        arrival.stopTimer()
      })
      arrivals.set(socket, arrival)
      strangers.add(arrival)
      return arrival
    }

    const accept = (socket: Net.Socket) => {
      sockets.add(socket)
      Count.add(TransportMetrics.connectionsAccepted, 1)
      socket.once("close", () => {
        sockets.delete(socket)
        Count.add(TransportMetrics.connectionsAccepted, -1)
      })
      socket.on("error", constVoid)
      if (admission.isBoxed(Admission.sourceOf(socket.remoteAddress))) {
        return turnAway("PenaltyBox", { address: addressOf(socket), socket })
      }
      if (isFull()) {
        return turnAway("TooManyConnections", { address: addressOf(socket), socket })
      }
      const arrival = arrive(socket)
      if (acceptor === undefined) {
        openInsecure(arrival)
      } else {
        shake(arrival, acceptor.accept)
      }
    }

    const server = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const server = Net.createServer(
          { noDelay: true, keepAlive: true, keepAliveInitialDelay: tcpKeepAliveMillis },
          (socket) =>
            boundary.guard(
              "socket",
              addressOf(socket),
              () => accept(socket),
              () => socket.destroy()
            )
        )
        return server
      }),
      (server) =>
        Effect.gen(function* () {
          const closed = yield* Deferred.make<void>()
          server.close(() => Deferred.unsafeDone(closed, Effect.void))
          closing = true
          for (const { isSilent, socket } of strangers) {
            if (isSilent && acceptor !== undefined) {
              socket.destroy()
            }
          }
          yield* options.drain(Deferred.await(closed))
          clearInterval(counting)
          for (const socket of sockets) {
            socket.destroy()
          }
        })
    )
    // Without a descriptor left, where libuv can't even hang up, Node tells of EMFILE here.
    return yield* bind(server, where, (error) => boundary.caught("socket", "who connects", error))
  })

/** Binds; where a crashed process has left its unix socket, a second time. */
const bind = (
  server: Net.Server,
  where: ListenOptions,
  onError: (error: Error) => void
): Effect.Effect<Peer.Address, BindError> =>
  Effect.catchIf(
    bindOnce(server, where, onError),
    ({ reason }) => reason === "AddressInUse" && where.path !== undefined,
    (error) =>
      Effect.flatMap(UnixSocket.removeStale(where.path ?? ""), (removed) =>
        removed
          ? Effect.zipRight(
              Effect.logWarning(`removed unix:${where.path}, on which nobody listened any more`),
              bindOnce(server, where, onError)
            )
          : Effect.fail(error)
      )
  )

const bindOnce = (
  server: Net.Server,
  where: ListenOptions,
  onError: (error: Error) => void
): Effect.Effect<Peer.Address, BindError> =>
  Effect.async((resume) => {
    const wanted = Bind.address(where)
    const { path } = wanted
    const fail = (cause: NodeJS.ErrnoException) => resume(Effect.fail(Bind.fromSystem(where, cause)))
    if (path !== undefined && Buffer.byteLength(path) > maxPathLength) {
      return fail(Object.assign(new Error(`longer than ${maxPathLength} bytes`), { code: "ENAMETOOLONG" }))
    }
    server.once("error", fail)
    const onListening = () => {
      server.off("error", fail).on("error", onError)
      const bound = server.address()
      resume(Effect.succeed(typeof bound === "object" && bound !== null ? { ...wanted, port: bound.port } : wanted))
    }
    if (path === undefined) {
      server.listen(wanted, onListening)
    } else {
      UnixSocket.withMode(path, where.mode ?? 0o600, () => server.listen({ path }, onListening))
    }
    return Effect.sync(() => server.close())
  })
