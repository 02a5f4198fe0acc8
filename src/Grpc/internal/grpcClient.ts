/** The client side of GrpcLive: connects, verifies the server, and keeps the connection. */
import * as Net from "node:net"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Addresses from "../../Connections/Addresses.js"
import * as Reconnected from "../../Connections/ReconnectingConnection.js"
import type { Source } from "../../Connections/SocketState.js"
import type * as Credentials from "../../Credentials/Credentials.js"
import * as ServerName from "../../Credentials/ServerName.js"
import * as Reverification from "../../Handshake/Reverification.js"
import * as TlsHandshake from "../../Handshake/TlsHandshake.js"
import { type Boundary, escapeText } from "../../Transport/internal/boundary.js"
import * as CallMetrics from "../../Transport/internal/callMetrics.js"
import { lingerPeriod } from "../../Transport/internal/lingeringClose.js"
import * as Unreachable from "../../Transport/internal/unreachable.js"
import * as Peer from "../../Transport/Peer.js"
import { type DeadlineExceeded, HandshakeFailed, Unavailable } from "../../Transport/TransportError.js"
import type { TargetNames } from "../../Transport/TransportService.js"
import type { Settings } from "../GrpcOptions.js"
import * as GrpcConnection from "./grpcConnection.js"
import * as GrpcOpening from "./grpcOpening.js"
import * as GrpcRefusal from "./grpcRefusal.js"
import * as Keepalive from "./keepalive.js"

type Failure = Unavailable | HandshakeFailed

type ClientConnection = GrpcConnection.GrpcConnection<GrpcOpening.Opening>

/** A connection that is up, for calls and plain requests. */
export interface Live extends Reconnected.Live {
  readonly send: GrpcOpening.Send
}

/** A silent peer is probed by TCP after so long: below what HTTP/2 may ask for, NATs forget a connection (RFC 5382). */
const tcpKeepAliveMillis = 30_000

/** A socket that is connected, and what its peer was verified by where it is one of TLS. */
interface Connected extends Source {
  readonly secured: TlsHandshake.SecureSocket | undefined
}

/** Connects a socket without TLS. It is destroyed with the scope. */
const connectPlain = (to: Peer.Target, peer: string): Effect.Effect<Connected, Unavailable, Scope.Scope> =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => {
        const socket = Net.connect(to._tag === "Unix" ? { path: to.path } : { host: to.host, port: to.port })
        socket.setNoDelay(true)
        return socket
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket) =>
      Effect.async<Connected, Unavailable>((resume) => {
        socket.once("connect", () => resume(Effect.succeed({ socket, secured: undefined })))
        socket.on("error", (error) => resume(Effect.fail(Unreachable.unreachable(peer, error))))
        socket.once("close", () => resume(Effect.fail(Unreachable.unreachable(peer))))
      })
  )

/** Why a peer ended a connection: in its own words where it has turned this end away. */
const why = (reason: GrpcConnection.End["reason"], text: string): string =>
  reason === "ENHANCE_YOUR_CALM" && text !== "" ? `${reason}, ${escapeText(text)}` : reason

/** What the end of a connection means that never became ready. */
const refusal = (
  { reason, refusedBy, text }: GrpcConnection.End,
  secured: TlsHandshake.SecureSocket | undefined,
  hasCertificate: boolean,
  hasAnswered: boolean,
  peer: string
): Failure => {
  const refused = GrpcRefusal.reasonOf(text)
  if (refused !== undefined) {
    return secured === undefined
      ? new HandshakeFailed({
          message: `${peer} refused the connection: ${refused}`,
          reason: refused,
          refusedBy: "remote",
          peer
        })
      : secured.refusedWith(refused)
  }
  if (reason === "Disconnected" && (secured !== undefined || !hasAnswered)) {
    return secured === undefined
      ? new Unavailable({ message: `${peer} closed the connection`, peer, processed: "no" })
      : Option.getOrElse(Option.orElse<Failure, Failure>(secured.damage(), secured.refusal), () =>
          secured.refusedWith(hasCertificate ? "Refused" : "CertificateRequired")
        )
  }
  return refusedBy === "local" || reason === "Disconnected"
    ? new HandshakeFailed({
        message: `${peer} does not speak HTTP/2`,
        reason: "NoCommonProtocol",
        refusedBy: "local",
        peer
      })
    : new Unavailable({ message: `${peer} ended the connection: ${why(reason, text)}`, peer, processed: "no" })
}

