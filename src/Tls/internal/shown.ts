/** Who a peer has shown to be, and whether it is let through. */
import { X509Certificate } from "node:crypto"
import type * as tls from "node:tls"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { Identity } from "../../Transport/Peer.js"
import * as TlsAlert from "../TlsAlert.js"
import * as Certificate from "./certificate.js"
import type { Tls } from "./material.js"
import * as Pinning from "./pinning.js"
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
}

export const shownBy = (socket: tls.TLSSocket): Option.Option<Shown> => {
  try {
    const { raw }: { readonly raw?: Buffer } = socket.getPeerCertificate() ?? {}
    return Option.map(Option.fromNullable(raw), (der) => {
      const certificate = new X509Certificate(der)
      return { certificate, identity: Certificate.identityOf(certificate) }
    })
  } catch {
    // What can't be read is not shown. A throw in an event of the socket would end the process.
    return Option.none()
  }
}

/** What speaks against the peer's certificate. */
export type Objection = Pick<Failure, "error" | "reason">

/**
 * Who the peer is, or what speaks against it: here all is decided that TLS has left open. `wanted` are the names that a
 * client looks for.
 */
export const judge = (
  socket: tls.TLSSocket,
  { certificate, identity }: Shown,
  { pins }: Tls,
  wanted?: ReadonlyArray<string>
): Either.Either<Identity, Objection> => {
  if (pins?.mode === "instead") {
    const validity = Certificate.validityOf(certificate)
    if (validity !== "Valid") {
      return Either.left({ reason: validity })
    }
  } else if (socket.authorized !== true) {
    const code = String(socket.authorizationError)
    return Either.left({ reason: TlsAlert.fromVerifyCode(code), error: { code } })
  }
  return pins === undefined
    ? Either.right(identity)
    : Either.fromOption(Pinning.check(pins, certificate, wanted), () => ({
        reason: "PinMismatch",
        error: { code: Pinning.seen(certificate) }
      }))
}
