import * as Net from "node:net"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Connection, OutgoingCall } from "../Transport/internal/connection.js"
import * as Count from "../Transport/internal/count.js"
import * as Reconnect from "../Transport/internal/reconnect.js"
import * as Status from "../Transport/internal/status.js"
import * as Peer from "../Transport/Peer.js"
import {
  type CallError,
  Cancelled,
  type ConnectError,
  DeadlineExceeded,
  HandshakeFailed,
  HandshakeReason,
  Unavailable
} from "../Transport/TransportError.js"
import * as TransportMetrics from "../Transport/TransportMetrics.js"
import type { Tls } from "./Credentials.js"
import * as TlsHandshake from "./TlsHandshake.js"
import type { Settings } from "./TlsOptions.js"
import * as TlsConnection from "./tlsConnection.js"
import type * as TlsIncoming from "./tlsIncoming.js"
import * as Wire from "./Wire.js"

type Failure = Unavailable | HandshakeFailed

/** A TCP or unix connection, closed with the scope. */
const connectSocket = (target: Peer.Target, name: string): Effect.Effect<Net.Socket, Unavailable, Scope.Scope> =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() =>
        Net.connect(
          target._tag === "Unix" ? { path: target.path } : { host: target.host, port: target.port, noDelay: true }
        )
      ),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    (socket) =>
      Effect.async<Net.Socket, Unavailable>((resume) => {
        socket.once("connect", () => resume(Effect.succeed(socket)))
        // Stays for good: between two owners a socket may emit an error that nobody else listens to.
        socket.on("error", (cause) => resume(Effect.fail(unreachable(name, cause))))
      })
  )

const unreachable = (peer: string, cause: Error) =>
  new Unavailable({ message: `can't connect to ${peer}: ${cause.message}`, peer, processed: "no", cause })

const isReason = (text: string): text is HandshakeReason => HandshakeReason.literals.some((reason) => reason === text)

/** What the end of a connection means that the other end never accepted. */
const refusal = (
  { reason, text }: TlsConnection.End,
  secured: TlsHandshake.SecureSocket,
  hasCertificate: boolean,
  peer: string
): Failure => {
  const failed = (reason: HandshakeReason) =>
    new HandshakeFailed({ reason, refusedBy: "remote", peer, message: `${peer} refused the connection: ${reason}` })
  if (reason === "Refused" && isReason(text)) {
    return failed(text)
  }
  if (reason === "Disconnected") {
    return Option.getOrElse(secured.refusal(), () => failed(hasCertificate ? "Refused" : "CertificateRequired"))
  }
  return new Unavailable({ message: `${peer} ended the connection: ${reason}`, peer, processed: "no" })
}

/** Connects, and is done when the peer has accepted this end. */
const connectOnce = (
  settings: Settings,
  credentials: Effect.Effect<Tls>,
  target: Peer.Target,
  server: TlsIncoming.Server
): Effect.Effect<TlsConnection.TlsConnection, Failure, Scope.Scope> => {
  const peer = Peer.formatTarget(target)
  return Effect.gen(function* () {
    const material = yield* credentials
    const socket = yield* connectSocket(target, peer)
    const secured = yield* TlsHandshake.connectSecure(socket, {
      material,
      nameWanted: settings.serverName ?? (target._tag === "Unix" ? "localhost" : target.host),
      alpnProtocols: [Wire.alpnProtocol],
      peer
    })
    const connection = yield* Effect.acquireRelease(
      Effect.sync(() =>
        TlsConnection.make(
          secured.socket,
          "client",
          peer,
          { address: peer, identity: secured.identity },
          settings,
          server
        )
      ),
      (connection) =>
        Effect.sync(() => {
          connection.cancelAll()
          connection.close("Shutdown", "")
        })
    )
    yield* Effect.mapError(connection.ready, (end) => refusal(end, secured, Option.isSome(material.certificate), peer))
    return connection
  }).pipe(
    Effect.timeoutFail({
      duration: settings.connectTimeout,
      onTimeout: () => new Unavailable({ message: `${timedOut} ${peer} in time`, peer, processed: "no" })
    })
  )
}

const timedOut = "no connection to"

/** Connects to a target, and runs calls on the connection, or on the one that replaces it. */
export const connect = (
  settings: Settings,
  credentials: Effect.Effect<Tls>,
  target: Peer.Target,
  server: TlsIncoming.Server
): Effect.Effect<Connection, ConnectError, Scope.Scope> =>
  Effect.gen(function* () {
    const peer = Peer.formatTarget(target)
    yield* Count.whileOpen(TransportMetrics.connectionsOpened)
    let closed = false
    const lost = () => new Unavailable({ message: `the connection to ${peer} was lost`, peer, processed: "no" })
    const { changed, current, wake } = yield* Reconnect.make<TlsConnection.TlsConnection, Failure>(
      connectOnce(settings, credentials, target, server),
      { initial: settings.initialReconnectBackoff, max: settings.maxReconnectBackoff }
    ).pipe(
      // To the calls on a lost connection its time-out is one more reason to be unavailable; to who connects it is his own.
      Effect.mapError((failure) =>
        failure.message.startsWith(timedOut) ? new DeadlineExceeded({ message: failure.message, peer }) : failure
      )
    )

    yield* Effect.addFinalizer(() =>
      Effect.sync(() => {
        closed = true
        wake()
      })
    )

    /** The connection for a new call, or why there is none; undefined while that is open. */
    const usable = (method: string): Either.Either<Connection, Failure | Cancelled> | undefined => {
      const now = current()
      return closed
        ? Either.left(new Cancelled({ message: "the client was closed", processed: "no", method, peer }))
        : now === undefined || (Exit.isSuccess(now) && now.value.isLost())
          ? undefined
          : Exit.isFailure(now)
            ? Either.left(Status.ofCall(Option.getOrElse(Cause.failureOption(now.cause), lost), method))
            : Either.right(now.value.connection)
    }

    /** Waits for a connection that was just lost, or where the call wants that; `run` gets what is left of its timeout. */
    const withConnection = <A>(
      method: string,
      call: OutgoingCall,
      run: (connection: Connection, call: OutgoingCall) => A
    ): Effect.Effect<A, CallError> =>
      Effect.gen(function* () {
        const started = yield* Clock.currentTimeMillis
        let connection = usable(method)
        while (
          connection === undefined ||
          (Either.isLeft(connection) && call.waitForReady && connection.left._tag !== "Cancelled")
        ) {
          yield* changed
          connection = usable(method)
        }
        const spent = (yield* Clock.currentTimeMillis) - started
        return run(yield* connection, { ...call, timeout: Math.max(1, call.timeout - spent) })
      }).pipe(
        Effect.timeoutFail({
          duration: call.timeout,
          onTimeout: () => new DeadlineExceeded({ message: `no connection to ${peer} in time`, method, peer })
        })
      )

    return {
      unary: (method, request, call) => {
        const connection = usable(method.path)
        return connection !== undefined && Either.isRight(connection)
          ? connection.right.unary(method, request, call)
          : Effect.flatten(
              withConnection(method.path, call, (connection, call) => connection.unary(method, request, call))
            )
      },
      stream: (method, requests, call) =>
        Stream.unwrap(
          withConnection(method.path, call, (connection, call) => connection.stream(method, requests, call))
        )
    }
  })
