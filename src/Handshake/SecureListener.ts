/** A TCP or unix socket listener that hands over connections once their peer is verified. */
import * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Credentials from "../Credentials/Credentials.js"
import type { Tls } from "../Credentials/internal/material.js"
import * as Deferred from "../effect/Deferred.js"
import type { Authorizer } from "../Transport/Authorizer.js"
import * as Gate from "../Transport/internal/admissionGate.js"
import * as Authorization from "../Transport/internal/authorization.js"
import * as Bind from "../Transport/internal/bind.js"
import * as Boundary from "../Transport/internal/boundary.js"
import { lingeringClose } from "../Transport/internal/lingeringClose.js"
import type * as Peer from "../Transport/Peer.js"
import { type BindError, HandshakeFailed, type HandshakeReason } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions } from "../Transport/TransportService.js"
import * as Admission from "./HandshakeAdmission.js"
import * as Accepting from "./internal/accepting.js"
import * as Arrivals from "./internal/arrivals.js"
import { bindServer } from "./internal/bindServer.js"
import * as FirstByte from "./internal/firstByte.js"
import * as ProxyHeaders from "./internal/proxyHeaders.js"
import * as ReadyConnections from "./internal/readyConnections.js"
import type { Evidence } from "./internal/secureSocket.js"
import * as Reverification from "./Reverification.js"
import * as TlsAcceptor from "./TlsAcceptor.js"

/** A silent peer is probed by TCP after so long; Linux gives it up after ten more probes, one a second. */
const tcpKeepAliveMillis = 30_000

/** What a listener allows its peers. */
export interface Limits extends Admission.Limits {
  /** From accept to `onReady`. */
  readonly handshakeTimeout: Duration.Duration
  readonly maxHandshakeBytes: number
  /** Connections at a time whose peers have proved who they are. */
  readonly maxConnections: number
}

/** A connection that a transport speaks its protocol on. */
export interface Connected extends Reverification.Ending {
  /** Closes it because the peer's first frame has not come in time. */
  readonly giveUp: () => void
  /** Closes it because its identity has cost too much, in words for the peer. */
  readonly turnAway: (why: string) => void
}

/** What a transport does with the connections of its listener. */
export interface Options {
  readonly boundary: Boundary.Boundary
  readonly credentials: Credentials.CredentialsService
  readonly alpnProtocols: ReadonlyArray<string>
  readonly limits: Limits
  readonly reverification: Reverification.Reverification
  /**
   * A connection whose peer has been verified; anyone's where the material is insecure. Calls `onReady` when the peer's
   * first frame has come. Returns what ends the connection. Its calls ask `visit`.
   */
  readonly onConnection: (
    socket: Net.Socket,
    peer: Peer.Peer,
    onReady: () => void,
    visit: Gate.Visit | undefined
  ) => Connected
  /** Tells a refused peer why, in the transport's own protocol; the socket is closed after it. */
  readonly refusal: (reason: HandshakeReason) => Uint8Array
  /** Tells a peer that this listener takes no more connections, and that it may try again. */
  readonly goingAway: Uint8Array
  /** The same of the connections of its identity, with why. */
  readonly turnedAway: (why: string) => Uint8Array
  /**
   * Ends the calls when the scope closes. No connection is accepted from then on, and those still open afterwards are
   * destroyed; `closed` completes if all have ended before that.
   */
  readonly drain: (closed: Effect.Effect<void>) => Effect.Effect<void>
}

/** What the parts of a listener share. */
interface Context {
  readonly options: Options
  readonly authorize: Authorizer | undefined
  readonly admission: Admission.Admission
  readonly arrivals: Arrivals.Arrivals
  readonly ready: ReadyConnections.ReadyConnections
  readonly headers: ProxyHeaders.ProxyHeaders
  /** The admission of the listener. */
  readonly gate: Gate.Gate | undefined
}

/** A peer that may talk: verified, or anyone without TLS. */
interface Admitted {
  readonly socket: Net.Socket
  readonly identity: Peer.Peer["identity"]
  readonly evidence: Option.Option<Evidence>
}

