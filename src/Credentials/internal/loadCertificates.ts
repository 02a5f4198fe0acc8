/** Loads certificates, and puts a chain in order. */
import { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { failure, placeOf, type Read } from "../Pem.js"
import { identityOf, validityOf } from "./certificate.js"
import { because, blocksOf } from "./pemBlocks.js"

const certificateLabels = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"]

/**
 * The certificates of PEM or the one of DER, each read by OpenSSL; at least one, or it fails with `Malformed`. The
 * purposes that OpenSSL writes into a `TRUSTED CERTIFICATE` are dropped, with a warning.
 */
export const certificates = (source: Read): Effect.Effect<ReadonlyArray<X509Certificate>, CredentialsError> =>
  Effect.gen(function* () {
    const all = yield* blocksOf(source, "CERTIFICATE")
    const found = all.filter(({ label }) => certificateLabels.includes(label))
    if (found.length === 0) {
      const others = [...new Set(all.map(({ label }) => label))].join(", ")
      return yield* failure(source, "Malformed", `holds no PEM certificate${others === "" ? "" : `, but ${others}`}`)
    }
    return yield* Effect.forEach(found, ({ label, text }, index) =>
      Effect.gen(function* () {
        const certificate = yield* Effect.try({
          try: () => {
            const certificate = new X509Certificate(text.replaceAll(label, "CERTIFICATE"))
            if (Number.isNaN(Date.parse(certificate.validFrom) + Date.parse(certificate.validTo))) {
              throw new Error("no validity")
            }
            return certificate
          },
          catch: (error) =>
            failure(source, "Malformed", `certificate ${index + 1} of ${found.length} can't be read${because(error)}`)
        })
        if (label === "TRUSTED CERTIFICATE") {
          yield* Effect.logWarning(
            `credentials: ignoring the trust settings of certificate ${index + 1} of ${placeOf(source)}`
          )
        }
        return certificate
      })
    )
  })

/** The leaf, then each certificate after the one that it has issued; once each, those that have issued none last. */
export const inOrder = (
  leaf: X509Certificate,
  others: ReadonlyArray<X509Certificate>
): ReadonlyArray<X509Certificate> => {
  const rest = new Map([leaf, ...others].map((each) => [each.fingerprint256, each]))
  const ordered: Array<X509Certificate> = []
  for (let next: X509Certificate | undefined = leaf; next !== undefined; ) {
    const subject: X509Certificate = next
    ordered.push(subject)
    rest.delete(subject.fingerprint256)
    next = [...rest.values()].find((each) => subject.checkIssued(each))
  }
  return [...ordered, ...rest.values()]
}

/** Warns of a certificate that is not valid now; a chain may have another one. */
export const warnIfOutdated = (kind: string) => (certificate: X509Certificate) => {
  const validity = validityOf(certificate, Date.now())
  return validity === "Valid"
    ? Effect.void
    : Effect.logWarning(
        `credentials: using a certificate of the ${kind} that is not valid now; peers may refuse it`
      ).pipe(
        Effect.annotateLogs({
          subject: identityOf(certificate).subject,
          notBefore: certificate.validFrom,
          notAfter: certificate.validTo
        })
      )
}
