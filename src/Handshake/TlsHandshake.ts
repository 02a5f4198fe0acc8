/** The client side of TLS: a verified server, or the true reason of the refusal. */
import * as net from "node:net"
import * as tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type { Tls } from "../Credentials/internal/material.js"
import { codeOf } from "../Credentials/internal/nodeError.js"
import { secureContext } from "../Credentials/internal/secureContext.js"
import * as ServerName from "../Credentials/ServerName.js"
import type * as Boundary from "../Transport/internal/boundary.js"
import { unreachable } from "../Transport/internal/unreachable.js"
import type { Identity } from "../Transport/Peer.js"
import type { HandshakeFailed, HandshakeReason, Unavailable } from "../Transport/TransportError.js"
import { identityOf, presentedBy } from "./internal/presented.js"
import { broken, damaged, handshakeFailed, refusedByPeer, vanished } from "./internal/refusals.js"
import * as SecureSocket from "./internal/secureSocket.js"
import * as PeerVerification from "./PeerVerification.js"
import * as TlsAlert from "./TlsAlert.js"

export type { SecureSocket } from "./internal/secureSocket.js"

/** The options of `connectSecure` and `connect`. */
export interface ConnectOptions {
  readonly material: Tls
  /** The DNS name or IP address that the server's certificate must carry. */
  readonly nameWanted: string
  /** At least one; a server that takes none of them is refused. */
  readonly alpnProtocols: ReadonlyArray<string>
  /** The target, for errors. */
  readonly peer: string
  /** Logs what is thrown during the handshake; it is counted in any case. */
  readonly boundary?: Boundary.Boundary | undefined
}

const connectionOptions = ({
  alpnProtocols,
  boundary,
  material,
  nameWanted,
  peer
}: ConnectOptions): tls.ConnectionOptions => ({
  secureContext: secureContext(material),
  ALPNProtocols: [...alpnProtocols],
  // An address is no server name (RFC 6066, section 3).
  ...(net.isIP(nameWanted) === 0 ? { servername: nameWanted } : {}),
  checkServerIdentity: (_, { raw }) => {
    try {
      return ServerName.check(nameWanted, raw)
    } catch (cause) {
      SecureSocket.report(boundary, "socket", peer, cause)
      return cause instanceof Error ? cause : new Error("the certificate can't be read", { cause })
    }
  },
  // Said outright, because the environment can change the default (NODE_TLS_REJECT_UNAUTHORIZED).
  rejectUnauthorized: material.pins?.mode !== "instead"
})

type Failure = HandshakeFailed | Unavailable

/** The error of a handshake that a peer's certificate, or its choice of protocol, has ended on this side. */
const refused = (
  { nameWanted, peer }: ConnectOptions,
  reason: HandshakeReason,
  certificate: Option.Option<Identity>,
  error?: unknown
): HandshakeFailed => handshakeFailed({ reason, refusedBy: "local", peer, error, certificate, nameWanted })

/**
 * Whether the server wants a certificate and there is none. TLS 1.2 has no alert for that and uses the one which
 * otherwise means that no cipher suits both; but the choice of a cipher is over when the server has presented its
 * certificate.
 */
const isCertificateMissing = (secured: tls.TLSSocket, { certificate }: Tls, error: unknown): boolean =>
  codeOf(error).endsWith("_ALERT_HANDSHAKE_FAILURE") && Option.isNone(certificate) && Option.isSome(identityOf(secured))

/** The error behind the `error` event of a handshake. `ended` makes the one of an end that TLS says nothing about. */
const failureOf = (
  secured: tls.TLSSocket,
  options: ConnectOptions,
  certificate: Option.Option<Identity>,
  ended: (error?: unknown) => Failure,
  error: unknown
): Failure => {
  const { material, peer } = options
  const hasCipher = SecureSocket.get(secured.getCipher(), "name") !== undefined
  if (TlsAlert.isDamage(codeOf(error), hasCipher)) {
    return damaged(peer, error)
  }
  return Option.match(TlsAlert.fromError(error), {
    onNone: () => ended(error),
    onSome: ({ reason, refusedBy }) =>
      refusedBy === "local"
        ? refused(options, reason, certificate, error)
        : refusedByPeer(
            material,
            peer,
            isCertificateMissing(secured, material, error) ? "CertificateRequired" : reason,
            error
          )
  })
}

/** The server behind a finished handshake, or why it is refused. */
const verifyServer = (
  secured: tls.TLSSocket,
  options: ConnectOptions
): Either.Either<SecureSocket.VerifiedChain, PeerVerification.Rejection> => {
  const { alpnProtocols, material, nameWanted, peer } = options
  const presented = presentedBy(secured)
  const policy = { peerIs: "server", material, nameWanted, target: peer } as const
  return Either.flatMap(PeerVerification.verify(presented, policy, Date.now()), (verified) =>
    SecureSocket.isAgreed(alpnProtocols, secured)
      ? Either.right({ ...verified, chain: presented.chain })
      : Either.left<PeerVerification.Rejection>({ reason: "NoCommonProtocol" })
  )
}

