/** The listener of QuicLive. */
import { promises as Dns } from "node:dns"
import * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as LogLevel from "effect/LogLevel"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as GrpcServerHead from "../../Calls/GrpcServerHead.js"
import * as InFlight from "../../Calls/HandlerFibers.js"
import type { Handler } from "../../Calls/HttpMounts.js"
import * as HttpServing from "../../Calls/HttpServing.js"
import * as Renew from "../../Connections/CredentialRotation.js"
import * as Idle from "../../Connections/Idle.js"
import * as MemoryBudget from "../../Connections/MemoryBudget.js"
import type { CredentialsService, Tls } from "../../Credentials/Credentials.js"
import * as Admission from "../../Handshake/HandshakeAdmission.js"
import type * as Reverification from "../../Handshake/Reverification.js"
import * as Authorization from "../../Transport/internal/authorization.js"
import * as Bind from "../../Transport/internal/bind.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import * as Count from "../../Transport/internal/gauge.js"
import * as Peer from "../../Transport/Peer.js"
import type * as Route from "../../Transport/Route.js"
import type { BindError } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import type { ListenOptions } from "../../Transport/TransportService.js"
import type * as QuicEngine from "../engine/QuicEngine.js"
import type { Settings } from "../QuicOptions.js"
import * as DatagramChannel from "./datagramChannel.js"
import * as Http3Server from "./http3Server.js"
import * as QuicAcceptor from "./quicAcceptor.js"
import * as QuicClient from "./quicClient.js"
import * as QuicConnection from "./quicConnection.js"
import * as QuicIncoming from "./quicIncoming.js"
import type { Link } from "./quicLink.js"

/** How long the last answers may take to arrive after the handlers have ended. */
const flushPeriod = Duration.seconds(1)

/** What answers requests that are no calls. */
export interface Others {
  readonly channels: DatagramChannel.Channels
  readonly handler: () => Handler | undefined
}

