/** The errors of a handshake that failed. */
import * as Option from "effect/Option"
import type { Tls } from "../../Credentials/internal/material.js"
import { codeOf } from "../../Credentials/internal/nodeError.js"
import type { Identity } from "../../Transport/Peer.js"
import { HandshakeFailed, type HandshakeReason, Unavailable } from "../../Transport/TransportError.js"
import type * as TlsAlert from "../TlsAlert.js"

/** Why a handshake failed, and the evidence. */
export interface Failure extends TlsAlert.Refusal {
  readonly peer: string
  /** Its code becomes part of the message. */
  readonly error?: unknown
  /** The certificate that was refused. */
  readonly certificate?: Option.Option<Identity> | undefined
  readonly nameWanted?: string | undefined
}

const phrases: { readonly [reason in HandshakeReason]: string } = {
  UntrustedIssuer: "the certificate does not lead to a trusted CA",
  Expired: "the certificate has expired",
  NotYetValid: "the certificate is not valid yet",
  NameMismatch: "the certificate is for another name",
  PinMismatch: "the certificate is not among those pinned",
  Revoked: "the certificate is revoked",
  InvalidPurpose: "the certificate may not be used on this side of TLS",
  BadCertificate: "the certificate can't be used",
  CertificateRequired: "a certificate is required",
  NotAuthorized: "the holder of the certificate may not connect",
  NoCommonProtocol: "the two have no protocol in common",
  Refused: "the handshake was broken off"
}

export const handshakeFailed = ({
  certificate,
  error,
  nameWanted,
  peer,
  reason,
  refusedBy
}: Failure): HandshakeFailed => {
  const identity = Option.getOrUndefined(certificate ?? Option.none())
  const side = refusedBy === "local" ? "this side" : "the peer"
  const code = codeOf(error)
  const message = `TLS with ${peer}, refused by ${side}: ${phrases[reason]}`
  return new HandshakeFailed(
    {
      reason,
      refusedBy,
      peer,
      message: code === "" ? message : `${message} (${code})`,
      ...(identity === undefined ? {} : { fingerprint: identity.fingerprint }),
      // A peer's certificate can carry a date that is none.
      ...(identity === undefined || Number.isNaN(identity.notAfter.getTime()) ? {} : { notAfter: identity.notAfter }),
      ...(nameWanted === undefined ? {} : { nameWanted })
    },
    // Nothing in a peer's certificate may make this throw: it runs in events of a socket.
    { disableValidation: true }
  )
}

const certificateReasons: ReadonlyArray<HandshakeReason> = [
  "UntrustedIssuer",
  "Expired",
  "NotYetValid",
  "Revoked",
  "InvalidPurpose",
  "BadCertificate",
  "PinMismatch",
  "NotAuthorized"
]

/**
 * The peer has said why, in an alert or in a transport's own protocol. If it is about a certificate, it is about ours.
 */
export const refusedByPeer = (material: Tls, peer: string, reason: HandshakeReason, error?: unknown): HandshakeFailed =>
  handshakeFailed({
    reason,
    refusedBy: "remote",
    peer,
    error,
    certificate: certificateReasons.includes(reason)
      ? Option.map(material.certificate, ({ identity }) => identity)
      : Option.none()
  })

/** Bytes were changed on their way, in either direction. */
export const damaged = (peer: string, cause: unknown): Unavailable =>
  new Unavailable({
    message: `TLS with ${peer} was damaged on its way (${codeOf(cause)})`,
    peer,
    processed: "no",
    cause
  })

/** The connection ended before a byte of TLS had been received. */
export const vanished = (peer: string, cause?: unknown): Unavailable =>
  new Unavailable({
    message: `${peer}: the connection ended before TLS began`,
    peer,
    processed: "no",
    ...(cause === undefined ? {} : { cause })
  })

/**
 * The connection ended without an alert: nobody was there, the peer hung up during the handshake, or the network
 * failed.
 */
export const broken = (peer: string, answered: boolean, error?: unknown): HandshakeFailed | Unavailable =>
  answered && ["", "ECONNRESET", "ECONNABORTED", "EPIPE"].includes(codeOf(error))
    ? brokenOff(peer, error)
    : vanished(peer, error)

/** The peer hung up during the handshake without saying why. */
export const brokenOff = (peer: string, error: unknown): HandshakeFailed =>
  handshakeFailed({ reason: "Refused", refusedBy: "remote", peer, error })