/** Waits for the handshake of a new socket. Returns what destroys the socket and waits no longer. */
const handshake = (
  secured: tls.TLSSocket,
  options: ConnectOptions,
  ended: (error?: unknown) => Failure,
  resume: (result: Effect.Effect<SecureSocket.SecureSocket, Failure>) => void
): Effect.Effect<void> => {
  const { boundary, material, peer } = options
  // Evidence only. When Node refuses the certificate it destroys the socket, and the certificate with it; the event
  // before that is not documented.
  let certificate = Option.none<Identity>()
  const stop = () => {
    secured.off("secure", onSecure).off("secureConnect", onSecureConnect).off("error", onError).off("close", onClose)
  }
  const discard = () => {
    stop()
    secured.on("error", constVoid)
    secured.destroy()
  }
  const fail = (error: Failure) => {
    discard()
    resume(Effect.fail(error))
  }
  /** Whatever is thrown during the handshake ends it. */
  const guarded =
    <A extends ReadonlyArray<unknown>>(f: (...args: A) => void) =>
    (...args: A): void => {
      try {
        f(...args)
      } catch (cause) {
        SecureSocket.report(boundary, "socket", peer, cause)
        fail(refused(options, "BadCertificate", certificate, cause))
      }
    }
  const onSecure = () => {
    certificate = identityOf(secured)
  }
  const onError = guarded((error: unknown) => fail(failureOf(secured, options, certificate, ended, error)))
  const onClose = guarded(() => fail(ended()))
  const onSecureConnect = guarded(() =>
    Either.match(verifyServer(secured, options), {
      onLeft: ({ code, reason }) =>
        fail(refused(options, reason, certificate, code === undefined ? undefined : { code })),
      onRight: (verified) => {
        stop()
        resume(Effect.succeed(SecureSocket.make(secured, material, peer, Option.some(verified), boundary)))
      }
    })
  )
  secured.prependListener("secure", onSecure)
  secured.on("secureConnect", onSecureConnect).on("error", onError).on("close", onClose)
  return Effect.sync(discard)
}

/**
 * Makes a connected socket a TLS client. The server is always verified; on failure and interruption the socket is
 * destroyed. There is no time limit here.
 *
 * Fails with `HandshakeFailed` if one side refuses the other, and with `Unavailable` (`processed: "no"`) if the
 * connection ends before TLS has begun or its bytes were changed on their way.
 */
export const connectSecure = (
  socket: net.Socket,
  options: ConnectOptions
): Effect.Effect<SecureSocket.SecureSocket, Failure> =>
  Effect.async((resume) => {
    if (socket.destroyed) {
      return resume(Effect.fail(vanished(options.peer)))
    }
    const bytesBefore = socket.bytesRead
    const secured = tls.connect({ ...connectionOptions(options), socket })
    return handshake(secured, options, (error) => broken(options.peer, socket.bytesRead > bytesBefore, error), resume)
  })

/**
 * The bytes received so far. TLS counts what it has decrypted; the rest is on the handle below (`_parent`, not
 * documented).
 */
const bytesReadBelow = (socket: tls.TLSSocket): (() => number) => {
  const below: unknown = SecureSocket.get(SecureSocket.get(socket, "_handle"), "_parent")
  return () => Number(SecureSocket.get(below, "bytesRead") ?? 0)
}

/** A TLS socket that passes what it reads to a callback. */
export interface ReadingSocket extends SecureSocket.SecureSocket {
  /** Sets the callback, once. The chunk is overwritten when the callback returns. */
  readonly read: (onData: (chunk: Buffer) => void) => void
}

/** The buffer of all of them, as large as a TLS record: a chunk is used up before the next read begins. */
const readBuffer = Buffer.allocUnsafeSlow(16 * 1024)

/**
 * Connects, and makes the socket a TLS client as `connectSecure` does, failing as it does; with `Unavailable` too if
 * nobody can be reached. Node reads into one buffer for a socket that it has connected itself, where it otherwise
 * allocates one for each record. The socket is destroyed with the scope.
 */
export const connect = (
  to: { readonly host: string; readonly port: number } | { readonly path: string },
  options: ConnectOptions
): Effect.Effect<ReadingSocket, Failure, Scope.Scope> =>
  Effect.suspend(() => {
    let secured: tls.TLSSocket | undefined
    /** What came with the end of the handshake. No more is read before there is a callback. */
    const early: Array<Buffer> = []
    let isWanted = false
    let onData = (chunk: Buffer) => {
      early.push(Buffer.from(chunk))
    }
    const read = (callback: (chunk: Buffer) => void) => {
      onData = callback
      isWanted = true
      early.splice(0).forEach(callback)
      secured?.resume()
    }
    const reading = {
      onread: {
        buffer: readBuffer,
        callback: (size: number) => {
          onData(readBuffer.subarray(0, size))
          return isWanted
        }
      }
    }
    const connecting = Effect.async<SecureSocket.SecureSocket, Failure>((resume) => {
      const socket = tls.connect({ ...connectionOptions(options), ...to, ...reading })
      secured = socket
      let bytesRead: (() => number) | undefined
      socket.once("connect", () => {
        socket.setNoDelay(true)
        bytesRead = bytesReadBelow(socket)
      })
      const ended = (error?: unknown) =>
        bytesRead === undefined ? unreachable(options.peer, error) : broken(options.peer, bytesRead() > 0, error)
      return handshake(socket, options, ended, resume)
    })
    return Effect.zipRight(
      Effect.addFinalizer(() => Effect.sync(() => secured?.destroy())),
      Effect.map(connecting, (secure) => ({ ...secure, read }))
    )
  })
