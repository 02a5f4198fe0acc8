/** The certificates that a node presents on QUIC, whoever has issued them. */
import * as Net from "node:net"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Addresses from "../../Connections/Addresses.js"
import * as Reconnected from "../../Connections/ReconnectingConnection.js"
import * as Boundary from "../../Transport/internal/boundary.js"
import * as Unreachable from "../../Transport/internal/unreachable.js"
import * as Peer from "../../Transport/Peer.js"
import { type DeadlineExceeded, type HandshakeFailed, Unavailable } from "../../Transport/TransportError.js"
import type * as QuicEngine from "../engine/QuicEngine.js"
import type { Settings } from "../QuicOptions.js"
import * as Http3Session from "./http3Session.js"
import { connectionSettings } from "./quicClient.js"
import * as QuicConnection from "./quicConnection.js"

/** Nothing is verified: this side wants to see the chain, and nothing else of the node. */
const tls: QuicEngine.TlsSettings = { ca: [], certificate: undefined, verifyChain: false, asksCertificate: true }

const ignore = (): QuicConnection.Serving => ({
  onRequest: () => ({ onData: constVoid, onEnd: constVoid, onGone: constVoid }),
  onRoom: constVoid
})

type TcpTarget = Extract<Peer.Target, { readonly _tag: "Tcp" }>

/** DER, the leaf first. The connection is closed again, before anything is said on it. */
export const presented = (
  engine: QuicEngine.QuicEngine,
  settings: Settings,
  nameWanted: string,
  target: TcpTarget
): Effect.Effect<ReadonlyArray<Uint8Array>, Unavailable | DeadlineExceeded | HandshakeFailed> => {
  const peer = Peer.formatTarget(target)
  const unavailable = (why: string) =>
    new Unavailable({ message: `can't connect to ${peer}: ${why}`, peer, processed: "no" })
  return Effect.gen(function* () {
    const boundary = yield* Boundary.make
    return yield* Addresses.connect(target, settings.connectTimeout, ({ host, port }) =>
      Effect.gen(function* () {
        const { established, quic } = yield* Effect.acquireRelease(
          Effect.try({
            try: () => {
              let made: QuicConnection.QuicConnection | undefined
              engine.connect(
                {
                  remote: { host, port },
                  // An address is no server name (RFC 6066, section 3).
                  serverName: Net.isIP(nameWanted) === 0 ? nameWanted : undefined,
                  tls,
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
            catch: (cause) => unavailable(String(cause))
          }),
          ({ quic }) => Effect.sync(() => quic.close(true, 0x100, ""))
        )
        yield* Effect.mapError(established, (close) =>
          close._tag === "Lost" && close.why === "HandshakeTimeout"
            ? Reconnected.late(peer)
            : close._tag === "Lost" && close.cause !== undefined
              ? Unreachable.unreachable(peer, Unreachable.about(close.cause, host, port))
              : unavailable(Http3Session.describe(close))
        )
        return quic.peerCertificates()
      })
    )
  }).pipe(Effect.scoped)
}
