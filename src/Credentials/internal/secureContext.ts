/** The TLS settings of both sides and of every transport. */
import { constants } from "node:crypto"
import * as tls from "node:tls"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { issuersOf } from "../Trust.js"
import type { Tls } from "./material.js"

/**
 * TLS 1.3 has no others than these (RFC 8446, appendix B.4); of TLS 1.2 those with forward secrecy and without CBC (RFC
 * 9325).
 */
const ciphers = [
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "TLS_AES_128_GCM_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305"
].join(":")

/**
 * - TLS 1.2 at least: older versions are not safe, and gRPC requires it.
 * - `ca` is always given, or Node would trust the public CAs of the system.
 * - No revocation lists: `Revocation` checks them.
 * - No tickets: a resumed session skips the verification of both certificates, so that a peer whose certificate has
 *   expired or lost its issuer's trust since would get in. Connections here live long; a full handshake costs little.
 * - No renegotiation (TLS 1.2): it lets a client burn the server's time and change its certificate in mid-connection.
 */
export const contextOptions = (material: Tls): tls.SecureContextOptions => ({
  minVersion: "TLSv1.2",
  ciphers,
  ca: [...issuersOf(material)],
  secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  ...Option.match(material.certificate, {
    onNone: () => ({}),
    onSome: ({ chain, key }) => ({ cert: chain, key: Redacted.value(key) })
  })
})

const contexts = new WeakMap<Tls, tls.SecureContext>()

/**
 * The TLS context of the material, made once. Throws if OpenSSL refuses a certificate that it can read, for instance
 * because its key is too short.
 */
export const secureContext = (material: Tls): tls.SecureContext => {
  const known = contexts.get(material)
  if (known !== undefined) {
    return known
  }
  const context = tls.createSecureContext(contextOptions(material))
  contexts.set(material, context)
  return context
}
