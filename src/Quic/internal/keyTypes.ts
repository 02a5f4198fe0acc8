/** The keys that the engine knows. */
import { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Tls } from "../../Credentials/Credentials.js"
import { blocks } from "../../Credentials/Pem.js"
import { issuersOf } from "../../Credentials/Trust.js"
import { CredentialsError } from "../../Transport/TransportError.js"

const isUnknown = (pem: string): boolean => {
  try {
    return new X509Certificate(pem).publicKey.asymmetricKeyType === "rsa-pss"
  } catch {
    return false
  }
}

/** BoringSSL signs with RSA-PSS, and does not know keys that are for it alone: every handshake would fail. */
export const check = (material: Tls): Effect.Effect<void, CredentialsError> => {
  const chain = Option.match(material.certificate, {
    onNone: () => [],
    onSome: ({ chain }) => (blocks(chain) ?? []).map(({ text }) => text)
  })
  const part = chain.some(isUnknown) ? "cert" : issuersOf(material).some(isUnknown) ? "ca" : undefined
  return part === undefined
    ? Effect.void
    : Effect.fail(
        new CredentialsError({
          reason: "Malformed",
          part,
          message: `${part}: a key of the type RSA-PSS, which the QUIC engine does not know; one of the type RSA signs with RSA-PSS too`
        })
      )
}
