/** The client side of TlsLive: connects, verifies the server, and keeps the connection. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as ServerCalls from "../../Calls/ServerCalls.js"
import * as Addresses from "../../Connections/Addresses.js"
import * as Reconnected from "../../Connections/ReconnectingConnection.js"
import type { Tls } from "../../Credentials/Credentials.js"
import * as ServerName from "../../Credentials/ServerName.js"
import * as Reverification from "../../Handshake/Reverification.js"
import * as TlsHandshake from "../../Handshake/TlsHandshake.js"
import * as Wire from "../../protocol/wire/Wire.js"
import { escapeText } from "../../Transport/internal/boundary.js"
import * as CallMetrics from "../../Transport/internal/callMetrics.js"
import { lingerPeriod } from "../../Transport/internal/lingeringClose.js"
import * as Peer from "../../Transport/Peer.js"
import {
  type DeadlineExceeded,
  type HandshakeFailed,
  HandshakeReason,
  Unavailable
} from "../../Transport/TransportError.js"
import type { TargetNames } from "../../Transport/TransportService.js"
import type { Settings } from "../TlsOptions.js"
import * as TlsConnection from "./tlsConnection.js"

type Failure = Unavailable | HandshakeFailed

const isReason = (text: string): text is HandshakeReason => HandshakeReason.literals.some((reason) => reason === text)

/** What the end of a connection means that the other end never accepted. */
const refusal = (
  { reason, text }: TlsConnection.End,
  secured: TlsHandshake.SecureSocket,
  hasCertificate: boolean,
  peer: string
): Failure => {
  if (reason === "Refused" && isReason(text)) {
    return secured.refusedWith(text)
  }
  if (reason === "Disconnected") {
    return Option.getOrElse(Option.orElse<Failure, Failure>(secured.damage(), secured.refusal), () =>
      secured.refusedWith(hasCertificate ? "Refused" : "CertificateRequired")
    )
  }
  const why = reason === "Overloaded" && text !== "" ? `${reason}, ${escapeText(text)}` : reason
  return new Unavailable({ message: `${peer} ended the connection: ${why}`, peer, processed: "no" })
}

/** How long the last answers to the other end's calls may take to leave. */
const flushPeriod = Duration.seconds(1)

/** Connects to one address, and is done when the peer has accepted this end. */
const connectTo = (
  settings: Settings,
  credentials: Effect.Effect<Tls>,
  reverification: Reverification.Reverification,
  target: Peer.Target,
  names: TargetNames,
  server: ServerCalls.Server,
  to: Peer.Target
): Effect.Effect<TlsConnection.TlsConnection, Failure, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const material = yield* credentials
    const nameWanted = ServerName.wanted(settings.serverName, target, names)
    const secured = yield* TlsHandshake.connect(to, {
      material,
      nameWanted,
      alpnProtocols: [Wire.alpnProtocol],
      peer,
      boundary: server.boundary
    })
    const connection = yield* Effect.acquireRelease(
      Effect.sync(() =>
        TlsConnection.make(secured, "client", peer, { address: peer, identity: secured.identity }, settings, server)
      ),
      (connection) =>
        Effect.gen(function* () {
          connection.cancelAll()
          yield* Effect.timeoutOption(Effect.interruptible(connection.answered), flushPeriod)
          connection.close("Shutdown", "")
          const end = yield* connection.ended
          // A refusal is told to whoever connects.
          if (end.reason !== "Refused") {
            TlsConnection.logEnd(server.boundary, end, peer)
          }
          yield* Effect.timeoutOption(Effect.interruptible(connection.closed), lingerPeriod)
        })
    )
    yield* Effect.mapError(connection.ready, (end) => refusal(end, secured, Option.isSome(material.certificate), peer))
    yield* Reverification.whileOpen(
      reverification,
      Option.map(secured.evidence, (evidence) =>
        Reverification.server(evidence, peer, nameWanted, {
          leave: connection.leave,
          close: ({ reason }) => connection.close("Refused", reason)
        })
      )
    )
    return connection
  })

/** Connects to one of the addresses of a target. */
const connectOnce = (
  settings: Settings,
  credentials: Effect.Effect<Tls>,
  reverification: Reverification.Reverification,
  target: Peer.Target,
  names: TargetNames,
  server: ServerCalls.Server
): Effect.Effect<TlsConnection.TlsConnection, Failure | DeadlineExceeded, Scope.Scope> =>
  Addresses.connect(
    target,
    settings.connectTimeout,
    (to) => connectTo(settings, credentials, reverification, target, names, server, to),
    names.alternatives
  )

/** Connects to a target, and runs calls on the connection, or on the one that replaces it. */
export const connect = (
  settings: Settings,
  credentials: Effect.Effect<Tls>,
  reverification: Reverification.Reverification,
  target: Peer.Target,
  names: TargetNames,
  server: ServerCalls.Server
): Effect.Effect<Reconnected.Reconnected<TlsConnection.TlsConnection>, never, Scope.Scope> =>
  Reconnected.make(
    connectOnce(settings, credentials, reverification, target, names, server),
    { initial: settings.initialReconnectBackoff, max: settings.maxReconnectBackoff },
    Peer.formatTarget(target),
    CallMetrics.client(settings.metrics, undefined, Peer.formatTarget(target))
  )
