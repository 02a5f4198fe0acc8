/** Loads a private key, encrypted or not, in whatever form tools write one. */
import { createPrivateKey, type KeyObject, type X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { derOf, failure, type Read } from "../Pem.js"
import { codeOf } from "./nodeError.js"
import { because, blocksOf } from "./pemBlocks.js"
import * as Pkcs12 from "./pkcs12.js"

/**
 * The one private key of a source. Fails with `Malformed` if there is none or another one, or if OpenSSL can't read it,
 * and with `WrongPassphrase` if it can't be decrypted.
 */
export const privateKey = (
  source: Read,
  passphrase: string | Redacted.Redacted | undefined
): Effect.Effect<KeyObject, CredentialsError> =>
  Effect.gen(function* () {
    const [block, ...others] = (yield* blocksOf(source, keyLabelOf(source))).filter(({ label }) =>
      label.endsWith("PRIVATE KEY")
    )
    if (block === undefined) {
      return yield* failure(source, "Malformed", "holds no PEM private key")
    }
    if (others.length > 0) {
      return yield* failure(source, "Malformed", "holds more than one private key")
    }
    const encrypted = block.label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type: *4, *ENCRYPTED$/m.test(block.text)
    if (encrypted && passphrase === undefined) {
      return yield* failure(source, "WrongPassphrase", "is encrypted, and no passphrase is given")
    }
    const secret = (Redacted.isRedacted(passphrase) ? Redacted.value(passphrase) : passphrase) ?? ""
    const key =
      block.label === "ENCRYPTED PRIVATE KEY"
        ? ({ key: yield* decrypted(source, derOf(block.text), secret), format: "der", type: "pkcs8" } as const)
        : ({ key: block.text, format: "pem", ...(encrypted ? { passphrase: secret } : {}) } as const)
    return yield* Effect.try({
      try: () => createPrivateKey(key),
      catch: (error) =>
        // With the headers of old PEM a wrong passphrase leaves bytes that can look like anything.
        "passphrase" in key && codeOf(error) !== "ERR_OSSL_EVP_UNSUPPORTED"
          ? failure(source, "WrongPassphrase", "can't be decrypted with the passphrase given")
          : failure(source, "Malformed", `can't be read as a private key${because(error)}`)
    })
  })

const decrypted = (source: Read, der: Buffer, secret: string): Effect.Effect<Buffer, CredentialsError> =>
  Effect.tryPromise({
    try: () => Pkcs12.decryptKey(der, secret),
    catch: (error) =>
      error instanceof Pkcs12.Pkcs12Problem
        ? failure(source, error.reason, error.text)
        : failure(source, "Malformed", "can't be read")
  })

/** The PEM label of a key in DER: PKCS#8, encrypted or not, PKCS#1 and SEC 1 differ in their first element. */
const keyLabelOf = (source: Read): string => {
  const der = Buffer.from(source.text.slice(0, 16), "latin1")
  const first = 2 + ((der[1] ?? 0) > 0x80 ? (der[1] ?? 0) - 0x80 : 0)
  return der[first] === 0x30
    ? "ENCRYPTED PRIVATE KEY"
    : der[first + 2] === 1
      ? "EC PRIVATE KEY"
      : der[first + 3] === 0x30
        ? "PRIVATE KEY"
        : "RSA PRIVATE KEY"
}

/** Whether the key is that of the certificate. */
export const belongsTo = (key: KeyObject, certificate: X509Certificate): boolean => {
  try {
    return certificate.checkPrivateKey(key)
  } catch {
    return false
  }
}
