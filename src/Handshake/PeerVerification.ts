/**
 * What is left to decide about a peer where the handshake is not Node's: the engine has verified the chain, its dates,
 * purpose and signatures, and that the peer has the key. Names, revocation, pins and authorizers are judged here, by the
 * rules of `TlsHandshake`.
 */
import { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
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

/** What a verification has found. */
export interface Verified {
  readonly identity: Identity
  /** Until when that holds if nothing else changes, in milliseconds since 1970. */
  readonly validUntil: number
}

/** Whether the engine has verified the chain in its handshake, or a connection is judged again that is open. */
export type Occasion = "handshake" | "open"

/** What a peer has shown, and who wants to know. */
export interface Shown {
  readonly material: Tls
  /** DER, the leaf first; empty where the peer has shown none. */
  readonly chain: ReadonlyArray<Buffer>
  /** The target or address, for errors. */
  readonly peer: string
}

/** What a client looks for. */
export interface ServerShown extends Shown {
  /** The DNS name or IP address that the server's certificate must carry. */
  readonly nameWanted: string
}

/** Whether the engine has to verify the chain: with pins instead of it the pins are all the trust there is. */
export const verifiesChain = ({ pins }: Tls): boolean => pins?.mode !== "instead"

interface Refusal {
  readonly reason: HandshakeReason
  readonly code?: string | undefined
}

const leafOf = ({ chain: [der] }: Shown): Option.Option<X509Certificate> => {
  try {
    return Option.map(Option.fromNullable(der), (der) => new X509Certificate(der))
  } catch {
    return Option.none()
  }
}

const refused = (shown: Shown, { code, reason }: Refusal, nameWanted?: string): HandshakeFailed =>
  handshakeFailed({
    reason,
    refusedBy: "local",
    peer: shown.peer,
    certificate: Option.map(leafOf(shown), Certificate.identityOf),
    nameWanted,
    ...(code === undefined ? {} : { error: { code } })
  })

const judge = (
  shown: Shown,
  wanted: ReadonlyArray<string> | undefined,
  nameWanted: string | undefined,
  occasion: Occasion
): Effect.Effect<Verified, HandshakeFailed> =>
  Effect.gen(function* () {
    const fail = (refusal: Refusal) => Effect.fail(refused(shown, refusal, nameWanted))
    const { chain, material } = shown
    const leaf = Option.getOrUndefined(leafOf(shown))
    let trusted: Trust.Trusted | undefined
    if (leaf === undefined) {
      return yield* fail({
        reason: chain.length === 0 && nameWanted === undefined ? "CertificateRequired" : "BadCertificate"
      })
    }
    const validity = Certificate.validityOf(leaf)
    if (validity !== "Valid") {
      return yield* fail({ reason: validity })
    }
    if (verifiesChain(material)) {
      if (nameWanted !== undefined && ServerName.check(nameWanted, leaf.raw) !== undefined) {
        return yield* fail({ reason: "NameMismatch", code: "ERR_TLS_CERT_ALTNAME_INVALID" })
      }
      const presented = { chain: Trust.read(chain), usage: nameWanted === undefined ? "client" : "server" } as const
      const found = (occasion === "open" ? Trust.verified : Trust.vouched)(presented, material)
      if (typeof found === "string") {
        return yield* fail({ reason: found })
      }
      const revocation = Revocation.check(found.certificates, material)
      if (typeof revocation === "object") {
        return yield* fail(revocation)
      }
      trusted = { ...found, notAfter: Math.min(found.notAfter, revocation) }
    }
    const pinned = Pinning.identityOf(material.pins, leaf, wanted)
    return Option.isNone(pinned)
      ? yield* fail({ reason: "PinMismatch", code: Pinning.seen(leaf) })
      : Trust.of(pinned.value, trusted)
  })

/** Who the server is, for a client. */
export const ofServer = (
  shown: ServerShown,
  occasion: Occasion = "handshake"
): Effect.Effect<Verified, HandshakeFailed> => judge(shown, [shown.nameWanted, shown.peer], shown.nameWanted, occasion)

/** Who the client is, for a listener that asks for a certificate, and whether it may talk. */
export const ofClient = (
  shown: Shown,
  authorize: Authorizer.Authorizer | undefined,
  occasion: Occasion = "handshake"
): Effect.Effect<Verified, HandshakeFailed> =>
  Effect.filterOrFail(
    judge(shown, undefined, undefined, occasion),
    ({ identity }) => authorize === undefined || Authorizer.check(authorize, Option.some(identity)),
    () => refused(shown, { reason: "NotAuthorized" })
  )

/** The refusal of a peer without an identity, where the authorizer lets nobody in whom it does not know. */
export const unknownClient = (
  shown: Shown,
  authorize: Authorizer.Authorizer | undefined
): Effect.Effect<void, HandshakeFailed> =>
  authorize === undefined || Authorizer.check(authorize, Option.none())
    ? Effect.void
    : Effect.fail(refused(shown, { reason: "NotAuthorized" }))

/** BoringSSL has one alert for what is over and what has not begun. */
const isEarly = (reason: HandshakeReason, leaf: X509Certificate) =>
  (reason === "Expired" || reason === "BadCertificate") && Certificate.validityOf(leaf) === "NotYetValid"

/** Why the engine of this side has refused the peer, with an alert that says less than is known here. */
export const refusedHere = (shown: Shown, alert: number, nameWanted?: string): HandshakeFailed => {
  const reason = TlsAlert.fromAlert(alert)
  const leaf = Option.getOrUndefined(leafOf(shown))
  const isOther = (leaf: X509Certificate) =>
    reason === "BadCertificate" && nameWanted !== undefined && ServerName.check(nameWanted, leaf.raw) !== undefined
  const known =
    leaf === undefined ? reason : isEarly(reason, leaf) ? "NotYetValid" : isOther(leaf) ? "NameMismatch" : reason
  return refused(shown, { reason: known }, nameWanted)
}

const isReason = (text: string): text is HandshakeReason => HandshakeReason.literals.some((reason) => reason === text)

/** Why the peer has refused this side: what it says, or else what its alert means for the certificate of this side. */
export const refusedThere = (material: Tls, peer: string, alert: number, text: string): HandshakeFailed => {
  const reason = isReason(text) ? text : TlsAlert.fromAlert(alert)
  const isOurs = Option.exists(material.certificate, ({ chain }) => isEarly(reason, new X509Certificate(chain)))
  return refusedByPeer(material, peer, isOurs ? "NotYetValid" : reason, undefined)
}

/** The alert that tells a peer of a refusal which TLS knows nothing of (RFC 8446, section 6.2). */
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
