import { promises as Dns } from "node:dns"
import * as Net from "node:net"
import * as Arr from "effect/Array"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import type { Tls } from "../Tls/Credentials.js"
import * as Reverification from "../Tls/internal/reverification.js"
import * as Trust from "../Tls/internal/trust.js"
import * as PeerVerification from "../Tls/PeerVerification.js"
import type { Boundary } from "../Transport/internal/boundary.js"
import * as Reconnected from "../Transport/internal/reconnected.js"
import * as Peer from "../Transport/Peer.js"
import { type DeadlineExceeded, HandshakeFailed, InvalidArgument, Unavailable } from "../Transport/TransportError.js"
import { alpnProtocol } from "./Http3Connection.js"
import * as Http3Session from "./http3Session.js"
import type * as QuicEngine from "./QuicEngine.js"
import type { Settings } from "./QuicOptions.js"
import * as QuicConnection from "./quicConnection.js"

type Failure = Unavailable | DeadlineExceeded | HandshakeFailed

/** TLS alerts in codes of QUIC (RFC 9001, section 4.8). */
const cryptoError = 0x100

export const connectionSettings = (settings: Settings): QuicEngine.ConnectionSettings => ({
  alpnProtocol,
  maxUdpPayload: settings.maxUdpPayload,
  connectionWindow: settings.connectionWindow,
  streamWindow: settings.streamWindow,
  // A stream counts until the end of its answer is acknowledged, and the peer hears of that one round trip later: with fewer
  // it could not keep so many calls in flight. The session sees to it that no more run.
  maxBidiStreams: 2 * settings.maxConcurrentStreams,
  // The control stream, the two of QPACK, and a few that RFC 9114, section 6.2, wants to be tolerated.
  maxUniStreams: 8,
  maxDatagrams: settings.maxDatagrams,
  keepaliveTime: Duration.toMillis(settings.keepaliveTime),
  keepaliveTimeout: Duration.toMillis(settings.keepaliveTimeout),
  handshakeTimeout: Duration.toMillis(settings.handshakeTimeout),
  maxHandshakeBytes: settings.maxHandshakeBytes,
  maxPacketRate: settings.maxPacketRate
})

export const tlsSettings = (material: Tls, asksCertificate: boolean): QuicEngine.TlsSettings => ({
  ca: Trust.issuersOf(material),
  certificate: Option.getOrUndefined(
    Option.map(material.certificate, ({ chain, key }) => ({ chain, key: Redacted.value(key) }))
  ),
  verifyChain: PeerVerification.verifiesChain(material),
  asksCertificate
})

/** The alert in the end of a connection, if TLS is why it ended. */
export const alertOf = (close: QuicEngine.Close): number | undefined =>
  close._tag === "Closed" && !close.isApplication && close.code >= cryptoError && close.code <= cryptoError + 0xff
    ? close.code - cryptoError
    : undefined

/** Ends a connection with the alert for a refusal. */
export const reject = (quic: QuicEngine.Connection, error: HandshakeFailed): void =>
  quic.close(false, cryptoError + PeerVerification.alertOf(error), error.reason)

const addressesOf = (host: string, peer: string): Effect.Effect<Arr.NonEmptyReadonlyArray<string>, Unavailable> =>
  Net.isIP(host) !== 0
    ? Effect.succeed([host])
    : Effect.tryPromise({
        try: async () => (await Dns.lookup(host, { all: true })).map(({ address }) => address),
        catch: (cause) =>
          new Unavailable({ message: `can't look up ${host}: ${String(cause)}`, peer, processed: "no", cause })
      }).pipe(
        Effect.filterOrFail(
          Arr.isNonEmptyArray,
          () => new Unavailable({ message: `${host} has no address`, peer, processed: "no" })
        )
      )

