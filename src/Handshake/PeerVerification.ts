/**
 * Decides whether a peer is who it has to be, once for all wires: chain, names, revocation, pins and authorizer. The
 * engine of the handshake (OpenSSL, BoringSSL) has verified the chain's dates, purpose and signatures, and that the
 * peer has the key; for a connection that is verified again while it is open, nobody has.
 */
import { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Certificate from "../Credentials/internal/certificate.js"
import type { Tls } from "../Credentials/internal/material.js"
import * as Pinning from "../Credentials/internal/pinning.js"
import * as Revocation from "../Credentials/internal/revocation.js"
import * as ServerName from "../Credentials/ServerName.js"
import * as Trust from "../Credentials/Trust.js"
import * as Authorizer from "../Transport/Authorizer.js"
import type { Identity } from "../Transport/Peer.js"
import { type HandshakeFailed, HandshakeReason } from "../Transport/TransportError.js"
import { handshakeFailed, refusedByPeer } from "./internal/refusals.js"
import * as TlsAlert from "./TlsAlert.js"

/** Why a peer is rejected. */
export interface Rejection {
  readonly reason: HandshakeReason
  /** OpenSSL's code for it, or what helps to find out why; it becomes part of the error's message. */
  readonly code?: string | undefined
}

/** The certificates that a peer has presented. */
export interface Presented {
  /** DER, the leaf first; empty if the peer presented none. */
  readonly chain: ReadonlyArray<Uint8Array>
  /** The verdict of the handshake's engine on the chain; `NotAsked` where there was no handshake. */
  readonly engine: "Verified" | "NotAsked" | Rejection
}

/** What a client demands of a server. */
export interface ServerPolicy {
  readonly peerIs: "server"
  readonly material: Tls
  /** The DNS name or IP address that the certificate must carry. */
  readonly nameWanted: string
  /** The target; pins may be for it or for `nameWanted`. */
  readonly target: string
}

/** What a listener demands of a client. */
export interface ClientPolicy {
  readonly peerIs: "client"
  readonly material: Tls
  /** Who may talk among those who have proved who they are. Default: all. */
  readonly authorize?: Authorizer.Authorizer | undefined
}

/** What one side of a connection demands of the other. */
export type Policy = ServerPolicy | ClientPolicy

/** The result of a verification that the peer has passed. */
export interface Verified {
  readonly identity: Identity
  /** Until when it holds if nothing else changes, in milliseconds since 1970. */
  readonly validUntil: number
}

/** Whether the engine has to verify the chain: with pins instead of it, the pins are all the trust there is. */
export const verifiesChain = ({ pins }: Tls): boolean => pins?.mode !== "instead"

const readLeaf = ([der]: ReadonlyArray<Uint8Array>): X509Certificate | undefined => {
  try {
    return der === undefined ? undefined : new X509Certificate(der)
  } catch {
    return undefined
  }
}

const isNamed = (leaf: X509Certificate, nameWanted: string): boolean =>
  ServerName.check(nameWanted, leaf.raw) === undefined

/** The trusted path of a chain, which no list revokes. */
const verifyChain = (
  { chain, engine }: Presented,
  leaf: X509Certificate,
  policy: Policy,
  now: number
): Either.Either<Trust.Trusted, Rejection> => {
  const { material, peerIs } = policy
  if (peerIs === "server" && !isNamed(leaf, policy.nameWanted)) {
    return Either.left({ reason: "NameMismatch", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
  }
  const presented = { chain: Trust.read(chain), usage: peerIs }
  const trusted = (engine === "NotAsked" ? Trust.verified : Trust.vouched)(presented, material, now)
  if (typeof trusted === "string") {
    return Either.left({ reason: trusted })
  }
  const revocation = Revocation.check(trusted.certificates, material, now)
  return typeof revocation === "object"
    ? Either.left(revocation)
    : Either.right({ ...trusted, notAfter: Math.min(trusted.notAfter, revocation) })
}

/**
 * Who the peer is, or why it is rejected. `now` is the system's clock, in milliseconds since 1970. Never throws,
 * whatever was presented.
 */
export const verify = (presented: Presented, policy: Policy, now: number): Either.Either<Verified, Rejection> => {
  const { chain, engine } = presented
  const { material, peerIs } = policy
  const leaf = readLeaf(chain)
  if (leaf === undefined) {
    return Either.left({ reason: chain.length === 0 && peerIs === "client" ? "CertificateRequired" : "BadCertificate" })
  }
  const needsChain = verifiesChain(material)
  if (needsChain && typeof engine === "object") {
    return Either.left(engine)
  }
  const validity = Certificate.validityOf(leaf, now)
  if (validity !== "Valid") {
    return Either.left({ reason: validity })
  }
  const trusted = needsChain ? verifyChain(presented, leaf, policy, now) : Either.right(undefined)
  return Either.flatMap(trusted, (path) => {
    const pinned = Pinning.identityOf(
      material.pins,
      leaf,
      policy.peerIs === "server" ? [policy.nameWanted, policy.target] : undefined
    )
    if (Option.isNone(pinned)) {
      return Either.left<Rejection>({ reason: "PinMismatch", code: Pinning.seen(leaf) })
    }
    const verified = Trust.of(pinned.value, path)
    return policy.peerIs === "server" || mayTalk(policy.authorize, Option.some(verified.identity))
      ? Either.right(verified)
      : Either.left<Rejection>({ reason: "NotAuthorized" })
  })
}

/** Whether an authorizer lets a peer talk, which may have no identity; without an authorizer all may. */
export const mayTalk = (authorize: Authorizer.Authorizer | undefined, identity: Option.Option<Identity>): boolean =>
  authorize === undefined || Authorizer.check(authorize, identity)

/** Whether the engine has verified the chain in its handshake just now, or an open connection is verified again. */
export type Occasion = "handshake" | "open"

/** A chain that a peer has presented, and the credentials of the side that verifies it. */
export interface Presentation {
  readonly material: Tls
  /** DER, the leaf first; empty if the peer presented none. */
  readonly chain: ReadonlyArray<Uint8Array>
  /** The target or address, for errors. */
  readonly peer: string
}

/** The same for a client, which looks for a name. */
export interface ServerPresentation extends Presentation {
  /** The DNS name or IP address that the server's certificate must carry. */
  readonly nameWanted: string
}

/** The error of a peer that this side rejects. */
export const rejected = (
  { chain, peer }: Presentation,
  { code, reason }: Rejection,
  nameWanted?: string
): HandshakeFailed =>
  handshakeFailed({
    reason,
    refusedBy: "local",
    peer,
    certificate: Option.map(Option.fromNullable(readLeaf(chain)), Certificate.identityOf),
    nameWanted,
    ...(code === undefined ? {} : { error: { code } })
  })

const verifyOn = (
  occasion: Occasion,
  presentation: Presentation,
  policy: Policy
): Effect.Effect<Verified, HandshakeFailed> =>
  Effect.suspend(() => {
    const engine = occasion === "open" ? "NotAsked" : "Verified"
    return Either.match(verify({ chain: presentation.chain, engine }, policy, Date.now()), {
      onLeft: (rejection) =>
        Effect.fail(rejected(presentation, rejection, policy.peerIs === "server" ? policy.nameWanted : undefined)),
      onRight: (verified) => Effect.succeed(verified)
    })
  })

/** Verifies a server, for a client. Fails with `HandshakeFailed` (`refusedBy: "local"`) if the server is rejected. */
export const ofServer = (
  presentation: ServerPresentation,
  occasion: Occasion = "handshake"
): Effect.Effect<Verified, HandshakeFailed> => {
  const { material, nameWanted, peer } = presentation
  return verifyOn(occasion, presentation, { peerIs: "server", material, nameWanted, target: peer })
}

/**
 * Verifies a client, for a listener that asks for a certificate. Fails with `HandshakeFailed` (`refusedBy: "local"`) if
 * the client is rejected, with `NotAuthorized` if it is the authorizer that rejects it.
 */
export const ofClient = (
  presentation: Presentation,
  authorize: Authorizer.Authorizer | undefined,
  occasion: Occasion = "handshake"
): Effect.Effect<Verified, HandshakeFailed> =>
  verifyOn(occasion, presentation, { peerIs: "client", material: presentation.material, authorize })

/** Fails with `HandshakeFailed` (`NotAuthorized`) if the authorizer lets in nobody without an identity. */
export const unknownClient = (
  presentation: Presentation,
  authorize: Authorizer.Authorizer | undefined
): Effect.Effect<void, HandshakeFailed> =>
  Effect.suspend(() =>
    mayTalk(authorize, Option.none()) ? Effect.void : Effect.fail(rejected(presentation, { reason: "NotAuthorized" }))
  )

/** BoringSSL has one alert for a certificate that has expired and one that is not valid yet. */
const isEarly = (reason: HandshakeReason, leaf: X509Certificate) =>
  (reason === "Expired" || reason === "BadCertificate") && Certificate.validityOf(leaf, Date.now()) === "NotYetValid"

/** The error for a peer that this side's engine has refused, with an alert that says less than is known here. */
export const refusedHere = (presentation: Presentation, alert: number, nameWanted?: string): HandshakeFailed => {
  const reason = TlsAlert.fromAlert(alert)
  const leaf = readLeaf(presentation.chain)
  const isOther = (leaf: X509Certificate) =>
    reason === "BadCertificate" && nameWanted !== undefined && !isNamed(leaf, nameWanted)
  const known =
    leaf === undefined ? reason : isEarly(reason, leaf) ? "NotYetValid" : isOther(leaf) ? "NameMismatch" : reason
  return rejected(presentation, { reason: known }, nameWanted)
}

const isReason = (text: string): text is HandshakeReason => HandshakeReason.literals.some((reason) => reason === text)

/**
 * The error of a peer that has refused this side: its text says why, or else what its alert means for our certificate.
 */
export const refusedThere = (material: Tls, peer: string, alert: number, text: string): HandshakeFailed => {
  const reason = isReason(text) ? text : TlsAlert.fromAlert(alert)
  const isOurs = Option.exists(material.certificate, ({ chain }) => isEarly(reason, new X509Certificate(chain)))
  return refusedByPeer(material, peer, isOurs ? "NotYetValid" : reason, undefined)
}

/** The alert that tells a peer of a rejection which TLS itself knows nothing of (RFC 8446, section 6.2). */
export const alertOf = ({ reason }: HandshakeFailed): number => {
  switch (reason) {
    case "Revoked":
      return 44
    case "Expired":
      return 45
    case "NotAuthorized":
      return 49
    case "CertificateRequired":
      return 116
    default:
      return 42
  }
}