/** Hands connections over to the transport. */
const makeHandOver = ({ admission, authorize, gate, options, ready }: Context) => {
  let unixPeers = 0

  /** `reason` is why there is no room; undefined where the listener closes. */
  const turnAwayPolitely = (arrival: Arrivals.Arrival, socket: Net.Socket, reason: Admission.Reason | undefined) => {
    arrival.leave()
    arrival.stopTimer()
    if (reason !== undefined) {
      arrival.reject(reason)
    }
    lingeringClose(socket, options.goingAway)
  }

  /** Counts a connection among those of its source. */
  const join = ({ address, host, socket }: Arrivals.Arrival, connected: () => Connected | undefined): boolean => {
    const end = () => connected()?.close(refusedHere(address, "NotAuthorized", `${address} may not connect any more`))
    const leave = admission.join(host, end)
    if (leave !== undefined) {
      socket.once("close", leave)
    }
    return leave !== undefined
  }

  /** Undefined where the admission does not let it in. */
  const hand = (
    arrival: Arrivals.Arrival,
    { evidence, identity, socket }: Admitted,
    onReady: () => void
  ): Connected | undefined => {
    // The peers of a unix socket have no address: a number tells them apart.
    const address = arrival.source === Admission.exempt ? `unix:${++unixPeers}` : arrival.address
    const peer = { address, identity }
    let connected: Connected | undefined
    const visit = gate?.visit(peer, (reason) =>
      reason === "NotAuthorized"
        ? connected?.close(refusedHere(address, reason, `${address} may not connect any more`))
        : connected?.turnAway(Gate.turnedText(reason))
    )
    if (typeof visit === "string") {
      arrival.leave()
      arrival.stopTimer()
      lingeringClose(
        socket,
        visit === "NotAuthorized" ? options.refusal(visit) : options.turnedAway(Gate.turnedText(visit))
      )
      return undefined
    }
    if (visit !== undefined) {
      socket.once("close", visit.leave)
    }
    connected = options.onConnection(socket, peer, onReady, visit)
    arrival.handOver(connected.giveUp)
    if (Option.isSome(evidence) && !socket.destroyed) {
      const client = Reverification.client(evidence.value, address, authorize, connected)
      socket.once("close", options.reverification.add(client))
    }
    return connected
  }

  return {
    /** The peer has proved who it is: its connection counts from here on. */
    verified: (arrival: Arrivals.Arrival, admitted: Admitted) => {
      arrival.leave()
      admission.succeeded(arrival.source)
      if (ready.isClosing() || ready.isFull()) {
        return turnAwayPolitely(arrival, admitted.socket, ready.isClosing() ? undefined : "TooManyConnections")
      }
      let connected: Connected | undefined
      if (!join(arrival, () => connected)) {
        return turnAwayPolitely(arrival, admitted.socket, "TooManyOfSource")
      }
      ready.add(arrival.socket)
      connected = hand(arrival, admitted, arrival.stopTimer)
    },
    /** Nobody proves anything without TLS: the connection counts when the peer's first frame has come. */
    insecure: (arrival: Arrivals.Arrival) => {
      const { socket } = arrival
      if (ready.isClosing() || ready.isFull()) {
        return turnAwayPolitely(arrival, socket, ready.isClosing() ? undefined : "TooManyConnections")
      }
      let connected: Connected | undefined
      connected = hand(arrival, { socket, identity: Option.none(), evidence: Option.none() }, () => {
        arrival.stopTimer()
        arrival.leave()
        if (ready.isFull()) {
          return arrival.turnAway("TooManyConnections")
        }
        if (!join(arrival, () => connected)) {
          return arrival.turnAway("TooManyOfSource")
        }
        ready.add(socket)
      })
    }
  }
}

/** Counts and logs a refusal, and tells the peer where there is still a socket to tell it on. */
const refuse = (
  { admission, options }: Context,
  arrival: Arrivals.Arrival,
  { address, error, socket }: TlsAcceptor.Refusal
) => {
  arrival.leave()
  arrival.stopTimer()
  Metric.tagged(TransportMetrics.handshakesRefused, "reason", error.reason).unsafeUpdate(1, [])
  options.boundary.log(
    LogLevel.Warning,
    `refused ${error.reason}`,
    `refused ${address}: ${Boundary.escapeText(error.message, 250)}`,
    { reason: error.reason }
  )
  if (error.refusedBy === "local") {
    admission.refused(arrival.source, arrival.socket.bytesRead, error.reason)
  }
  if (socket !== undefined) {
    lingeringClose(socket, options.refusal(error.reason))
  }
}

const refusedHere = (address: string, reason: HandshakeReason, message: string): HandshakeFailed =>
  new HandshakeFailed({ message, reason, refusedBy: "local", peer: address })

type Begin = (arrival: Arrivals.Arrival) => void

/** Without TLS: only the authorizer can object. */
const insecurely = (context: Context): Begin => {
  const { authorize } = context
  const handOver = makeHandOver(context)
  return (arrival) => {
    const { address, socket } = arrival
    if (authorize === undefined || authorize(Option.none())) {
      return handOver.insecure(arrival)
    }
    refuse(context, arrival, {
      error: refusedHere(address, "NotAuthorized", `${address} may not connect`),
      address,
      socket
    })
  }
}

