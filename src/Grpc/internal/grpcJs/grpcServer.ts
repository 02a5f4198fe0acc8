/** The listener of GrpcLive: a server of grpc-js behind our own sockets. */
import type * as Net from "node:net"
import * as Grpc from "@grpc/grpc-js"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import { constVoid } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as CallErrors from "../../../Calls/CallErrors.js"
import * as InFlight from "../../../Calls/HandlerFibers.js"
import * as Renew from "../../../Connections/CredentialRotation.js"
import * as MemoryBudget from "../../../Connections/MemoryBudget.js"
import type * as Credentials from "../../../Credentials/Credentials.js"
import * as Fiber from "../../../effect/Fiber.js"
import type { Reverification } from "../../../Handshake/Reverification.js"
import * as SecureListener from "../../../Handshake/SecureListener.js"
import * as Age from "../../../Transport/internal/age.js"
import * as Boundary from "../../../Transport/internal/boundary.js"
import * as CallMetrics from "../../../Transport/internal/callMetrics.js"
import * as Timers from "../../../Transport/internal/timers.js"
import type * as Peer from "../../../Transport/Peer.js"
import type * as Route from "../../../Transport/Route.js"
import type { BindError } from "../../../Transport/TransportError.js"
import type { ListenOptions } from "../../../Transport/TransportService.js"
import type { Settings } from "../../GrpcJsOptions.js"
import * as GrpcRefusal from "../grpcRefusal.js"
import * as GrpcConnection from "./grpcConnection.js"
import * as GrpcHttp2 from "./grpcHttp2.js"
import * as GrpcServerCall from "./grpcServerCall.js"

/** How long the last answers may take to leave after the handlers have ended. */
const flushPeriod = Duration.seconds(1)

const serverOptions = (settings: Settings): Grpc.ServerOptions => ({
  "grpc.enable_channelz": 0,
  "grpc.max_concurrent_streams": settings.maxConcurrentStreams,
  "grpc.max_send_message_length": settings.maxSendMessageSize,
  "grpc.max_receive_message_length": settings.maxReceiveMessageSize,
  "grpc.keepalive_time_ms": Timers.clamp(Duration.toMillis(settings.keepaliveTime)),
  "grpc.keepalive_timeout_ms": Timers.clamp(Duration.toMillis(settings.keepaliveTimeout)),
  "grpc-node.max_session_memory": settings.maxSessionMemory
})

/**
 * How long a listener waits for a client that wants to leave by itself, as it does where both sides change their CAs: of
 * the calls that begin when a listener asks, Node's HTTP/2 refuses some.
 */
const leaveDelayMillis = 250

/**
 * How long a connection without calls is kept after its client was asked to leave. Closed at once, it is reset by what the
 * client sends meanwhile, and the reset can overtake the word that these calls were never looked at.
 */
const lingerMillis = 1000

/** The fields that HTTP and gRPC send beside metadata, and more. */
const otherFields = 64

/**
 * Node takes 128 header fields, whatever their size, and resets the stream of a request with more. What grpc-js gives to
 * `http2.createServer` can be reached, what it gives to `http2.connect` can't: responses with more fields fail.
 */
const allowFields = (server: Grpc.Server, maxMetadataSize: number) => {
  const options: unknown = Reflect.get(server, "commonServerOptions")
  if (typeof options === "object" && options !== null) {
    // An entry counts 33 bytes at the least.
    Object.assign(options, { maxHeaderListPairs: Math.ceil(maxMetadataSize / 33) + otherFields })
  }
}

const identity = (message: Buffer) => message

/** A grpc-js server that knows the routes, and that is fed with connections. */
const makeServer = (routes: ReadonlyMap<string, Route.Route>, settings: Settings) => {
  const server = new Grpc.Server(serverOptions(settings))
  allowFields(server, settings.maxMetadataSize)
  for (const path of routes.keys()) {
    server.register(path, constVoid, identity, identity, "bidi")
  }
  return server
}

/**
 * An entrance to the server for one connection: nothing that a call of grpc-js can be asked for tells its connection from
 * all others, whereas the interceptor of an entrance sees the calls of that connection alone.
 */
