/** The listener of GrpcLive. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as InFlight from "../../Calls/HandlerFibers.js"
import type { HttpMounts } from "../../Calls/HttpMounts.js"
import * as Renew from "../../Connections/CredentialRotation.js"
import * as Idle from "../../Connections/Idle.js"
import * as MemoryBudget from "../../Connections/MemoryBudget.js"
import type * as Credentials from "../../Credentials/Credentials.js"
import type { Reverification } from "../../Handshake/Reverification.js"
import * as SecureListener from "../../Handshake/SecureListener.js"
import * as Age from "../../Transport/internal/age.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import { lingerPeriod } from "../../Transport/internal/lingeringClose.js"
import type * as Peer from "../../Transport/Peer.js"
import type * as Route from "../../Transport/Route.js"
import type { BindError } from "../../Transport/TransportError.js"
import type { ListenOptions } from "../../Transport/TransportService.js"
import type { Settings } from "../GrpcOptions.js"
import * as GrpcConnection from "./grpcConnection.js"
import type { Streams } from "./grpcLink.js"
import * as GrpcRefusal from "./grpcRefusal.js"
import * as GrpcServing from "./grpcServing.js"
import type * as Http2Requests from "./http2Requests.js"

type ServerConnection = GrpcConnection.GrpcConnection<Streams<GrpcServing.Owner>>

/** How long the last answers may take to leave after the handlers have ended. */
const flushPeriod = Duration.seconds(1)

/** How long a client may take to say that it has heard that it should go. */
const retirePeriod = Duration.seconds(1)

const forAll = (connections: Iterable<ServerConnection>, f: (connection: ServerConnection) => Effect.Effect<void>) =>
  Effect.forEach([...connections], f, { concurrency: "unbounded", discard: true })

/** The plain requests of a listener, and what completes when all of them are answered. */
const makeOthers = (scheme: "https" | "http", handler: HttpMounts["current"]) => {
  let answering = 0
  const allAnswered = Idle.make(() => answering === 0)
  const onDone = () => {
    answering -= 1
    allAnswered.check()
  }
  const others: Http2Requests.Others = {
    scheme,
    handler,
    onBegin: () => {
      answering += 1
      return onDone
    }
  }
  return { others, allAnswered: allAnswered.reached }
}

/** Listens until the scope closes, and lets the calls and requests in flight end before it does. */
export const listen = (
  mounts: Pick<HttpMounts, "current">,
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
    const gracePeriod = options.gracePeriod ?? settings.gracePeriod
    const connections = new Set<ServerConnection>()
    const budget = MemoryBudget.make(settings.maxBufferedBytes)
    const { _tag } = yield* credentials.current
    const { allAnswered, others } = makeOthers(_tag === "Insecure" ? "http" : "https", mounts.current)

    /** Two GOAWAY frames (RFC 9113, section 6.8): what a client has sent before it hears the first is still taken. */
    const goAway = (connection: ServerConnection) =>
      Effect.zipRight(
        Effect.timeoutOption(Effect.interruptible(connection.retire), retirePeriod),
        Effect.sync(connection.goaway)
      )

    const drain = (closed: Effect.Effect<void>) =>
      Effect.gen(function* () {
        yield* forAll(connections, goAway)
        const answered = Effect.timeoutOption(Effect.interruptible(allAnswered), gracePeriod)
        yield* Effect.zip(inFlight.drain(gracePeriod), answered, { concurrent: true })
        yield* Effect.timeoutOption(Effect.interruptible(forAll(connections, ({ idle }) => idle)), flushPeriod)
        for (const connection of connections) {
          connection.close("NO_ERROR", "")
        }
        yield* Effect.timeoutOption(Effect.interruptible(closed), lingerPeriod)
      })

    /** Asks a peer to connect again, and ends the connection when its calls have ended, or have had their time. */
    const replace = (connection: ServerConnection, within: Duration.DurationInput) =>
      Effect.gen(function* () {
        yield* Effect.timeoutOption(Effect.zipRight(goAway(connection), connection.idle), within)
        connection.close("NO_ERROR", "")
      })

    const renew = (within: Duration.Duration) =>
      forAll(connections, (connection) => Effect.zipRight(Renew.pause(within), replace(connection, within)))

    const endOf = (connection: ServerConnection) =>
      Duration.isFinite(settings.maxConnectionAge)
        ? Effect.raceFirst(
            connection.ended,
            Effect.flatMap(Age.reached(settings.maxConnectionAge), () =>
              Effect.zipRight(replace(connection, gracePeriod), connection.ended)
            )
          )
        : connection.ended

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
        drain,
        onConnection: (socket, peer, onReady, visit) => {
          const connection = GrpcConnection.make<GrpcServing.Owner, Streams<GrpcServing.Owner>>({
            source: { socket },
            role: "server",
            name: peer.address,
            peer,
            settings,
            boundary,
            budget,
            keepaliveTime: Duration.toMillis(settings.keepaliveTime),
            makeStreams: (link) => GrpcServing.make(link, { routes, inFlight, clock, boundary, visit }, others)
          })
          connections.add(connection)
          run(
            Effect.gen(function* () {
              yield* Effect.ignore(Effect.map(connection.ready, onReady))
              const end = yield* endOf(connection)
              yield* connection.closed
              connections.delete(connection)
              GrpcConnection.logEnd(boundary, end, peer.address)
            })
          )
          return {
            leave: () => {
              run(connection.retire)
            },
            close: ({ reason }) => connection.close("INADEQUATE_SECURITY", GrpcRefusal.text(reason)),
            giveUp: () => connection.close("ENHANCE_YOUR_CALM", "no SETTINGS in time"),
            turnAway: (why) => connection.close("ENHANCE_YOUR_CALM", why)
          }
        }
      },
      options
    )
  })
