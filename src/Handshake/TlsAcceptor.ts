/**
 * The server side of TLS, for sockets that a listener accepts: verified clients, or the true reason of their refusal.
 */
import type * as net from "node:net"
import * as tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Material, Tls } from "../Credentials/internal/material.js"
import { contextOptions } from "../Credentials/internal/secureContext.js"
import type * as Authorizer from "../Transport/Authorizer.js"
import type * as Boundary from "../Transport/internal/boundary.js"
import * as Timers from "../Transport/internal/timers.js"
import { formatAddress } from "../Transport/Peer.js"
import type { HandshakeFailed } from "../Transport/TransportError.js"
import { identityIn, presentedBy } from "./internal/presented.js"
import { brokenOff, handshakeFailed, refusedByPeer } from "./internal/refusals.js"
import * as SecureSocket from "./internal/secureSocket.js"
import * as PeerVerification from "./PeerVerification.js"
import * as TlsAlert from "./TlsAlert.js"

/** The options of `make`. */
export interface AcceptorOptions {
  /** With a certificate (`Credentials.requireCertificate`); without one every handshake fails. */
  readonly material: Tls
  /** At least one; a client that offers none of them is refused. */
  readonly alpnProtocols: ReadonlyArray<string>
  /** How long a client may take for its handshake, from the first to the last byte, in milliseconds. */
  readonly handshakeTimeoutMillis: number
  /** `none` admits all clients, without an identity. */
  readonly clientCertificate: "require" | "none"
  /** Who may talk among those who have proved who they are. Default: all. */
  readonly authorize?: Authorizer.Authorizer | undefined
  /** Logs what is thrown during a handshake; it is counted in any case. */
  readonly boundary?: Boundary.Boundary | undefined
  /** Called with a client that may talk, and the socket that was accepted. */
  readonly onSecure: (secure: SecureSocket.SecureSocket, accepted: net.Socket) => void
  /**
   * Called with a client that was refused. If its handshake went through (it is the certificate that is refused),
   * `socket` is the TLS socket, open to tell the client why: what the client sends is discarded, and the socket is
   * destroyed after `handshakeTimeoutMillis` if it is still open. Otherwise it is closed already.
   */
  readonly onRefused: (refusal: Refusal, accepted: net.Socket) => void
}

/** A client that was refused. */
export interface Refusal {
  readonly error: HandshakeFailed
  /** The client's address, for logs. */
  readonly address: string
  readonly socket: net.Socket | undefined
}

/** The server side of TLS for sockets that a listener accepts. */
export interface Acceptor {
  /**
   * Begins the handshake on a connected socket, and owns the socket from then on. `address` is that of the peer, where the
   * socket is a proxy's.
   */
  readonly accept: (socket: net.Socket, address?: string) => void
  /** Replaces what the next handshakes use. Throws, and changes nothing, if `Credentials` would have refused it. */
  readonly setMaterial: (material: Tls) => void
}

/** What a handshake began with. */
interface Begun {
  readonly accepted: net.Socket
  readonly address: string
  readonly material: Tls
}

type Outcome = Either.Either<Option.Option<SecureSocket.VerifiedChain>, PeerVerification.Rejection>

/** Who the client is, if it was asked, or why it is rejected. */
const verifyClient = (
  presented: PeerVerification.Presented | undefined,
  material: Tls,
  authorize: Authorizer.Authorizer | undefined
): Outcome => {
  if (presented === undefined) {
    return PeerVerification.mayTalk(authorize, Option.none())
      ? Either.right(Option.none())
      : Either.left({ reason: "NotAuthorized" })
  }
  const verified = PeerVerification.verify(presented, { peerIs: "client", material, authorize }, Date.now())
  return Either.map(verified, (verified) => Option.some({ ...verified, chain: presented.chain }))
}

const addressOf = ({ remoteAddress, remotePort }: net.Socket): string =>
  remoteAddress === undefined || remotePort === undefined
    ? "unix"
    : formatAddress({ host: remoteAddress, port: remotePort })

/**
 * Makes the server side of TLS. Throws if OpenSSL refuses the material.
 *
 * Node is told not to reject unauthorized clients, because it does that by hanging up without an alert, so that the
 * client never learns the reason. The handshake goes on instead, and no client reaches `onSecure` that was not
 * verified.
 */