/** Connects to one address, and is done when the peer has accepted this end. */
const connectTo = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  material: Tls,
  nameWanted: string,
  remote: QuicEngine.HostPort,
  peer: string
): Effect.Effect<QuicConnection.Accepted, Failure, Scope.Scope> => {
  const refusal = (close: QuicEngine.Close, quic: QuicEngine.Connection): Failure => {
    if (close._tag === "Lost" && close.why === "HandshakeTimeout") {
      return Reconnected.late(peer)
    }
    const alert = alertOf(close)
    if (alert === undefined || close._tag === "Lost") {
      return new Unavailable({
        message: `can't connect to ${peer}: ${Http3Session.describe(close)}`,
        peer,
        processed: "no"
      })
    }
    return close.by === "remote"
      ? PeerVerification.refusedThere(material, peer, alert, close.text)
      : PeerVerification.refusedHere({ material, chain: quic.peerCertificates(), peer }, alert, nameWanted)
  }
  return Effect.gen(function* () {
    const connecting = yield* Effect.acquireRelease(
      Effect.try({
        try: () => {
          let made: QuicConnection.QuicConnection | undefined
          engine.connect(
            {
              remote,
              // An address is no server name (RFC 6066, section 3).
              serverName: Net.isIP(nameWanted) === 0 ? nameWanted : undefined,
              tls: tlsSettings(material, true),
              settings: {
                ...connectionSettings(settings),
                handshakeTimeout: Duration.toMillis(settings.connectTimeout)
              },
              onThrown: (door, _, cause) => boundary.caught(door, peer, cause)
            },
            (quic) => {
              made = QuicConnection.make(quic, "client", peer, settings, ignore, boundary)
              return made.events
            }
          )
          if (made === undefined) {
            throw new Error("the engine has made no connection")
          }
          return made
        },
        catch: (cause) =>
          new HandshakeFailed({
            reason: "BadCertificate",
            refusedBy: "local",
            peer,
            message: `the QUIC engine can't use the credentials: ${String(cause)}`
          })
      }),
      ({ quic }) => Effect.sync(() => quic.close(true, 0x100, ""))
    )
    const { established, quic } = connecting
    const fail = (close: QuicEngine.Close) => refusal(close, quic)
    yield* Effect.mapError(established, fail)
    const shown = { material, chain: quic.peerCertificates(), peer, nameWanted }
    const { identity, validUntil } = yield* Effect.tapError(PeerVerification.ofServer(shown), (error) =>
      Effect.sync(() => reject(quic, error))
    )
    const accepted = connecting.accept({ address: peer, identity: Option.some(identity) })
    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        accepted.cancelAll()
        accepted.close("H3_NO_ERROR", "")
      })
    )
    yield* Effect.mapError(accepted.ready, fail)
    const open = Reverification.server({ ...shown, validUntil }, peer, nameWanted, {
      leave: accepted.leave,
      close: (error) => reject(quic, error)
    })
    yield* Reverification.whileOpen(reverification, Option.some(open))
    return accepted
  })
}

const ignore = (): QuicConnection.Serve => () => ({ onData: () => {}, onEnd: () => {}, onGone: () => {} })

/** How long an address may be silent until the next is tried beside it (RFC 8305, section 5). */
const attemptDelay = "250 millis"

/** The first that succeeds. Each begins when the one before has failed or been silent for a while. */
const firstOf = <A, E>([attempt, ...others]: Arr.NonEmptyReadonlyArray<Effect.Effect<A, E>>): Effect.Effect<A, E> =>
  Arr.isNonEmptyReadonlyArray(others)
    ? Effect.flatMap(Deferred.make<void>(), (failed) =>
        Effect.race(
          Effect.tapError(attempt, () => Deferred.succeed(failed, undefined)),
          Deferred.await(failed).pipe(Effect.timeoutOption(attemptDelay), Effect.zipRight(firstOf(others)))
        )
      )
    : attempt

/** Connects to one of the addresses of a name. A refusal ends the search, for whoever it was has answered. */
const connectOnce = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  credentials: Effect.Effect<Tls>,
  target: Exclude<Peer.Target, { readonly _tag: "Unix" }>
): Effect.Effect<QuicConnection.Accepted, Failure, Scope.Scope> => {
  const peer = Peer.formatTarget(target)
  const nameWanted = settings.serverName ?? target.host
  return Effect.gen(function* () {
    const material = yield* credentials
    const scope = yield* Effect.scope
    const attempt = (host: string) =>
      // In a scope of its own, which ends with the attempt if that comes to nothing.
      Effect.flatMap(Scope.fork(scope, ExecutionStrategy.sequential), (own) =>
        connectTo(
          engine,
          settings,
          boundary,
          reverification,
          material,
          nameWanted,
          { host, port: target.port },
          peer
        ).pipe(
          Scope.extend(own),
          Effect.onError((cause) => Scope.close(own, Exit.failCause(cause))),
          Effect.map(Either.right),
          Effect.catchTag("HandshakeFailed", (refusal) => Effect.succeed(Either.left(refusal)))
        )
      )
    return yield* yield* firstOf(Arr.map(yield* addressesOf(target.host, peer), attempt))
  }).pipe((connecting) => Reconnected.inTime(connecting, settings.connectTimeout, peer))
}

/** Connects to a target, and runs calls on the connection, or on the one that replaces it. */
export const connect = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  credentials: Effect.Effect<Tls>,
  target: Peer.Target
): Effect.Effect<Reconnected.Reconnected<QuicConnection.Accepted>, InvalidArgument, Scope.Scope> => {
  const peer = Peer.formatTarget(target)
  return target._tag === "Unix"
    ? Effect.fail(new InvalidArgument({ message: "QUIC does not run on unix sockets", peer }))
    : Reconnected.make(
        connectOnce(engine, settings, boundary, reverification, credentials, target),
        { initial: settings.initialReconnectBackoff, max: settings.maxReconnectBackoff },
        peer
      )
}
