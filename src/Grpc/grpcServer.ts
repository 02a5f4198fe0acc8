import * as Net from "node:net"
import * as Grpc from "@grpc/grpc-js"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constVoid } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as Credentials from "../Tls/Credentials.js"
import * as TlsHandshake from "../Tls/TlsHandshake.js"
import * as Authorizer from "../Transport/Authorizer.js"
import * as Count from "../Transport/internal/count.js"
import * as InFlight from "../Transport/internal/inFlight.js"
import type * as Route from "../Transport/internal/route.js"
import * as Peer from "../Transport/Peer.js"
import { BindError, HandshakeFailed } from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { ListenOptions } from "../Transport.js"
import type { Settings } from "./GrpcOptions.js"
import * as GrpcRefusal from "./GrpcRefusal.js"
import * as GrpcServerCall from "./grpcServerCall.js"

const bindReasons: Record<string, BindError["reason"]> = {
  EADDRINUSE: "AddressInUse",
  EACCES: "AccessDenied",
  EPERM: "AccessDenied",
  EADDRNOTAVAIL: "AddressNotAvailable",
  EAFNOSUPPORT: "AddressNotAvailable",
  ENOTFOUND: "InvalidAddress",
  EAI_AGAIN: "InvalidAddress",
  EINVAL: "InvalidAddress",
  ENAMETOOLONG: "InvalidAddress",
  ERR_SOCKET_BAD_PORT: "InvalidAddress"
}

/** What a system takes for the path of a unix socket, in bytes (`sun_path`). libuv cuts longer ones short and binds that. */
const maxPathLength = process.platform === "linux" ? 107 : 103

/** The client's preface and the header of its SETTINGS frame: what a peer that speaks HTTP/2 has sent at the least. */
const prefaceSize = 24 + 9

/** The first byte of TLS: the type of the record that a client begins with (RFC 8446, section 5.1). */
const handshakeRecord = 22

/** A fatal alert, protocol_version, as its own record (RFC 8446, section 6). */
const protocolVersionAlert = Buffer.from([21, 3, 3, 0, 2, 2, 70])

/** How long a refused peer may take to read why. */
const refusalPeriod = Duration.seconds(1)

/** How long the last answers may take to leave after the handlers have ended. */
const flushPeriod = Duration.seconds(1)

const serverOptions = (settings: Settings): Grpc.ServerOptions => ({
  "grpc.enable_channelz": 0,
  "grpc.max_concurrent_streams": settings.maxConcurrentStreams,
  "grpc.max_send_message_length": settings.maxSendMessageSize,
  "grpc.max_receive_message_length": settings.maxReceiveMessageSize,
  "grpc.keepalive_time_ms": Duration.toMillis(settings.keepaliveTime),
  "grpc.keepalive_timeout_ms": Duration.toMillis(settings.keepaliveTimeout),
  "grpc-node.max_session_memory": settings.maxSessionMemory
})

const identity = (message: Buffer) => message

/** A grpc-js server whose calls are answered by the routes, and that is fed with connections. */
const makeServer = (routes: ReadonlyMap<string, Route.Route>, listener: GrpcServerCall.Listener) => {
  const server = new Grpc.Server({
    ...serverOptions(listener.settings),
    interceptors: [
      ({ path }, call) =>
        new Grpc.ServerInterceptingCall(call, {
          // The registered handler is left out: the route answers on the call itself, which has true backpressure.
          start: () => {
            const route = routes.get(path)
            if (route !== undefined) {
              GrpcServerCall.serve(call, route, listener)
            }
          }
        })
    ]
  })
  for (const path of routes.keys()) {
    server.register(path, constVoid, identity, identity, "bidi")
  }
  return server
}

interface Connections {
  readonly accept: (socket: Net.Socket) => void
  readonly peerOf: (call: Grpc.ServerInterceptingCallInterface) => Peer.Peer
  /** Turns away those that have not got to HTTP/2 yet. */
  readonly close: () => void
  readonly destroy: () => void
}

