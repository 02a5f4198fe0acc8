/** A certificate in words. */
import type { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import { Pins, type TransportError } from "effect-transport"
import { printable } from "../../shared/text.js"
import { keyKindOf } from "./contents.js"
import type { List } from "./list.js"

/** What `show` and `check` tell of a certificate. */
export interface Description {
  readonly subject: string
  readonly issuer: string
  readonly serial: string
  readonly isCa: boolean
  readonly names: ReadonlyArray<string>
  readonly usages: ReadonlyArray<string>
  readonly notBefore: string
  readonly notAfter: string
  readonly key: string
  readonly fingerprint: string
  readonly pins: { readonly certificate: string; readonly publicKey: string }
}

const usageNames: { readonly [oid: string]: string } = {
  "1.3.6.1.5.5.7.3.1": "server",
  "1.3.6.1.5.5.7.3.2": "client"
}

const oneName = (text: string): string => text.replaceAll("\n", ", ")

const date = (text: string): string => {
  const millis = Date.parse(text)
  return Number.isNaN(millis) ? text : new Date(millis).toISOString()
}

export const describe = (certificate: X509Certificate): Effect.Effect<Description, TransportError.CredentialsError> =>
  Effect.gen(function* () {
    const pem = certificate.toString()
    const usages: ReadonlyArray<string> | undefined = certificate.keyUsage
    return {
      subject: oneName(certificate.subject ?? ""),
      issuer: oneName(certificate.issuer ?? ""),
      serial: certificate.serialNumber.toLowerCase(),
      isCa: certificate.ca,
      names: certificate.subjectAltName === undefined ? [] : certificate.subjectAltName.split(", "),
      usages: usages === undefined ? ["any"] : usages.map((oid) => usageNames[oid] ?? oid),
      notBefore: date(certificate.validFrom),
      notAfter: date(certificate.validTo),
      key: keyKindOf(certificate),
      fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
      pins: {
        certificate: Pins.format(yield* Pins.certificate(pem)),
        publicKey: Pins.format(yield* Pins.publicKey(pem))
      }
    }
  })

/** As lines of text. */
export const lines = (one: Description): ReadonlyArray<string> =>
  [
    `${one.isCa ? "CA" : "certificate"} ${one.subject === "" ? "without a subject" : one.subject}`,
    `  issuer   ${one.issuer}${one.issuer === one.subject ? " (itself)" : ""}`,
    ...(one.names.length === 0 ? (one.isCa ? [] : ["  names    none"]) : [`  names    ${one.names.join(", ")}`]),
    ...(one.isCa ? [] : [`  for      ${one.usages.join(", ")}`]),
    `  valid    ${one.notBefore.slice(0, 10)} to ${one.notAfter.slice(0, 10)}`,
    `  key      ${one.key}`,
    `  serial   ${one.serial}`,
    `  sha256   ${one.fingerprint}`
  ].map(printable)

/** A revocation list as lines of text. */
export const listLines = ({ issuer, nextUpdate, serials, thisUpdate }: List): ReadonlyArray<string> =>
  [
    `revocation list of ${issuer}`,
    `  current  ${thisUpdate.toISOString().slice(0, 10)} to ${nextUpdate?.toISOString().slice(0, 10) ?? "no end, so that it is refused"}`,
    `  revoked  ${serials.length === 0 ? "none" : serials.slice(0, 20).join(", ")}${serials.length > 20 ? `, and ${serials.length - 20} more` : ""}`
  ].map(printable)
