import * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constVoid } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Count from "../Transport/internal/count.js"
import * as Peer from "../Transport/Peer.js"
import { BindError, type HandshakeReason } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions } from "../Transport.js"
import type * as Credentials from "./Credentials.js"
import * as TlsHandshake from "./TlsHandshake.js"

const bindReasons: Record<string, BindError["reason"]> = {
  EADDRINUSE: "AddressInUse",
  EACCES: "AccessDenied",
  EPERM: "AccessDenied",
  EADDRNOTAVAIL: "AddressNotAvailable",
  EAFNOSUPPORT: "AddressNotAvailable",
  ENOTFOUND: "InvalidAddress",
  EAI_AGAIN: "InvalidAddress",
  EINVAL: "InvalidAddress",
  ERR_SOCKET_BAD_PORT: "InvalidAddress"
}

/** What a transport does with the connections of its listener. */
export interface Options {
  readonly credentials: Credentials.CredentialsService
  readonly alpnProtocols: ReadonlyArray<string>
  readonly handshakeTimeout: Duration.Duration
  readonly maxConnections: number
  /** A connection whose peer is who it should be; anyone's where the material is insecure. */
  readonly onConnection: (socket: Net.Socket, peer: Peer.Peer) => void
  /** What tells a refused peer why, in the transport's own protocol. The socket is closed behind it. */
  readonly farewell: (reason: HandshakeReason) => Uint8Array
  /** Ends the calls when the scope closes. Connections are accepted no more, and destroyed afterwards. */
  readonly drain: Effect.Effect<void>
}

/** Listens until the scope closes, and does all that comes before a transport's own protocol. */
export const listen = (options: Options, where: ListenOptions): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const material = yield* options.credentials.current
    if (material._tag === "Tls" && Option.isNone(material.certificate)) {
      return yield* bindError(
        where,
        "CredentialsRefused",
        "a listener needs a certificate, and its credentials hold none"
      )
    }
    const run = yield* FiberSet.makeRuntime()
    const sockets = new Set<Net.Socket>()
    let unixPeers = 0

    const open = (socket: Net.Socket, identity: Peer.Peer["identity"]) => {
      const { remoteAddress, remotePort } = socket
      // The peers of a unix socket have no address: a number tells them apart.
      const address =
        remoteAddress === undefined || remotePort === undefined
          ? `unix:${++unixPeers}`
          : Peer.formatAddress({ host: remoteAddress, port: remotePort })
      options.onConnection(socket, { address, identity })
    }

    const onRefused = ({ address, error, socket }: TlsHandshake.Refusal) => {
      run(
        Effect.zipRight(
          Metric.increment(Metric.tagged(TransportMetrics.handshakesRefused, "reason", error.reason)),
          Effect.annotateLogs(Effect.logWarning(`refused ${address}: ${error.message}`), { reason: error.reason })
        )
      )
      socket?.end(options.farewell(error.reason))
    }

    const acceptor =
      material._tag === "Insecure"
        ? undefined
        : TlsHandshake.makeAcceptor({
            material,
            alpnProtocols: options.alpnProtocols,
            handshakeTimeoutMillis: Duration.toMillis(options.handshakeTimeout),
            clientCertificate: "require",
            authorize: where.authorize,
            onSecure: ({ identity, socket }) => open(socket, identity),
            onRefused
          })

    if (acceptor !== undefined) {
      yield* TlsHandshake.follow(acceptor, options.credentials.changes)
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
        open(socket, Option.none())
      } else {
        acceptor.accept(socket)
      }
    }

    const server = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const server = Net.createServer({ noDelay: true }, accept)
        server.maxConnections = options.maxConnections
        server.on("drop", () => run(Effect.logWarning(`more than ${options.maxConnections} connections`)))
        return server
      }),
      (server) =>
        Effect.sync(() => server.close()).pipe(
          Effect.zipRight(options.drain),
          Effect.zipRight(
            Effect.sync(() => {
              for (const socket of sockets) {
                socket.destroy()
              }
            })
          )
        )
    )
    return yield* bind(server, where)
  })

const address = ({ host = "127.0.0.1", path, port = 0 }: ListenOptions): Peer.Address =>
  path === undefined ? { host, port } : { host: "", port: 0, path }

const bindError = (where: ListenOptions, reason: BindError["reason"], why: string, cause?: unknown) => {
  const wanted = Peer.formatAddress(address(where))
  return new BindError({ reason, address: wanted, message: `can't listen on ${wanted}: ${why}`, cause })
}

const bind = (server: Net.Server, where: ListenOptions): Effect.Effect<Peer.Address, BindError> =>
  Effect.async((resume) => {
    const wanted = address(where)
    const fail = (cause: NodeJS.ErrnoException) =>
      resume(Effect.fail(bindError(where, bindReasons[cause.code ?? ""] ?? "Unknown", cause.message, cause)))
    server.once("error", fail)
    try {
      server.listen(wanted.path === undefined ? wanted : { path: wanted.path }, () => {
        server.off("error", fail)
        server.on("error", constVoid)
        const bound = server.address()
        resume(Effect.succeed(typeof bound === "object" && bound !== null ? { ...wanted, port: bound.port } : wanted))
      })
    } catch (cause) {
      // A port out of range is thrown.
      fail(cause as NodeJS.ErrnoException)
    }
    return Effect.sync(() => server.close())
  })