export const make = (options: AcceptorOptions): Acceptor => {
  const { alpnProtocols, authorize, boundary } = options
  const requestCert = options.clientCertificate === "require"
  const timeoutMillis = Timers.clamp(options.handshakeTimeoutMillis)
  const begun = new WeakMap<object, Begun>()
  let material = options.material

  const server = tls.createServer({
    ...contextOptions(material),
    ALPNProtocols: [...alpnProtocols],
    requestCert,
    rejectUnauthorized: false,
    handshakeTimeout: timeoutMillis
  })

  /**
   * A TLS socket forgets its address when it is closed; the socket below it (`_parent`, not documented) is in the map.
   */
  const begunWith = (socket: tls.TLSSocket): Begun => {
    const parent = SecureSocket.get(socket, "_parent")
    const known = typeof parent === "object" && parent !== null ? begun.get(parent) : undefined
    return known ?? { accepted: socket, address: addressOf(socket), material }
  }

  /** Ends the connection if `f` throws. */
  const guarded = (socket: tls.TLSSocket, f: (socket: tls.TLSSocket) => void) => {
    try {
      f(socket)
    } catch (cause) {
      SecureSocket.report(boundary, "socket", begunWith(socket).address, cause)
      socket.on("error", constVoid)
      socket.destroy()
    }
  }

  const onSecureConnection = (socket: tls.TLSSocket) => {
    const { accepted, address, material } = begunWith(socket)
    const presented = requestCert ? presentedBy(socket) : undefined
    const outcome: Outcome = SecureSocket.isAgreed(alpnProtocols, socket)
      ? verifyClient(presented, material, authorize)
      : Either.left({ reason: "NoCommonProtocol" })
    if (Either.isRight(outcome)) {
      return options.onSecure(SecureSocket.make(socket, material, address, outcome.right, boundary), accepted)
    }
    const { code, reason } = outcome.left
    const error = handshakeFailed({
      reason,
      refusedBy: "local",
      peer: address,
      certificate: identityIn(presented?.chain[0]),
      ...(code === undefined ? {} : { error: { code } })
    })
    socket.on("error", constVoid)
    if (reason === "NoCommonProtocol") {
      socket.destroy()
      return options.onRefused({ error, address, socket: undefined }, accepted)
    }
    const timer = setTimeout(() => socket.destroy(), timeoutMillis)
    socket.once("close", () => clearTimeout(timer))
    // Unread bytes would turn the close into a reset, which can overtake the reason.
    socket.resume()
    options.onRefused({ error, address, socket }, accepted)
  }

  const onClientError = (error: Error, socket: tls.TLSSocket) => {
    const { accepted, address, material } = begunWith(socket)
    socket.destroy()
    const failed = Option.match(TlsAlert.fromError(error), {
      onNone: () => brokenOff(address, error),
      onSome: ({ reason, refusedBy }) =>
        refusedBy === "local"
          ? handshakeFailed({ reason, refusedBy, peer: address, error })
          : refusedByPeer(material, address, reason, error)
    })
    options.onRefused({ error: failed, address, socket: undefined }, accepted)
  }

  server.on("secureConnection", (socket) => guarded(socket, onSecureConnection))
  server.on("tlsClientError", (error, socket) => guarded(socket, (socket) => onClientError(error, socket)))

  return {
    accept: (socket, address = addressOf(socket)) => {
      begun.set(socket, { accepted: socket, address, material })
      server.emit("connection", socket)
    },
    setMaterial: (next) => {
      server.setSecureContext(contextOptions(next))
      material = next
    }
  }
}

/**
 * Gives an acceptor each new material until the scope closes. One that OpenSSL refuses is logged and changes nothing.
 */
export const follow = (
  acceptor: Pick<Acceptor, "setMaterial">,
  changes: Stream.Stream<Material>
): Effect.Effect<void, never, Scope.Scope> =>
  changes.pipe(
    Stream.filter((material) => material._tag === "Tls"),
    Stream.runForEach((material) =>
      Effect.catchAllDefect(
        Effect.sync(() => acceptor.setMaterial(material)),
        (defect) =>
          Effect.logError("a listener can't use its new credentials; it keeps accepting with the previous ones", defect)
      )
    ),
    Effect.forkScoped,
    Effect.asVoid
  )