/** Connects to one address, and is done when the peer speaks HTTP/2 with this end. */
const connectTo = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  target: Peer.Target,
  names: TargetNames,
  keepalive: Keepalive.Keepalive,
  to: Peer.Target
): Effect.Effect<ClientConnection, Failure, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    const material = yield* credentials.current
    const nameWanted = ServerName.wanted(settings.serverName, target, names)
    const source: Connected =
      material._tag === "Insecure"
        ? yield* connectPlain(to, peer)
        : yield* Effect.map(
            TlsHandshake.connect(to, { material, nameWanted, alpnProtocols: ["h2"], peer, boundary }),
            (secured) => ({ socket: secured.socket, read: secured.read, secured })
          )
    const { secured, socket } = source
    socket.setKeepAlive(true, tcpKeepAliveMillis)
    const identity = secured === undefined ? Option.none() : secured.identity
    const connection = yield* Effect.acquireRelease(
      Effect.sync(() =>
        GrpcConnection.make<GrpcOpening.Owner, GrpcOpening.Opening>({
          source,
          role: "client",
          name: peer,
          peer: { address: peer, identity },
          settings,
          boundary,
          keepaliveTime: keepalive.millis(),
          makeStreams: (link) =>
            GrpcOpening.make(link, secured === undefined ? "http" : "https", Addresses.authorityFor(target, names))
        })
      ),
      (connection) =>
        Effect.gen(function* () {
          connection.streams.cancelAll()
          connection.close("NO_ERROR", "")
          const end = yield* connection.ended
          if (end.refusedBy === "remote" && end.text === "too_many_pings") {
            keepalive.onTooManyPings()
          }
          // A refusal is told to whoever connects.
          if (GrpcRefusal.reasonOf(end.text) === undefined) {
            GrpcConnection.logEnd(boundary, end, peer)
          }
          yield* Effect.timeoutOption(Effect.interruptible(connection.closed), lingerPeriod)
        })
    )
    const hasCertificate = material._tag === "Tls" && Option.isSome(material.certificate)
    yield* Effect.mapError(connection.ready, (end) => refusal(end, secured, hasCertificate, socket.bytesRead > 0, peer))
    yield* Reverification.whileOpen(
      reverification,
      Option.map(secured === undefined ? Option.none() : secured.evidence, (evidence) =>
        Reverification.server(evidence, peer, nameWanted, {
          leave: connection.leave,
          close: ({ reason }) => connection.close("INADEQUATE_SECURITY", reason)
        })
      )
    )
    return connection
  })

/** Connects to one of the addresses of a target. */
const connectOnce = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  target: Peer.Target,
  names: TargetNames,
  keepalive: Keepalive.Keepalive
): Effect.Effect<Live, Failure | DeadlineExceeded, Scope.Scope> =>
  Effect.map(
    Addresses.connect(
      target,
      settings.connectTimeout,
      (to) => connectTo(settings, credentials, boundary, reverification, target, names, keepalive, to),
      names.alternatives
    ),
    (connection) => ({
      ...connection,
      connection: connection.streams.connection,
      send: connection.streams.send,
      drainPeer: connection.idle
    })
  )

/** Connects to a target, and runs calls on the connection, or on the one that replaces it. */
export const connect = (
  settings: Settings,
  credentials: Credentials.CredentialsService,
  boundary: Boundary,
  reverification: Reverification.Reverification,
  target: Peer.Target,
  names: TargetNames
): Effect.Effect<Reconnected.Reconnected<Live>, never, Scope.Scope> =>
  Reconnected.make(
    connectOnce(settings, credentials, boundary, reverification, target, names, Keepalive.make(settings.keepaliveTime)),
    { initial: settings.initialReconnectBackoff, max: settings.maxReconnectBackoff },
    Peer.formatTarget(target),
    CallMetrics.client(settings.metrics, "grpc", Peer.formatTarget(target))
  )
