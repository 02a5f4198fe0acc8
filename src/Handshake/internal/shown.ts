/** Who a peer has shown to be, and whether it is let through. */
import { X509Certificate } from "node:crypto"
import type * as tls from "node:tls"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Certificate from "../../Credentials/internal/certificate.js"
import { maxLength } from "../../Credentials/internal/chain.js"
import type { Tls } from "../../Credentials/internal/material.js"
import * as Pinning from "../../Credentials/internal/pinning.js"
import * as Revocation from "../../Credentials/internal/revocation.js"
import * as Trust from "../../Credentials/Trust.js"
import type { Identity } from "../../Transport/Peer.js"
import * as TlsAlert from "../TlsAlert.js"
import type { Failure } from "./refusals.js"

/**
 * The identity in the certificate that the peer has shown, whether or not it is trusted.
 *
 * Not by `getPeerX509Certificate`: at a client, before Node 26, that takes the certificate out of the connection, and
 * whoever asks next finds none.
 */
export const identityOf = (socket: tls.TLSSocket): Option.Option<Identity> =>
  Option.map(shownBy(socket), ({ identity }) => identity)

/** A certificate that a peer has shown. */
export interface Shown {
  readonly certificate: X509Certificate
  readonly identity: Identity
  /** DER, the leaf first: what the peer has sent as far as it forms a chain, with what this side knows of it. */
  readonly chain: ReadonlyArray<Buffer>
}

interface Links {
  readonly raw?: Buffer
  readonly issuerCertificate?: Links
}

const chainOf = (leaf: Links): ReadonlyArray<Buffer> => {
  const chain: Array<Buffer> = []
  for (let link: Links | undefined = leaf; link?.raw !== undefined && chain.length < maxLength; ) {
    chain.push(link.raw)
    link = link.issuerCertificate === link ? undefined : link.issuerCertificate
  }
  return chain
}

export const shownBy = (socket: tls.TLSSocket): Option.Option<Shown> => {
  try {
    const leaf: Links = socket.getPeerCertificate(true) ?? {}
    return Option.map(Option.fromNullable(leaf.raw), (der) => {
      const certificate = new X509Certificate(der)
      return { certificate, identity: Certificate.identityOf(certificate), chain: chainOf(leaf) }
    })
  } catch {
    // What can't be read is not shown. A throw in an event of the socket would end the process.
    return Option.none()
  }
}

/** What speaks against the peer's certificate. */
export type Objection = Pick<Failure, "error" | "reason">

/** Who the peer is, and until when that holds if nothing else changes, in milliseconds since 1970. */
export interface Judged {
  readonly identity: Identity
  readonly validUntil: number
}

/**
 * Who the peer is, or what speaks against it: here all is decided that TLS has left open. `wanted` are the names that a
 * client looks for; a listener wants none.
 */
export const judge = (
  socket: tls.TLSSocket,
  { certificate, chain }: Shown,
  material: Tls,
  wanted?: ReadonlyArray<string>
): Either.Either<Judged, Objection> => {
  const { pins } = material
  let trusted: Trust.Trusted | undefined
  if (pins?.mode === "instead") {
    const validity = Certificate.validityOf(certificate)
    if (validity !== "Valid") {
      return Either.left({ reason: validity })
    }
  } else if (socket.authorized !== true) {
    const code = String(socket.authorizationError)
    return Either.left({ reason: TlsAlert.fromVerifyCode(code), error: { code } })
  } else {
    const usage = wanted === undefined ? "client" : "server"
    const found = Trust.vouched({ chain: Trust.read(chain), usage }, material)
    if (typeof found === "string") {
      return Either.left({ reason: found })
    }
    const revocation = Revocation.check(found.certificates, material)
    if (typeof revocation === "object") {
      return Either.left({ reason: revocation.reason, error: { code: revocation.code } })
    }
    trusted = { ...found, notAfter: Math.min(found.notAfter, revocation) }
  }
  return Option.match(Pinning.identityOf(pins, certificate, wanted), {
    onNone: () => Either.left({ reason: "PinMismatch", error: { code: Pinning.seen(certificate) } }),
    onSome: (identity) => Either.right(Trust.of(identity, trusted))
  })
}
