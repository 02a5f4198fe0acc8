import * as Net from "node:net"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Bind from "../Transport/internal/bind.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as Count from "../Transport/internal/count.js"
import * as Timers from "../Transport/internal/timers.js"
import * as Peer from "../Transport/Peer.js"
import { type BindError, HandshakeFailed, type HandshakeReason } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions } from "../Transport.js"
import type * as Credentials from "./Credentials.js"
import * as Reverification from "./internal/reverification.js"
import * as UnixSocket from "./internal/unixSocket.js"
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

/** What a transport does with the connections of its listener. */
export interface Options {
  readonly boundary: Boundary.Boundary
  readonly credentials: Credentials.CredentialsService
  readonly alpnProtocols: ReadonlyArray<string>
  readonly handshakeTimeout: Duration.Duration
  readonly maxConnections: number
  readonly reverification: Reverification.Reverification
  /**
   * A connection whose peer is who it should be; anyone's where the material is insecure. Gives what ends the connection
   * when the peer may not connect any more.
   */
  readonly onConnection: (socket: Net.Socket, peer: Peer.Peer) => Reverification.Ending
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
    const authorize = Boundary.authorizer(boundary, where.authorize)
    const sockets = new Set<Net.Socket>()
    /** Those that have not said a byte yet. */
    const silent = new Set<Net.Socket>()
    let unixPeers = 0
    let closing = false

    const open = (
      socket: Net.Socket,
      identity: Peer.Peer["identity"],
      evidence: Option.Option<TlsHandshake.Evidence> = Option.none()
    ) => {
      if (closing) {
        return bid(socket, options.goingAway)
      }
      // The peers of a unix socket have no address: a number tells them apart.
      const address = socket.remoteAddress === undefined ? `unix:${++unixPeers}` : addressOf(socket)
      const ending = options.onConnection(socket, { address, identity })
      if (Option.isSome(evidence) && !socket.destroyed) {
        const client = Reverification.client(evidence.value, address, authorize, ending)
        socket.once("close", options.reverification.add(client))
      }
    }

    const onRefused = ({ address, error, socket }: TlsHandshake.Refusal) => {
      Metric.tagged(TransportMetrics.handshakesRefused, "reason", error.reason).unsafeUpdate(1, [])
      boundary.log(
        LogLevel.Warning,
        `refused ${error.reason}`,
        `refused ${address}: ${Boundary.escapeText(error.message, 250)}`,
        { reason: error.reason }
      )
      if (socket !== undefined) {
        bid(socket, options.farewell(error.reason))
      }
    }

    const acceptor =
      material._tag === "Insecure"
        ? undefined
        : TlsHandshake.makeAcceptor({
            material,
            alpnProtocols: options.alpnProtocols,
            handshakeTimeoutMillis: Duration.toMillis(options.handshakeTimeout),
            clientCertificate: "require",
            authorize,
            boundary,
            onSecure: ({ evidence, identity, socket }) => open(socket, identity, evidence),
            onRefused
          })

    if (acceptor !== undefined) {
      yield* TlsHandshake.follow(acceptor, options.credentials.changes)
    }

    /** Nobody proves an identity without TLS. */
    const openInsecure = (socket: Net.Socket) => {
      if (authorize === undefined || authorize(Option.none())) {
        return open(socket, Option.none())
      }
      const address = addressOf(socket)
      const message = `${address} may not connect`
      const error = new HandshakeFailed({ message, reason: "NotAuthorized", refusedBy: "local", peer: address })
      onRefused({ error, address, socket })
    }

    /**
     * OpenSSL hangs up on what is no TLS without an alert, and a client without TLS would take that for a peer that goes
     * away. So the first byte is looked at before.
     */
    const shake = (socket: Net.Socket, accept: (socket: Net.Socket) => void) => {
      const address = addressOf(socket)
      const onTimeout = () => {
        boundary.log(LogLevel.Warning, "nothing in time", `closed ${address}: it said nothing in time`)
        socket.destroy()
      }
      const stopTimer = Timers.after(Duration.toMillis(options.handshakeTimeout), () =>
        boundary.guard("timer", address, onTimeout, () => socket.destroy())
      )
      const stop = () => {
        stopTimer()
        silent.delete(socket)
      }
      const onReadable = () => boundary.guard("socket", address, readFirst, () => socket.destroy())
      const readFirst = () => {
        const bytes: unknown = socket.read()
        if (!Buffer.isBuffer(bytes)) {
          return
        }
        stop()
        socket.off("readable", onReadable)
        if (bytes[0] === handshakeRecord) {
          socket.unshift(bytes)
          return accept(socket)
        }
        const message = `${address} does not speak TLS`
        const error = new HandshakeFailed({ message, reason: "NoCommonProtocol", refusedBy: "local", peer: address })
        onRefused({ error, address, socket: undefined })
        bid(socket, protocolVersionAlert)
      }
      silent.add(socket)
      socket.on("readable", onReadable)
      socket.once("close", stop)
    }

    const accept = (socket: Net.Socket) => {
      sockets.add(socket)
      Count.add(TransportMetrics.connectionsAccepted, 1)
      socket.once("close", () => {
        sockets.delete(socket)
        Count.add(TransportMetrics.connectionsAccepted, -1)
      })
      socket.on("error", constVoid)
      if (acceptor === undefined) {
        openInsecure(socket)
      } else {
        shake(socket, acceptor.accept)
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
        server.maxConnections = options.maxConnections
        server.on("drop", () =>
          boundary.log(LogLevel.Warning, "too many connections", `more than ${options.maxConnections} connections`)
        )
        return server
      }),
      (server) =>
        Effect.gen(function* () {
          const closed = yield* Deferred.make<void>()
          server.close(() => Deferred.unsafeDone(closed, Effect.void))
          closing = true
          for (const socket of silent) {
            socket.destroy()
          }
          yield* options.drain(Deferred.await(closed))
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
