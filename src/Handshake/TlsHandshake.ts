/**
 * The TLS handshake on both sides, with the true reason where it fails. The transports run their protocols on the sockets
 * that come out of it.
 */

import * as net from "node:net"
import * as tls from "node:tls"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Material, Tls } from "../Credentials/internal/material.js"
import { codeOf } from "../Credentials/internal/nodeError.js"
import { contextOptions, secureContext } from "../Credentials/internal/secureContext.js"
import * as ServerName from "../Credentials/ServerName.js"
import * as Authorizer from "../Transport/Authorizer.js"
import * as Boundary from "../Transport/internal/boundary.js"
import * as Timers from "../Transport/internal/timers.js"
import { unreachable } from "../Transport/internal/unreachable.js"
import { formatAddress, type Identity } from "../Transport/Peer.js"
import type { HandshakeFailed, HandshakeReason, Unavailable } from "../Transport/TransportError.js"
import { broken, brokenOff, damaged, handshakeFailed, refusedByPeer, vanished } from "./internal/refusals.js"
import { identityOf, type Judged, judge, type Objection, shownBy } from "./internal/shown.js"
import * as TlsAlert from "./TlsAlert.js"

/** What a peer was judged by, to judge it again. */
export interface Evidence {
  readonly material: Tls
  /** DER, the leaf first. */
  readonly chain: ReadonlyArray<Buffer>
  /** Until when the judgement holds if nothing else changes, in milliseconds since 1970. */
  readonly validUntil: number
}

/** A socket whose handshake is over and whose peer is who it should be. */
export interface SecureSocket {
  /** The TLS socket: what is written to it goes out encrypted. It never emits an `error` that nobody listens to. */
  readonly socket: net.Socket
  /** Who the peer has proved to be; none only where a listener does not ask for a certificate. */
  readonly identity: Option.Option<Identity>
  /** What the peer was judged by; none only where a listener does not ask for a certificate. */
  readonly evidence: Option.Option<Evidence>
  /** What came to bytes on their way, or so one of the two says. */
  readonly damage: () => Option.Option<Unavailable>
  /**
   * The refusal that came after the handshake. In TLS 1.3 a client is through before the server has looked at its
   * certificate: a server that does not accept it sends its alert then, just before it hangs up.
   */
  readonly refusal: () => Option.Option<HandshakeFailed>
  /**
   * The error of a refusal that the peer has put into the transport's own protocol: what it speaks against is the
   * certificate that was shown to it.
   */
  readonly refusedWith: (reason: HandshakeReason) => HandshakeFailed
}

interface Verified extends Judged {
  readonly chain: ReadonlyArray<Buffer>
}

const secureSocket = (
  socket: tls.TLSSocket,
  material: Tls,
  peer: string,
  verified: Option.Option<Verified>,
  boundary: Boundary.Boundary | undefined
): SecureSocket => {
  let refusal = Option.none<HandshakeFailed>()
  let damage = Option.none<Unavailable>()
  socket.on("error", (error) => {
    if (TlsAlert.isDamage(codeOf(error), true)) {
      damage = Option.orElse(damage, () => Option.some(damaged(peer, error)))
      socket.destroy()
      return
    }
    try {
      const alert = Option.filter(TlsAlert.fromError(error), ({ refusedBy }) => refusedBy === "remote")
      refusal = Option.orElse(refusal, () =>
        Option.map(alert, ({ reason }) => refusedByPeer(material, peer, reason, error))
      )
    } catch (cause) {
      report(boundary, "socket", peer, cause)
    }
  })
  return {
    socket,
    identity: Option.map(verified, ({ identity }) => identity),
    evidence: Option.map(verified, ({ chain, validUntil }) => ({ material, chain, validUntil })),
    damage: () => damage,
    refusal: () => refusal,
    refusedWith: (reason) => refusedByPeer(material, peer, reason)
  }
}

/** What `connectSecure` takes. */
export interface ConnectOptions {
  readonly material: Tls
  /** The DNS name or IP address that the server's certificate must carry. */
  readonly nameWanted: string
  /** At least one; a server that takes none of them is refused. */
  readonly alpnProtocols: ReadonlyArray<string>
  /** The target, for errors. */
  readonly peer: string
  /** Counts and logs what is thrown while the handshake goes on; it is counted in any case. */
  readonly boundary?: Boundary.Boundary | undefined
}

