/** What one side of a handshake presents, and whom it trusts. */
import * as Effect from "effect/Effect"
import { type Credentials, Pins } from "effect-transport"
import { type authority, rawMaterial } from "../fixtures/certificates.js"

export type Pki = Effect.Effect.Success<typeof authority>

/** What one side is. */
export type Side = (pki: Pki) => Effect.Effect<Credentials.Tls>

export const good: Side = (pki) => Effect.succeed(rawMaterial(pki.good, pki.trusted.ca))
export const goodClient: Side = (pki) => Effect.succeed(rawMaterial(pki.client, pki.trusted.ca))

/** The side that shows the certificate. */
export const presenting =
  (which: keyof Omit<Pki, "trusted" | "other">): Side =>
  (pki) =>
    Effect.succeed(rawMaterial(pki[which], pki.trusted.ca))

export const nobody: Side = (pki) => Effect.succeed(rawMaterial(undefined, pki.trusted.ca))

/** The side that knows that the certificate was revoked. */
export const revoking =
  (side: Side, which: "good" | "client" | "selfSigned"): Side =>
  (pki) =>
    Effect.gen(function* () {
      // On a list of this test: the authority is shared.
      const crl = yield* pki.trusted.crl({ revoked: [pki[which]] })
      return { ...(yield* side(pki)), crl: [crl] }
    })

/** The side that pins a certificate of the authority, in addition to the chain or instead of it. */
export const pinning =
  (side: Side, which: keyof Omit<Pki, "trusted" | "other">, mode: "additional" | "instead" = "additional"): Side =>
  (pki) =>
    Effect.gen(function* () {
      const pins = yield* Pins.make({ mode, all: [yield* Pins.publicKey(pki[which].cert)] })
      return { ...(yield* side(pki)), pins, ...(mode === "instead" ? { ca: [] } : {}) }
    }).pipe(Effect.orDie)
