/** The identity and validity in a certificate. */
import type { X509Certificate } from "node:crypto"
import * as Option from "effect/Option"
import type { Identity } from "../../Transport/Peer.js"

/**
 * One name of Node's `subjectAltName`. A value that could be mistaken for several is quoted as JSON there
 * (CVE-2021-44532), so that no other holds a comma or a quote.
 */
const altName = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y

/**
 * The names behind Node's `subjectAltName`, each as `kind:value` with the quoting undone. Text that does not read as
 * such a list has no names at all: nobody is admitted by a name that can't be read.
 */
export const parseAltNames = (text: string): ReadonlyArray<string> => {
  const names: Array<string> = []
  altName.lastIndex = 0
  for (let end = 0; end < text.length; end = altName.lastIndex) {
    const match = altName.exec(text)
    const value = unquote(match?.[2])
    if (match === null || value === undefined) {
      return []
    }
    names.push(`${match[1]}:${value}`)
  }
  return names
}

const unquote = (value: string | undefined): string | undefined => {
  if (value === undefined || !value.startsWith('"')) {
    return value
  }
  try {
    return String(JSON.parse(value))
  } catch {
    return undefined
  }
}

const spiffe = /^spiffe:\/\/[a-z0-9._-]{1,255}((?:\/[A-Za-z0-9._-]+)*)$/

/**
 * The SPIFFE id among the names: the only URI, with a well-formed trust domain and path.
 *
 * Source: SPIFFE-ID.md, section 2; X509-SVID.md, section 2.
 */
export const spiffeIdOf = (names: ReadonlyArray<string>): Option.Option<string> => {
  const uris = names.filter((name) => name.startsWith("URI:")).map((name) => name.slice("URI:".length))
  const [uri] = uris
  if (uris.length !== 1 || uri === undefined || uri.length > 2048) {
    return Option.none()
  }
  const match = spiffe.exec(uri)
  const dots = match?.[1]?.split("/").some((segment) => segment === "." || segment === "..")
  return match === null || dots === true ? Option.none() : Option.some(uri)
}

/** SHA-256 of the certificate's DER, lower case hex without colons. */
export const fingerprintOf = (certificate: X509Certificate): string =>
  certificate.fingerprint256.replaceAll(":", "").toLowerCase()

/** The identity that a certificate claims. Whether that is true is for the verification to decide. */
export const identityOf = (certificate: X509Certificate): Identity => {
  // Undefined without the extension, and null, against its type, where OpenSSL can't read it.
  const subjectAltNames = parseAltNames(certificate.subjectAltName ?? "")
  return {
    fingerprint: fingerprintOf(certificate),
    // Node writes one attribute a line, with commas and line breaks in values escaped.
    subject: (certificate.subject ?? "").replaceAll("\n", ", "),
    subjectAltNames,
    spiffeId: spiffeIdOf(subjectAltNames),
    notAfter: new Date(certificate.validTo),
    trustAnchor: Option.none()
  }
}

/**
 * Whether the certificate is valid at a time of the system's clock, which is OpenSSL's too; Effect's may be another.
 */
export const validityOf = (certificate: X509Certificate, now: number): "Valid" | "Expired" | "NotYetValid" => {
  return now > Date.parse(certificate.validTo)
    ? "Expired"
    : now < Date.parse(certificate.validFrom)
      ? "NotYetValid"
      : "Valid"
}
