/** The listener of TlsLive. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import * as InFlight from "../../Calls/HandlerFibers.js"
import * as Renew from "../../Connections/CredentialRotation.js"
import * as MemoryBudget from "../../Connections/MemoryBudget.js"
import type { CredentialsService } from "../../Credentials/Credentials.js"
import type { Reverification } from "../../Handshake/Reverification.js"
import * as SecureListener from "../../Handshake/SecureListener.js"
import * as Wire from "../../protocol/wire/Wire.js"
import * as Frames from "../../protocol/wire/WireFrames.js"
import * as Writer from "../../protocol/wire/WireWriter.js"
import * as Age from "../../Transport/internal/age.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import { lingerPeriod } from "../../Transport/internal/lingeringClose.js"
import type * as Peer from "../../Transport/Peer.js"
import type * as Route from "../../Transport/Route.js"
import type { BindError } from "../../Transport/TransportError.js"
import type { ListenOptions } from "../../Transport/TransportService.js"
import type { Settings } from "../TlsOptions.js"
import * as TlsConnection from "./tlsConnection.js"

/** How long the last answers may take to leave after the handlers have ended. */
const flushPeriod = Duration.seconds(1)

const encodeGoaway = (reason: Wire.Reason, text: string): Uint8Array => {
  const writer = Writer.make()
  Frames.writeGoaway(writer, 0, reason, text)
  return Buffer.concat(writer.take())
}

/** Listens until the scope closes, and lets the calls in flight end before it does. */
export const listen = (
  settings: Settings,
  credentials: CredentialsService,
  reverification: Reverification,
  routes: ReadonlyMap<string, Route.Route>,
  options: ListenOptions,
  onConnection: (connection: TlsConnection.TlsConnection) => void
): Effect.Effect<Peer.Address, BindError, Scope.Scope> =>
  Effect.gen(function* () {
    const inFlight = yield* InFlight.make
    const boundary = yield* Boundary.make
    const clock = yield* Effect.clock
    const run = yield* FiberSet.makeRuntime()
    const gracePeriod = options.gracePeriod ?? settings.gracePeriod
    const connections = new Set<TlsConnection.TlsConnection>()
    const budget = MemoryBudget.make(settings.maxBufferedBytes)

    const drain = Effect.gen(function* () {
      for (const connection of connections) {
        connection.goaway()
      }
      yield* inFlight.drain(gracePeriod)
      const idle = Effect.forEach([...connections], (connection) => connection.idle, {
        concurrency: "unbounded",
        discard: true
      })
      yield* Effect.timeoutOption(Effect.interruptible(idle), flushPeriod)
      for (const connection of connections) {
        connection.close("Shutdown", "")
      }
      const closed = Effect.forEach([...connections], (connection) => connection.closed, {
        concurrency: "unbounded",
        discard: true
      })
      yield* Effect.timeoutOption(Effect.interruptible(closed), lingerPeriod)
    })

    /** Asks a peer to connect again, and ends the connection when its calls have ended, or have had their time. */
    const replace = (connection: TlsConnection.TlsConnection, within: Duration.DurationInput) =>
      Effect.gen(function* () {
        yield* Effect.timeoutOption(Effect.zipRight(connection.retire, connection.idle), within)
        connection.close("Shutdown", "")
      })

    const renew = (within: Duration.Duration) =>
      Effect.forEach(
        [...connections],
        (connection) => Effect.zipRight(Renew.pause(within), replace(connection, within)),
        { concurrency: "unbounded", discard: true }
      )

    const endOf = (connection: TlsConnection.TlsConnection) =>
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
        alpnProtocols: [Wire.alpnProtocol],
        limits: settings,
        refusal: (reason) => encodeGoaway("Refused", reason),
        goingAway: encodeGoaway("Shutdown", ""),
        turnedAway: (why) => encodeGoaway("Overloaded", why),
        drain: () => drain,
        onConnection: (socket, peer, onReady, visit) => {
          const connection = TlsConnection.make(
            { socket },
            "server",
            peer.address,
            peer,
            settings,
            {
              routes,
              inFlight,
              clock,
              boundary,
              visit
            },
            budget
          )
          connections.add(connection)
          onConnection(connection)
          run(
            Effect.gen(function* () {
              yield* Effect.ignore(Effect.map(connection.ready, onReady))
              const end = yield* endOf(connection)
              TlsConnection.logEnd(boundary, end, peer.address)
              yield* connection.closed
              connections.delete(connection)
            })
          )
          return {
            leave: () => {
              run(connection.retire)
            },
            close: ({ reason }) => connection.close("Refused", reason),
            giveUp: () => connection.close("Timeout", "no SETTINGS in time"),
            turnAway: (why) => connection.close("Overloaded", why)
          }
        }
      },
      options
    )
  })
