/** The connections of a QUIC listener, each from its first packet to its end: who its client is, and when it is replaced. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as LogLevel from "effect/LogLevel"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import type { Tls } from "../../Credentials/Credentials.js"
import * as Admission from "../../Handshake/HandshakeAdmission.js"
import * as PeerVerification from "../../Handshake/PeerVerification.js"
import * as Reverification from "../../Handshake/Reverification.js"
import { codes } from "../../protocol/http3/Http3Error.js"
import type { Authorizer } from "../../Transport/Authorizer.js"
import * as Gate from "../../Transport/internal/admissionGate.js"
import * as Age from "../../Transport/internal/age.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import * as Peer from "../../Transport/Peer.js"
import { HandshakeFailed } from "../../Transport/TransportError.js"
import * as TransportMetrics from "../../Transport/TransportMetrics.js"
import * as QuicEngine from "../engine/QuicEngine.js"
import * as Http3Session from "./http3Session.js"
import * as QuicClient from "./quicClient.js"
import type * as QuicConnection from "./quicConnection.js"

/** A refusal by the engine itself says only little to the logs. */
const isRefusal = (close: QuicEngine.Close): close is Extract<QuicEngine.Close, { readonly _tag: "Closed" }> =>
  QuicClient.alertOf(close) !== undefined

export interface Options {
  /** The admission of the listener. */
  readonly gate: Gate.Gate | undefined
  readonly admission: Admission.Admission
  readonly boundary: Boundary.Boundary
  readonly authorize: Authorizer | undefined
  readonly reverification: Reverification.Reverification
  readonly asksCertificate: boolean
  readonly maxConnectionAge: Duration.Duration
  readonly gracePeriod: Duration.DurationInput
}

export interface QuicAcceptor {
  /** Those whose clients have been verified. */
  readonly connections: ReadonlySet<QuicConnection.Accepted>
  /** Serves a connection until it ends, with the credentials that it has begun with. */
  readonly serve: (connection: QuicConnection.QuicConnection, used: Tls) => Effect.Effect<void>
  /** Asks the other end to make a new connection, and ends this one when its calls have, or have had their time. */
  readonly replace: (connection: QuicConnection.Accepted, within: Duration.DurationInput) => Effect.Effect<void>
}

/** Ends a connection because of who its client is. */
const turnAway = (quic: QuicEngine.Connection, { address }: Peer.Peer, reason: Gate.Turned) =>
  reason === "NotAuthorized"
    ? QuicClient.reject(
        quic,
        new HandshakeFailed({ message: `${address} may not connect`, reason, refusedBy: "local", peer: address })
      )
    : quic.close(true, codes.H3_EXCESSIVE_LOAD, Gate.turnedText(reason))

export const make = ({
  admission,
  asksCertificate,
  authorize,
  boundary,
  gate,
  gracePeriod,
  maxConnectionAge,
  reverification
}: Options): QuicAcceptor => {
  const connections = new Set<QuicConnection.Accepted>()

  const onRefused = (address: string, source: string, error: HandshakeFailed) =>
    Effect.sync(() => {
      if (error.refusedBy === "local") {
        admission.refused(source, 0, error.reason)
      }
      Metric.tagged(TransportMetrics.handshakesRefused, "reason", error.reason).unsafeUpdate(1, [])
      boundary.log(
        LogLevel.Warning,
        `refused ${error.reason}`,
        `refused ${address}: ${Boundary.escapeText(error.message, 250)}`,
        { reason: error.reason }
      )
    })

  const verify = (presentation: PeerVerification.Presentation) =>
    asksCertificate
      ? Effect.asSome(PeerVerification.ofClient(presentation, authorize))
      : Effect.as(PeerVerification.unknownClient(presentation, authorize), Option.none())

  const replace = (connection: QuicConnection.Accepted, within: Duration.DurationInput) =>
    Effect.gen(function* () {
      connection.goaway(true)
      yield* Effect.timeoutOption(connection.ended, within)
      connection.close("H3_NO_ERROR", "")
    })

  const retire = (connection: QuicConnection.Accepted) =>
    Effect.gen(function* () {
      yield* Effect.raceFirst(Age.reached(maxConnectionAge), connection.worn)
      yield* replace(connection, gracePeriod)
    })

  const serve = ({ accept, ended, established, quic }: QuicConnection.QuicConnection, used: Tls) => {
    const address = Peer.formatAddress(quic.remote)
    const source = Admission.sourceOf(quic.remote.host)
    const presented = () => ({ material: used, chain: quic.peerCertificates(), peer: address })
    const refusedByEngine = (close: QuicEngine.Close) => {
      const alert = QuicClient.alertOf(close)
      if (close._tag === "Closed" && close.by === "local" && close.text === QuicEngine.tooMuch) {
        return Effect.sync(() => {
          admission.report("TooMuch", address)
          admission.refused(source, Number.POSITIVE_INFINITY, "TooMuch")
        })
      }
      return alert === undefined || !isRefusal(close)
        ? Effect.sync(() =>
            boundary.log(
              LogLevel.Debug,
              "handshake not finished",
              `${address} did not finish its handshake: ${Boundary.escapeText(Http3Session.describe(close), 150)}`
            )
          )
        : onRefused(
            address,
            source,
            close.by === "local"
              ? PeerVerification.refusedHere(presented(), alert)
              : PeerVerification.refusedThere(used, address, alert, close.text)
          )
    }
    const serveVerified = Effect.gen(function* () {
      yield* established
      const chain = presented()
      const verified = yield* verify(chain)
      admission.succeeded(source)
      const peer = { address, identity: Option.map(verified, ({ identity }) => identity) }
      const visit = gate?.visit(peer, (reason) => turnAway(quic, peer, reason))
      if (typeof visit === "string") {
        return turnAway(quic, peer, visit)
      }
      const accepted = accept(peer, visit)
      const ending: Reverification.Ending = {
        leave: () => accepted.goaway(true),
        close: (error) => QuicClient.reject(quic, error)
      }
      const open = Option.match(verified, {
        onNone: () => Reverification.unknownClient(used, address, authorize, ending),
        onSome: ({ validUntil }) => Reverification.client({ ...chain, validUntil }, address, authorize, ending)
      })
      connections.add(accepted)
      yield* Effect.ensuring(
        Effect.scoped(
          Effect.zipRight(
            Reverification.whileOpen(reverification, Option.some(open)),
            Effect.raceFirst(ended, retire(accepted))
          )
        ),
        Effect.sync(() => {
          connections.delete(accepted)
          visit?.leave()
        })
      )
    })
    return Effect.matchEffect(serveVerified, {
      onFailure: (failure) =>
        failure._tag === "HandshakeFailed"
          ? Effect.zipRight(
              Effect.sync(() => QuicClient.reject(quic, failure)),
              onRefused(address, source, failure)
            )
          : refusedByEngine(failure),
      onSuccess: () =>
        Effect.map(ended, (close) => {
          if (close._tag === "Closed" && close.by === "local" && close.text === QuicEngine.tooIdle) {
            Metric.tagged(TransportMetrics.connectionsRejected, "reason", "TooMuch").unsafeUpdate(1, [])
          }
          if (close._tag === "Closed" && close.code !== 0 && close.code !== 0x100) {
            const why = Boundary.escapeText(Http3Session.describe(close), 150)
            boundary.log(
              LogLevel.Warning,
              `ended by ${close.by}`,
              `the connection of ${address} ended: ${why} (${close.code})`
            )
          }
        })
    })
  }

  return { connections, serve, replace }
}