const report = (boundary: Boundary.Boundary | undefined, door: Boundary.Door, peer: string, cause: unknown): void =>
  boundary === undefined ? Boundary.count(door) : boundary.caught(door, peer, cause)

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
      report(boundary, "socket", peer, cause)
      return cause instanceof Error ? cause : new Error("the certificate can't be read", { cause })
    }
  },
  // Said outright, because the environment can change the default (NODE_TLS_REJECT_UNAUTHORIZED).
  rejectUnauthorized: material.pins?.mode !== "instead"
})

/** Waits for the handshake of a socket that is new. `ended` says what an end without a word from TLS means. */
const handshake = (
  secured: tls.TLSSocket,
  { alpnProtocols, boundary, material, nameWanted, peer }: ConnectOptions,
  ended: (error?: unknown) => HandshakeFailed | Unavailable,
  resume: (result: Effect.Effect<SecureSocket, HandshakeFailed | Unavailable>) => void
): Effect.Effect<void> => {
  // Evidence only. When Node refuses the certificate it destroys the socket, and the certificate with it; the event
  // before that is not documented.
  let shown = Option.none<Identity>()
  const onSecure = () => {
    try {
      shown = identityOf(secured)
    } catch (cause) {
      report(boundary, "socket", peer, cause)
    }
  }
  const fail = (error: HandshakeFailed | Unavailable) => {
    discard()
    resume(Effect.fail(error))
  }
  const whyFailed = (error: unknown): HandshakeFailed | Unavailable =>
    TlsAlert.isDamage(codeOf(error), get(secured.getCipher(), "name") !== undefined)
      ? damaged(peer, error)
      : Option.match(TlsAlert.fromError(error), {
          onNone: () => ended(error),
          onSome: ({ reason, refusedBy }) =>
            refusedBy === "local"
              ? refused(reason, error)
              : refusedByPeer(material, peer, isCertificateMissing(error) ? "CertificateRequired" : reason, error)
        })
  const refused = (reason: HandshakeReason, error?: unknown) =>
    handshakeFailed({ reason, refusedBy: "local", peer, error, certificate: shown, nameWanted })
  // TLS 1.2 has no alert for a missing certificate and uses this one, which otherwise means that no cipher suits both.
  // The choice of a cipher is over when the server has shown its certificate.
  const isCertificateMissing = (error: unknown) =>
    codeOf(error).endsWith("_ALERT_HANDSHAKE_FAILURE") &&
    Option.isNone(material.certificate) &&
    Option.isSome(identityOf(secured))
  /** What is thrown while the handshake goes on is its end. */
  const guarded =
    <A extends ReadonlyArray<unknown>>(f: (...args: A) => void) =>
    (...args: A): void => {
      try {
        f(...args)
      } catch (cause) {
        report(boundary, "socket", peer, cause)
        fail(refused("BadCertificate", cause))
      }
    }
  const onError = guarded((error: unknown) => fail(whyFailed(error)))
  const onClose = guarded(() => fail(ended()))
  const onSecureConnect = guarded(() => {
    const found = shownBy(secured)
    if (Option.isNone(found)) {
      return fail(refused("BadCertificate"))
    }
    const judged = judge(secured, found.value, material, [nameWanted, peer])
    if (Either.isLeft(judged)) {
      return fail(refused(judged.left.reason, judged.left.error))
    }
    if (!isAgreed(alpnProtocols, secured)) {
      return fail(refused("NoCommonProtocol"))
    }
    stop()
    const verified = { ...judged.right, chain: found.value.chain }
    resume(Effect.succeed(secureSocket(secured, material, peer, Option.some(verified), boundary)))
  })
  const stop = () => {
    secured.off("secure", onSecure).off("secureConnect", onSecureConnect).off("error", onError).off("close", onClose)
  }
  const discard = () => {
    stop()
    secured.on("error", ignore)
    secured.destroy()
  }
  secured.prependListener("secure", onSecure)
  secured.on("secureConnect", onSecureConnect).on("error", onError).on("close", onClose)
  return Effect.sync(discard)
}

/**
 * Makes a connected socket a TLS client. The server's chain and name are verified, always; on failure and interruption
 * the socket is destroyed. There is no time limit here.
 */
export const connectSecure = (
  socket: net.Socket,
  options: ConnectOptions
): Effect.Effect<SecureSocket, HandshakeFailed | Unavailable> =>
  Effect.async((resume) => {
    if (socket.destroyed) {
      return resume(Effect.fail(vanished(options.peer)))
    }
    const bytesBefore = socket.bytesRead
    const secured = tls.connect({ ...connectionOptions(options), socket })
    return handshake(secured, options, (error) => broken(options.peer, socket.bytesRead > bytesBefore, error), resume)
  })