const makeInjector = (
  server: Grpc.Server,
  routes: ReadonlyMap<string, Route.Route>,
  settings: Settings,
  boundary: Boundary.Boundary,
  connection: GrpcConnection.GrpcConnection,
  pings: GrpcHttp2.Pings,
  onReady: () => void
) =>
  GrpcHttp2.createInjector(
    server,
    Grpc.experimental.createServerCredentialsWithInterceptors(Grpc.ServerCredentials.createInsecure(), [
      ({ path }, call) =>
        new Grpc.ServerInterceptingCall(call, {
          // The registered handler is left out: the route answers on the call itself, which has true backpressure.
          start: () => {
            const route = routes.get(path)
            if (route !== undefined) {
              connection.begin(
                () => GrpcServerCall.serve(call, route, settings, boundary, connection, pings.onSent),
                () => GrpcHttp2.streamOf(call)?.closed !== true
              )
            }
          }
        })
    ]),
    pings,
    {
      onReady,
      onSession: connection.onSession,
      onRequest: (path) => {
        if (path === undefined || !routes.has(path)) {
          connection.useless()
          // grpc-js answers it by itself.
          pings.onSent()
          CallMetrics.refused(CallMetrics.server(settings.metrics, "grpc"), CallErrors.unknownMethod(path ?? ""))
        }
      }
    }
  )

/** Listens until the scope closes, and lets the calls in flight end before it does. */
export const listen = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  reverification: Reverification,
  routes: ReadonlyMap<string, Route.Route>,
  options: ListenOptions
): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const inFlight = yield* InFlight.make
    const boundary = yield* Boundary.make
    const clock = yield* Effect.clock
    const run = yield* FiberSet.makeRuntime()
    const gracePeriod = Duration.decode(options.gracePeriod ?? settings.gracePeriod)
    /** The connections, each with its own entrance. */
    const injectors = new Map<Net.Socket, GrpcHttp2.Injector>()
    const server = makeServer(routes, settings)
    const budget = MemoryBudget.make(settings.maxBufferedBytes)

    /** Asks a client to connect again, and hangs up when its calls have ended, or have had the time for that. */
    const replace = (socket: Net.Socket, injector: GrpcHttp2.Injector, within: Duration.Duration) =>
      Effect.gen(function* () {
        const withinMillis = Duration.toMillis(within)
        const linger = Math.min(lingerMillis, withinMillis)
        yield* injector.goAway
        yield* Effect.sleep(linger)
        injector.close()
        yield* Effect.sleep(withinMillis - linger)
        socket.destroy()
      })

    const retire = (socket: Net.Socket, injector: GrpcHttp2.Injector) =>
      Effect.zipRight(Age.reached(settings.maxConnectionAge), replace(socket, injector, gracePeriod))

    const onConnection: SecureListener.Options["onConnection"] = (socket, peer, onReady, visit) => {
      const pings = GrpcHttp2.makePings(Duration.toMillis(settings.keepaliveTime))
      const connection = GrpcConnection.make(
        socket,
        peer,
        settings,
        { routes, inFlight, clock, boundary, visit },
        budget
      )
      const injector = makeInjector(server, routes, settings, boundary, connection, pings, onReady)
      injectors.set(socket, injector)
      const retiring = Duration.isFinite(settings.maxConnectionAge) ? run(retire(socket, injector)) : undefined
      socket.once("close", () => {
        Fiber.interruptUnsafe(retiring)
        connection.stop()
        injectors.delete(socket)
        injector.close()
      })
      injector.inject(socket)
      // Without a word: what is written beside node:http2 ends the process. Who connects again is told the reason.
      return {
        leave: () => {
          const leaving = setTimeout(() => run(injector.goAway), leaveDelayMillis).unref()
          socket.once("close", () => clearTimeout(leaving))
        },
        close: () => {
          socket.destroy()
        },
        giveUp: () => {
          socket.destroy()
        },
        turnAway: () => {
          socket.destroy()
        }
      }
    }

    // `closed` tells of all connections, unlike what tryShutdown calls: it can miss the end of one.
    const drain = (closed: Effect.Effect<void>) =>
      Effect.gen(function* () {
        yield* Effect.forEach(injectors.values(), ({ goAway }) => goAway, { concurrency: "unbounded", discard: true })
        server.tryShutdown(constVoid)
        yield* inFlight.drain(gracePeriod)
        yield* Effect.timeoutOption(Effect.interruptible(closed), flushPeriod)
        server.forceShutdown()
      })

    /** Asks those who are connected to connect again, and hangs up on those who are still there at the end. */
    const renew = (within: Duration.Duration) =>
      Effect.gen(function* () {
        yield* Renew.pause(within)
        yield* Effect.forEach([...injectors], ([socket, injector]) => replace(socket, injector, within), {
          concurrency: "unbounded",
          discard: true
        })
      })

    yield* Renew.onChange(credentials.changes, settings.rehandshakeWithin, renew)

    return yield* SecureListener.listen(
      {
        boundary,
        credentials,
        reverification,
        alpnProtocols: ["h2"],
        limits: settings,
        refusal: GrpcRefusal.encode,
        goingAway: GrpcRefusal.goingAway,
        turnedAway: GrpcRefusal.turnedAway,
        onConnection,
        drain
      },
      options
    )
  })