/** Listens until the scope closes, and lets the calls in flight end before it does. */
export const listen = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  credentials: CredentialsService,
  reverification: Reverification.Reverification,
  initial: Tls,
  routes: ReadonlyMap<string, Route.Route>,
  others: Others,
  options: ListenOptions
): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const where = Bind.address(options)
    if (where.path !== undefined) {
      return yield* Bind.error(options, "InvalidAddress", "QUIC does not run on unix sockets")
    }
    if (Option.isNone(initial.certificate)) {
      return yield* Bind.error(
        options,
        "CredentialsRefused",
        "a listener needs a certificate, and its credentials hold none"
      )
    }
    const [host = where.host, ...otherHosts] =
      Net.isIP(where.host) !== 0
        ? [where.host]
        : yield* Effect.tryPromise({
            try: async () => (await Dns.lookup(where.host, { all: true })).map(({ address }) => address),
            catch: (cause) => Bind.fromSystem(options, cause as NodeJS.ErrnoException)
          })
    const inFlight = yield* InFlight.make
    const boundary = yield* Boundary.make
    const budget = MemoryBudget.make(settings.maxBufferedBytes)
    const admission = yield* Admission.listening(settings, boundary, options, { readsProxyHeaders: false })
    const authorize = Authorization.authorizer(boundary, options.authorize)
    const clock = yield* Effect.clock
    const run = yield* FiberSet.makeRuntime()
    const asksCertificate = settings.clientCertificate === "require"
    const connectionSettings = QuicClient.connectionSettings(settings)
    const gracePeriod = options.gracePeriod ?? settings.gracePeriod
    let material = initial

    const use = (next: Tls) =>
      Effect.try({
        try: () => {
          engine.check(QuicClient.tlsSettings(next, asksCertificate), connectionSettings)
          material = next
        },
        catch: (cause) => `the QUIC engine can't use the credentials: ${String(cause)}`
      })

    yield* Effect.mapError(use(initial), (why) => Bind.error(options, "CredentialsRefused", why))
    yield* credentials.changes.pipe(
      Stream.filter((next) => next._tag === "Tls"),
      Stream.runForEach((next) => Effect.catchAll(use(next), (why) => Effect.logError(`${why}; those before stay`))),
      Effect.forkScoped
    )

    const { connections, replace, serve } = QuicAcceptor.make({
      admission,
      gate: options.admission?.gate,
      boundary,
      authorize,
      reverification,
      asksCertificate,
      maxConnectionAge: settings.maxConnectionAge,
      gracePeriod
    })

    /** Requests that are answered and no calls. */
    let answering = 0
    const allAnswered = Idle.make(() => answering === 0)
    const answered = () => {
      answering -= 1
      allAnswered.check()
    }

    const makeServing = (link: Link): QuicConnection.Serving => {
      const calls = QuicIncoming.make(link, { routes, inFlight, clock, boundary, visit: link.visit })
      const onRequest: QuicConnection.Serving["onRequest"] = (head, id) => {
        if (GrpcServerHead.isGrpc(head)) {
          return calls.onRequest(head, id)
        }
        if (DatagramChannel.isOpening(head) && link.session.maxDatagramSize(id) !== undefined) {
          return others.channels.agree(link, id)
        }
        const handler = others.handler()
        if (handler === undefined) {
          return Http3Server.refuse(link, id, HttpServing.statusOfNone(routes.has(head.path ?? "")))
        }
        answering += 1
        return Http3Server.serve(link, head, id, handler, answered)
      }
      return { onRequest, onRoom: calls.onRoom }
    }

    const drain = (listener: QuicEngine.Listener) =>
      Effect.gen(function* () {
        listener.refuse()
        for (const connection of connections) {
          connection.goaway(false)
        }
        const answered = Effect.timeoutOption(Effect.interruptible(allAnswered.reached), gracePeriod)
        yield* Effect.zip(inFlight.drain(gracePeriod), answered, { concurrent: true })
        const idle = Effect.forEach([...connections], (connection) => connection.idle, {
          concurrency: "unbounded",
          discard: true
        })
        yield* Effect.timeoutOption(Effect.interruptible(idle), flushPeriod)
        for (const connection of connections) {
          connection.close("H3_NO_ERROR", "")
        }
        yield* Effect.promise(() => listener.close())
      })

    const renew = (within: Duration.Duration) =>
      Effect.forEach(
        [...connections],
        (connection) =>
          Effect.gen(function* () {
            yield* Renew.pause(within)
            yield* replace(connection, within)
          }),
        { concurrency: "unbounded", discard: true }
      )

    yield* Renew.onChange(credentials.changes, settings.rehandshakeWithin, renew)

    const { local } = yield* Effect.acquireRelease(
      Effect.tryPromise({
        try: () =>
          engine.listen({
            local: { host, port: where.port },
            otherHosts,
            tls: () => QuicClient.tlsSettings(material, asksCertificate),
            settings: connectionSettings,
            maxConnections: settings.maxConnections,
            admission,
            maxTotalHandshakeBytes: settings.maxTotalHandshakeBytes,
            onConnection: (quic) => {
              const address = Peer.formatAddress(quic.remote)
              const connection = QuicConnection.make(quic, "server", address, settings, makeServing, boundary, budget)
              Count.add(TransportMetrics.connectionsAccepted, 1)
              run(
                Effect.ensuring(
                  serve(connection, material),
                  Effect.sync(() => Count.add(TransportMetrics.connectionsAccepted, -1))
                )
              )
              return connection.events
            },
            onError: (error) => {
              Boundary.count("socket")
              boundary.log(LogLevel.Error, "UDP socket", `the UDP socket of a listener failed: ${String(error)}`)
            },
            onThrown: (door, remote, cause) => boundary.caught(door, Peer.formatAddress(remote), cause)
          }),
        catch: (cause) => Bind.fromSystem(options, cause as NodeJS.ErrnoException)
      }),
      drain
    )
    return { host: where.host, port: local.port }
  })
