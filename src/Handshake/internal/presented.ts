/** What a peer of a TLS socket has presented to prove who it is. */
import { X509Certificate } from "node:crypto"
import type * as tls from "node:tls"
import * as Option from "effect/Option"
import * as Certificate from "../../Credentials/internal/certificate.js"
import { maxLength } from "../../Credentials/internal/chain.js"
import type { Identity } from "../../Transport/Peer.js"
import type { Presented } from "../PeerVerification.js"
import * as TlsAlert from "../TlsAlert.js"

interface Links {
  readonly raw?: Buffer
  readonly issuerCertificate?: Links
}

/**
 * The leaf and the issuers above it, as far as the peer has sent them or this side knows them.
 *
 * Not by `getPeerX509Certificate`: at a client, before Node 26, that takes the certificate out of the connection, and
 * whoever asks next finds none.
 */
const chainOf = (socket: tls.TLSSocket): ReadonlyArray<Buffer> => {
  try {
    const leaf: Links = socket.getPeerCertificate(true) ?? {}
    const chain: Array<Buffer> = []
    for (let link: Links | undefined = leaf; link?.raw !== undefined && chain.length < maxLength; ) {
      chain.push(link.raw)
      link = link.issuerCertificate === link ? undefined : link.issuerCertificate
    }
    return chain
  } catch {
    // A chain that Node can't read is no chain. A throw in an event of the socket would end the process.
    return []
  }
}

/** The certificates that the peer has presented, and what OpenSSL says of them. */
export const presentedBy = (socket: tls.TLSSocket): Presented => {
  const code = String(socket.authorizationError)
  return {
    chain: chainOf(socket),
    engine: socket.authorized === true ? "Verified" : { reason: TlsAlert.fromVerifyCode(code), code }
  }
}

/**
 * The identity in a certificate (DER), whether or not it is trusted; none if there is no certificate or it can't be
 * read.
 */
export const identityIn = (der: Uint8Array | undefined): Option.Option<Identity> => {
  try {
    return Option.map(Option.fromNullable(der), (der) => Certificate.identityOf(new X509Certificate(der)))
  } catch {
    return Option.none()
  }
}

/** The identity that the peer claims, whether or not it is trusted. */
export const identityOf = (socket: tls.TLSSocket): Option.Option<Identity> => identityIn(chainOf(socket)[0])