/** TLS counts what it has decrypted. What has come before that, the handle below knows (`_parent`, not documented). */
const bytesReadBelow = (socket: tls.TLSSocket): (() => number) => {
  const below: unknown = get(get(socket, "_handle"), "_parent")
  return () => Number(get(below, "bytesRead") ?? 0)
}

const get = (object: unknown, key: string): unknown =>
  typeof object === "object" && object !== null ? Reflect.get(object, key) : undefined

/** A TLS socket that gives what it reads to a callback. */
export interface ReadingSocket extends SecureSocket {
  /** Sets the callback, once. What it is given is overwritten when it returns. */
  readonly read: (onData: (chunk: Buffer) => void) => void
}

/** What all of them read into, as large as a record of TLS: what was read is dealt with before the next read begins. */
const readBuffer = Buffer.allocUnsafeSlow(16 * 1024)

/**
 * Connects, and makes the socket a TLS client as `connectSecure` does. For a socket that it has connected itself Node reads
 * into a given buffer, where it otherwise makes one for each record. The socket is destroyed with the scope.
 */
export const connect = (
  to: { readonly host: string; readonly port: number } | { readonly path: string },
  options: ConnectOptions
): Effect.Effect<ReadingSocket, HandshakeFailed | Unavailable, Scope.Scope> =>
  Effect.suspend(() => {
    let secured: tls.TLSSocket | undefined
    /** What came with the end of the handshake. More is not read before somebody wants it. */
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
    const connecting = Effect.async<SecureSocket, HandshakeFailed | Unavailable>((resume) => {
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

const ignore = () => {}

const isAgreed = (alpnProtocols: ReadonlyArray<string>, socket: tls.TLSSocket): boolean =>
  typeof socket.alpnProtocol === "string" && alpnProtocols.includes(socket.alpnProtocol)

/** What `makeAcceptor` takes. */
export interface AcceptorOptions {
  /** With a certificate (`Credentials.requireCertificate`); without one every handshake fails. */
  readonly material: Tls
  /** At least one; a client that offers none of them is refused. */
  readonly alpnProtocols: ReadonlyArray<string>
  /** How long a client may take for its handshake, from the first to the last byte, in milliseconds. */
  readonly handshakeTimeoutMillis: number
  /** `none` lets in whoever comes, without an identity. */
  readonly clientCertificate: "require" | "none"
  /** Who may talk among those who have proved who they are. Default: all. */
  readonly authorize?: Authorizer.Authorizer | undefined
  /** Counts and logs what is thrown while a handshake goes on; it is counted in any case. */
  readonly boundary?: Boundary.Boundary | undefined
  /** A client that may talk, and the socket that was accepted. */
  readonly onSecure: (secure: SecureSocket, accepted: net.Socket) => void
  /**
   * A client that was refused. Where its handshake went through (its certificate is what is wrong), `socket` is the TLS
   * socket, open for a word of farewell: what the client sends is discarded, and the socket is destroyed after
   * `handshakeTimeoutMillis` if it is still open. Else it is closed already.
   */
  readonly onRefused: (refusal: Refusal, accepted: net.Socket) => void
}

/** A client that was refused. */
export interface Refusal {
  readonly error: HandshakeFailed
  /** Where the client is, as text for logs. */
  readonly address: string
  readonly socket: net.Socket | undefined
}

interface Known {
  readonly accepted: net.Socket
  readonly address: string
  readonly material: Tls
}

/** The server side of TLS for sockets that others accept. */
export interface Acceptor {
  /** Begins the handshake on a connected socket, and owns the socket from here on. */
  readonly accept: (socket: net.Socket) => void
  /** What the next handshakes use. Throws, and changes nothing, where `Credentials` would not have let it through. */
  readonly setMaterial: (material: Tls) => void
}

/**
 * Makes the server side of TLS.
 *
 * Node is told not to reject unauthorized clients, because it does that by hanging up without an alert, so that the
 * client never learns the reason. Here the handshake goes on, and nobody gets to `onSecure` whom Node has not called
 * authorized.
 */
export const makeAcceptor = (options: AcceptorOptions): Acceptor => {
  const requestCert = options.clientCertificate === "require"
  /** What is known of a socket since its handshake began. */
  const begun = new WeakMap<object, Known>()
  let material = options.material

  const server = tls.createServer({
    ...contextOptions(material),
    ALPNProtocols: [...options.alpnProtocols],
    requestCert,
    rejectUnauthorized: false,
    handshakeTimeout: Timers.clamp(options.handshakeTimeoutMillis)
  })

  /** What is thrown while a connection is judged is its end. */
  const guarded =
    <A extends ReadonlyArray<unknown>>(socketOf: (...args: A) => tls.TLSSocket, f: (...args: A) => void) =>
    (...args: A): void => {
      try {
        f(...args)
      } catch (cause) {
        const socket = socketOf(...args)
        report(options.boundary, "socket", knownOf(socket).address, cause)
        socket.on("error", ignore)
        socket.destroy()
      }
    }

  const onSecureConnection = (socket: tls.TLSSocket) => {
    const { accepted, address, material } = knownOf(socket)
    const judged = Either.filterOrLeft(
      requestCert ? judgeClient(socket, material) : Either.right(Option.none<Verified>()),
      mayTalk,
      (): Objection => ({ reason: "NotAuthorized" })
    )
    const objection = isAgreed(options.alpnProtocols, socket)
      ? Option.getOrUndefined(Either.getLeft(judged))
      : ({ reason: "NoCommonProtocol" } as const)
    if (Either.isRight(judged) && objection === undefined) {
      return options.onSecure(secureSocket(socket, material, address, judged.right, options.boundary), accepted)
    }
    const error = handshakeFailed({
      reason: "BadCertificate",
      ...objection,
      refusedBy: "local",
      peer: address,
      certificate: requestCert ? identityOf(socket) : Option.none()
    })
    socket.on("error", ignore)
    if (error.reason === "NoCommonProtocol") {
      socket.destroy()
      return options.onRefused({ error, address, socket: undefined }, accepted)
    }
    const timer = setTimeout(() => socket.destroy(), Timers.clamp(options.handshakeTimeoutMillis))
    socket.once("close", () => clearTimeout(timer))
    // Unread bytes would turn the close into a reset, which can overtake the farewell.
    socket.resume()
    options.onRefused({ error, address, socket }, accepted)
  }

  const judgeClient = (socket: tls.TLSSocket, material: Tls): Either.Either<Option.Option<Verified>, Objection> =>
    Either.flatMap(
      Either.fromOption(shownBy(socket), (): Objection => ({ reason: "CertificateRequired" })),
      (shown) => Either.map(judge(socket, shown, material), (judged) => Option.some({ ...judged, chain: shown.chain }))
    )

  const mayTalk = (verified: Option.Option<Verified>): boolean =>
    options.authorize === undefined ||
    Authorizer.check(
      options.authorize,
      Option.map(verified, ({ identity }) => identity)
    )

  const onClientError = (error: Error, socket: tls.TLSSocket) => {
    const { accepted, address, material } = knownOf(socket)
    socket.destroy()
    const refusal = {
      address,
      socket: undefined,
      error: Option.match(TlsAlert.fromError(error), {
        onNone: () => brokenOff(address, error),
        onSome: ({ reason, refusedBy }) =>
          refusedBy === "local"
            ? handshakeFailed({ reason, refusedBy, peer: address, error })
            : refusedByPeer(material, address, reason, error)
      })
    }
    options.onRefused(refusal, accepted)
  }

  /** A TLS socket forgets its address when it is closed; the socket below (`_parent`, not documented) is known here. */
  const knownOf = (socket: tls.TLSSocket): Known => {
    const parent = get(socket, "_parent")
    const known = typeof parent === "object" && parent !== null ? begun.get(parent) : undefined
    return known ?? { accepted: socket, address: format(socket), material }
  }

  server.on(
    "secureConnection",
    guarded((socket) => socket, onSecureConnection)
  )
  server.on(
    "tlsClientError",
    guarded((_, socket) => socket, onClientError)
  )

  return {
    accept: (socket) => {
      begun.set(socket, { accepted: socket, address: format(socket), material })
      server.emit("connection", socket)
    },
    setMaterial: (next) => {
      server.setSecureContext(contextOptions(next))
      material = next
    }
  }
}

/** Keeps an acceptor at what the credentials are, until the scope closes. */
export const follow = (
  acceptor: Pick<Acceptor, "setMaterial">,
  changes: Stream.Stream<Material>
): Effect.Effect<void, never, Scope.Scope> =>
  changes.pipe(
    Stream.filter((material) => material._tag === "Tls"),
    Stream.runForEach((material) =>
      Effect.catchAllDefect(
        Effect.sync(() => acceptor.setMaterial(material)),
        (defect) => Effect.logError("a listener keeps its credentials, for it can't use the new ones", defect)
      )
    ),
    Effect.forkScoped,
    Effect.asVoid
  )

const format = ({ remoteAddress, remotePort }: net.Socket): string =>
  remoteAddress === undefined || remotePort === undefined
    ? "unix"
    : formatAddress({ host: remoteAddress, port: remotePort })