/** With TLS: a handshake follows the peer's first byte as soon as the rates allow it. */
const securely = (context: Context, material: Tls): Effect.Effect<Begin, never, Scope.Scope> => {
  const { admission, arrivals, authorize, options } = context
  const handOver = makeHandOver(context)

  /** The outcome of a handshake whose connection was turned away meanwhile is of no interest. */
  const ifWanted = (accepted: Net.Socket, f: (arrival: Arrivals.Arrival) => void) => {
    const arrival = arrivals.find(accepted)
    if (arrival === undefined) {
      return accepted.destroy()
    }
    f(arrival)
  }

  const acceptor = TlsAcceptor.make({
    material,
    alpnProtocols: options.alpnProtocols,
    handshakeTimeoutMillis: Duration.toMillis(options.limits.handshakeTimeout),
    clientCertificate: "require",
    authorize,
    boundary: options.boundary,
    onSecure: (secured, accepted) => ifWanted(accepted, (arrival) => handOver.verified(arrival, secured)),
    onRefused: (refusal, accepted) => ifWanted(accepted, (arrival) => refuse(context, arrival, refusal))
  })

  const begin = (arrival: Arrivals.Arrival, isTls: boolean) => {
    const { address, delay, remainingMillis, socket, source, speak } = arrival
    if (isTls) {
      speak()
      return delay(admission.delay(source, remainingMillis()), "HandshakeRate", () =>
        delay(admission.totalDelay(remainingMillis()), "TotalHandshakeRate", () => {
          const refusal = admission.handshakeRefusal()
          return refusal === undefined ? acceptor.accept(socket, address) : arrival.turnAway(refusal)
        })
      )
    }
    const error = refusedHere(address, "NoCommonProtocol", `${address} does not speak TLS`)
    refuse(context, arrival, { error, address, socket: undefined })
    lingeringClose(socket, FirstByte.protocolVersionAlert)
  }

  return Effect.as(TlsAcceptor.follow(acceptor, options.credentials.changes), (arrival) => {
    const { address, socket } = arrival
    FirstByte.readFirst(
      socket,
      (f) => options.boundary.guard("socket", address, f, () => socket.destroy()),
      (isTls) => begin(arrival, isTls)
    )
  })
}

/**
 * Lets the calls in flight end, then destroys the connections that are left. Those that have sent nothing end at once.
 */
const shutDown = (
  { arrivals, headers, options, ready }: Context,
  server: Net.Server,
  sockets: ReadonlySet<Net.Socket>
) =>
  Effect.gen(function* () {
    const closed = yield* Deferred.make<void>()
    server.close(() => Deferred.doneUnsafe(closed, Effect.void))
    ready.close()
    headers.stop()
    arrivals.closeSilent()
    yield* options.drain(Deferred.await(closed))
    arrivals.stop()
    for (const socket of [...sockets]) {
      socket.destroy()
    }
  })

/**
 * Listens until the scope closes, and does all that comes before a transport's own protocol. Fails with `BindError` if
 * the address can't be had, if the credentials have TLS and no certificate (`CredentialsRefused`), or if what the admission says
 * of sources can't be used (`AdmissionRefused`).
 */
export const listen = (options: Options, where: ListenOptions): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const { boundary, limits } = options
    const material = yield* options.credentials.current
    const isTls = material._tag === "Tls"
    if (isTls && Option.isNone(material.certificate)) {
      return yield* Bind.error(
        where,
        "CredentialsRefused",
        "a listener needs a certificate, and its credentials hold none"
      )
    }
    const admission = yield* Admission.listening(limits, boundary, where, { readsProxyHeaders: true })
    const context: Context = {
      options,
      authorize: Authorization.authorizer(boundary, where.authorize),
      admission,
      arrivals: Arrivals.make(
        {
          handshakeTimeout: limits.handshakeTimeout,
          maxHandshakeBytes: isTls ? limits.maxHandshakeBytes : Number.POSITIVE_INFINITY
        },
        admission,
        boundary
      ),
      ready: ReadyConnections.make(limits.maxConnections),
      headers: ProxyHeaders.make(limits.maxHandshakes, boundary),
      gate: where.admission?.gate
    }
    const sockets = new Set<Net.Socket>()
    const begin = isTls ? yield* securely(context, material) : insecurely(context)
    const denial = isTls ? FirstByte.accessDeniedAlert : options.refusal("NotAuthorized")
    const accept = Accepting.make({ ...context, sockets, begin, denial })
    const onConnection = (socket: Net.Socket) =>
      boundary.guard(
        "socket",
        Arrivals.originOf(socket).address,
        () => accept(socket),
        () => socket.destroy()
      )
    const server = yield* Effect.acquireRelease(
      Effect.sync(() =>
        Net.createServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: tcpKeepAliveMillis }, onConnection)
      ),
      (server) => shutDown(context, server, sockets)
    )
    // Without a descriptor left, where libuv can't even hang up, Node tells of EMFILE here.
    return yield* bindServer(server, where, (error) => boundary.caught("socket", "who connects", error))
  })