/** Says a last word to a peer, and waits a little for it to hang up. Unread bytes would turn the end into a reset. */
const bid = (socket: Net.Socket, farewell: Buffer): void => {
  socket.resume()
  socket.end(farewell)
  const timer = setTimeout(() => socket.destroy(), Duration.toMillis(refusalPeriod))
  socket.once("close", () => clearTimeout(timer))
}

const addressOf = ({ remoteAddress, remotePort }: Net.Socket): string =>
  remoteAddress === undefined || remotePort === undefined
    ? "unix"
    : Peer.formatAddress({ host: remoteAddress, port: remotePort })

const key = (address: string | undefined, port: number | undefined) => `${address}:${port}`

/** The connections of a listener: their handshakes, who is at the other end, and their limits in time. */
const makeConnections = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  authorize: Authorizer.Authorizer | undefined,
  serveHttp2: (socket: Net.Socket) => void
): Effect.Effect<Connections, never, Scope.Scope> =>
  Effect.gen(function* () {
    const material = yield* credentials.current
    const run = yield* FiberSet.makeRuntime()
    const sockets = new Set<Net.Socket>()
    const peers = new Map<string, Peer.Peer>()
    const silent = new Set<Net.Socket>()
    let unixPeers = 0
    let closing = false

    const onRefused = (refusal: {
      readonly error: HandshakeFailed
      readonly address: string
      readonly socket: Net.Socket | undefined
    }) => {
      const { error, address, socket } = refusal
      run(
        Effect.zipRight(
          Metric.increment(Metric.tagged(TransportMetrics.handshakesRefused, "reason", error.reason)),
          Effect.annotateLogs(Effect.logWarning(`refused ${address}: ${error.message}`), { reason: error.reason })
        )
      )
      if (socket !== undefined) {
        bid(socket, GrpcRefusal.encode(error.reason))
      }
    }

    const open = (socket: Net.Socket, identity: Peer.Peer["identity"]) => {
      if (closing) {
        return bid(socket, GrpcRefusal.goingAway)
      }
      if (socket.remoteAddress === undefined) {
        // All peers of a unix socket look alike to grpc-js: a name for each tells them apart.
        unixPeers += 1
        Object.defineProperty(socket, "remoteAddress", { value: `unix:${unixPeers}` })
      }
      const { remoteAddress = "", remotePort } = socket
      const name = key(remoteAddress, remotePort)
      peers.set(name, {
        address:
          remotePort === undefined ? remoteAddress : Peer.formatAddress({ host: remoteAddress, port: remotePort }),
        identity
      })
      const timer = setTimeout(() => {
        if (socket.bytesRead < prefaceSize) {
          run(Effect.logWarning(`closed ${name}: it sent no HTTP/2 preface in time`))
          socket.destroy()
        }
      }, Duration.toMillis(settings.handshakeTimeout))
      socket.once("close", () => {
        clearTimeout(timer)
        peers.delete(name)
      })
      serveHttp2(socket)
    }

    const acceptor =
      material._tag === "Insecure"
        ? undefined
        : TlsHandshake.makeAcceptor({
            material,
            alpnProtocols: ["h2"],
            handshakeTimeoutMillis: Duration.toMillis(settings.handshakeTimeout),
            clientCertificate: "require",
            authorize,
            onSecure: ({ identity, socket }) => open(socket, identity),
            onRefused
          })

    if (acceptor !== undefined) {
      yield* TlsHandshake.follow(acceptor, credentials.changes)
    }

    /** Nobody proves an identity without TLS. */
    const openInsecure = (socket: Net.Socket) => {
      if (authorize === undefined || Authorizer.check(authorize, Option.none())) {
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
      const timer = setTimeout(() => {
        run(Effect.logWarning(`closed ${address}: it said nothing in time`))
        socket.destroy()
      }, Duration.toMillis(settings.handshakeTimeout))
      const stop = () => {
        clearTimeout(timer)
        silent.delete(socket)
      }
      const onReadable = () => {
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

    return {
      accept,
      peerOf: (call) => {
        const { remoteAddress, remotePort } = call.getConnectionInfo()
        return peers.get(key(remoteAddress, remotePort)) ?? { address: call.getPeer(), identity: Option.none() }
      },
      close: () => {
        closing = true
        for (const socket of silent) {
          socket.destroy()
        }
      },
      destroy: () => {
        for (const socket of sockets) {
          socket.destroy()
        }
      }
    }
  })

const bind = (server: Net.Server, options: ListenOptions): Effect.Effect<Peer.Address, BindError> =>
  Effect.async((resume) => {
    const host = options.host ?? "127.0.0.1"
    const wanted = { host, port: options.port ?? 0, path: options.path }
    const fail = (cause: NodeJS.ErrnoException) => {
      const address = Peer.formatAddress(wanted)
      const reason = bindReasons[cause.code ?? ""] ?? "Unknown"
      resume(
        Effect.fail(new BindError({ reason, address, message: `can't listen on ${address}: ${cause.message}`, cause }))
      )
    }
    if (options.path !== undefined && Buffer.byteLength(options.path) > maxPathLength) {
      return fail(Object.assign(new Error(`longer than ${maxPathLength} bytes`), { code: "ENAMETOOLONG" }))
    }
    server.once("error", fail)
    try {
      server.listen(options.path === undefined ? { host, port: wanted.port } : { path: options.path }, () => {
        server.off("error", fail)
        server.on("error", constVoid)
        const bound = server.address()
        resume(
          Effect.succeed(
            bound === null || typeof bound === "string"
              ? { host: "", port: 0, path: wanted.path }
              : { host, port: bound.port }
          )
        )
      })
    } catch (cause) {
      // A port out of range is thrown.
      fail(cause as NodeJS.ErrnoException)
    }
    return Effect.sync(() => server.close())
  })

/** Listens until the scope closes, and lets the calls in flight end before it does. */
export const listen = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  routes: ReadonlyMap<string, Route.Route>,
  options: ListenOptions
): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const material = yield* credentials.current
    if (material._tag === "Tls" && Option.isNone(material.certificate)) {
      return yield* new BindError({
        reason: "CredentialsRefused",
        address: Peer.formatAddress({ host: options.host ?? "127.0.0.1", port: options.port ?? 0, path: options.path }),
        message: "a listener needs a certificate, and these credentials hold none"
      })
    }
    const inFlight = yield* InFlight.make
    const clock = yield* Effect.clock
    const server = makeServer(routes, { settings, inFlight, clock, peerOf: (call) => connections.peerOf(call) })
    const injector = server.createConnectionInjector(Grpc.ServerCredentials.createInsecure())
    const connections: Connections = yield* makeConnections(settings, credentials, options.authorize, (socket) =>
      injector.injectConnection(socket)
    )
    const acceptor = yield* Effect.acquireRelease(
      Effect.sync(() => {
        const acceptor = Net.createServer({ noDelay: true }, connections.accept)
        acceptor.maxConnections = settings.maxConnections
        return acceptor
      }),
      (acceptor) =>
        Effect.gen(function* () {
          const closed = yield* Deferred.make<void>()
          // Also called when all connections have ended, unlike what tryShutdown calls: it can miss the end of one.
          acceptor.close(() => Deferred.unsafeDone(closed, Effect.void))
          server.tryShutdown(constVoid)
          connections.close()
          yield* inFlight.drain(options.gracePeriod ?? settings.gracePeriod)
          yield* Effect.timeoutOption(Effect.interruptible(Deferred.await(closed)), flushPeriod)
          server.forceShutdown()
          connections.destroy()
        })
    )
    return yield* bind(acceptor, options)
  })
