/** The client side of QuicLive: connects, verifies the server, and keeps the connection. */
import * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Addresses from "../../Connections/Addresses.js"
import * as Reconnected from "../../Connections/ReconnectingConnection.js"
import type { Tls } from "../../Credentials/Credentials.js"
import * as ServerName from "../../Credentials/ServerName.js"
import * as Trust from "../../Credentials/Trust.js"
import * as PeerVerification from "../../Handshake/PeerVerification.js"
import * as Reverification from "../../Handshake/Reverification.js"
import { alpnProtocol } from "../../protocol/http3/Http3Connection.js"
import type { Boundary } from "../../Transport/internal/boundary.js"
import * as CallMetrics from "../../Transport/internal/callMetrics.js"
import * as Unreachable from "../../Transport/internal/unreachable.js"
import * as Peer from "../../Transport/Peer.js"
import { type DeadlineExceeded, HandshakeFailed, InvalidArgument, Unavailable } from "../../Transport/TransportError.js"
import type { TargetNames } from "../../Transport/TransportService.js"
import type * as QuicEngine from "../engine/QuicEngine.js"
import type { Settings } from "../QuicOptions.js"
import * as Http3Session from "./http3Session.js"
import * as QuicConnection from "./quicConnection.js"

type Failure = Unavailable | DeadlineExceeded | HandshakeFailed
type TcpTarget = Extract<Peer.Target, { readonly _tag: "Tcp" }>

/** TLS alerts in codes of QUIC (RFC 9001, section 4.8). */
const cryptoError = 0x100

export const connectionSettings = (settings: Settings): QuicEngine.ConnectionSettings => ({
  alpnProtocol,
  maxUdpPayload: settings.maxUdpPayload,
  connectionWindow: settings.unreadWindow,
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
  maxPacketRate: settings.maxPacketRate,
  maxIdlePacketRate: settings.maxIdlePacketRate,
  maxIdleBytes: settings.maxIdleBytes
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

/** Connects to one address, and is done when the peer has accepted this end. */
const connectTo = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  material: Tls,
  nameWanted: string,
  authority: string,
  remote: QuicEngine.HostPort,
  peer: string
): Effect.Effect<QuicConnection.Accepted, Failure, Scope.Scope> => {
  const refusal = (close: QuicEngine.Close, quic: QuicEngine.Connection): Failure => {
    if (close._tag === "Lost" && close.why === "HandshakeTimeout") {
      return Reconnected.late(peer)
    }
    const alert = alertOf(close)
    if (close._tag === "Lost" && close.cause !== undefined) {
      return Unreachable.unreachable(peer, Unreachable.about(close.cause, remote.host, remote.port))
    }
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
              made = QuicConnection.make(quic, "client", peer, settings, ignore, boundary, undefined, authority)
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
    const presented = { material, chain: quic.peerCertificates(), peer, nameWanted }
    const { identity, validUntil } = yield* Effect.tapError(PeerVerification.ofServer(presented), (error) =>
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
    const open = Reverification.server({ ...presented, validUntil }, peer, nameWanted, {
      leave: accepted.leave,
      close: (error) => reject(quic, error)
    })
    yield* Reverification.whileOpen(reverification, Option.some(open))
    return accepted
  })
}

const ignore = (): QuicConnection.Serving => ({
  onRequest: () => ({ onData: constVoid, onEnd: constVoid, onGone: constVoid }),
  onRoom: constVoid
})

/** Connects to one of the addresses of a target. */
const connectOnce = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  credentials: Effect.Effect<Tls>,
  target: TcpTarget,
  names: TargetNames
): Effect.Effect<QuicConnection.Accepted, Failure, Scope.Scope> =>
  Effect.flatMap(credentials, (material) =>
    Addresses.connect(
      target,
      settings.connectTimeout,
      ({ host, port }) =>
        connectTo(
          engine,
          settings,
          boundary,
          reverification,
          material,
          ServerName.wanted(settings.serverName, target, names),
          Addresses.authorityFor(target, names),
          { host, port },
          Peer.formatTarget(target)
        ),
      (names.alternatives ?? []).filter((to) => to._tag === "Tcp")
    )
  )

/** Connects to a target, and runs calls on the connection, or on the one that replaces it. */
export const connect = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  credentials: Effect.Effect<Tls>,
  target: Peer.Target,
  names: TargetNames
): Effect.Effect<Reconnected.Reconnected<QuicConnection.Accepted>, InvalidArgument, Scope.Scope> => {
  const peer = Peer.formatTarget(target)
  return target._tag === "Unix"
    ? Effect.fail(new InvalidArgument({ message: "QUIC does not run on unix sockets", peer }))
    : Reconnected.make(
        connectOnce(engine, settings, boundary, reverification, credentials, target, names),
        { initial: settings.initialReconnectBackoff, max: settings.maxReconnectBackoff },
        peer,
        CallMetrics.client(settings.metrics, "grpc", peer)
      )
}
