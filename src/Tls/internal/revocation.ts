/**
 * Whether a chain that was verified elsewhere holds a certificate that its issuer has revoked, by the rules that OpenSSL
 * has with lists for all: every CA in the chain needs one that is signed by it and not out of date. OpenSSL itself is given
 * none: it would read them anew, in one go, for each context that is made.
 *
 * Source: RFC 5280, section 6.3.3.
 */
import { X509Certificate } from "node:crypto"
import type { HandshakeReason } from "../../Transport/TransportError.js"
import * as Crl from "./crl.js"
import type { Tls } from "./material.js"
import { derOf } from "./pem.js"
import * as Steps from "./steps.js"
import { issuersOf } from "./trust.js"

const lists = new WeakMap<Tls, ReadonlyArray<Crl.Crl>>()

/** Keeps the lists of a material that have been read already. */
export const remember = (material: Tls, read: ReadonlyArray<Crl.Crl>): void => {
  lists.set(material, read)
}

const listsOf = (material: Tls): ReadonlyArray<Crl.Crl> => {
  const known = lists.get(material) ?? (material.crl ?? []).map((pem) => Steps.runSync(Crl.read(derOf(pem))))
  lists.set(material, known)
  return known
}

/** More than any chain has; BoringSSL verifies none that is longer. */
const maxDepth = 100

const isRoot = (certificate: X509Certificate) => certificate.checkIssued(certificate)

/** The chain from the leaf to a CA that is trusted, without the last if it has signed itself. */
const pathOf = (
  chain: ReadonlyArray<Buffer>,
  material: Tls
): ReadonlyArray<readonly [X509Certificate, X509Certificate]> => {
  const trusted = issuersOf(material).map((pem) => new X509Certificate(pem))
  const sent = chain.map((der) => new X509Certificate(der))
  const path: Array<readonly [X509Certificate, X509Certificate]> = []
  let [current] = sent
  while (current !== undefined && !isRoot(current) && path.length < maxDepth) {
    const subject: X509Certificate = current
    const issued = (issuer: X509Certificate) => subject.checkIssued(issuer) && subject.verify(issuer.publicKey)
    const issuer: X509Certificate | undefined = trusted.find(issued) ?? sent.find(issued)
    if (issuer === undefined) {
      // The chain ends at an intermediate that is trusted itself.
      return trusted.some(({ raw }) => raw.equals(subject.raw)) ? path : []
    }
    path.push([subject, issuer])
    current = issuer
  }
  // Who is trusted without an issuer answers for itself.
  return path.length === 0 && current !== undefined ? [[current, current]] : path
}

/** What speaks against a chain, with OpenSSL's code for it. */
export interface Objection {
  readonly reason: HandshakeReason
  readonly code: string
}

/** Of several lists of a CA that are current the newest counts, as with OpenSSL. */
const newest = (all: ReadonlyArray<Crl.Crl>, now: number): Crl.Crl | undefined =>
  all
    .filter(({ nextUpdate, thisUpdate }) => thisUpdate <= now && now <= nextUpdate)
    .toSorted((a, b) => b.thisUpdate - a.thisUpdate)[0]

/** Why no list answers for a certificate. */
const missing = (all: ReadonlyArray<Crl.Crl>, now: number): Objection => ({
  reason: "BadCertificate",
  code: all.length === 0 ? "UNABLE_TO_GET_CRL" : all.some(({ nextUpdate }) => nextUpdate < now) ? expired : early
})

const expired = "CRL_HAS_EXPIRED"
const early = "CRL_NOT_YET_VALID"

/** What speaks against the chain. */
export const check = (chain: ReadonlyArray<Buffer>, material: Tls): Objection | undefined => {
  if (material.crl === undefined) {
    return undefined
  }
  try {
    const now = Date.now()
    const path = pathOf(chain, material)
    const all = listsOf(material)
    for (const [subject, issuer] of path) {
      const about = all.filter((list) => list.isNamed(issuer) && list.isSignedBy(issuer) && list.covers(subject))
      const list = newest(about, now)
      if (list === undefined) {
        return missing(about, now)
      }
      if (list.isRevoked(subject.serialNumber)) {
        return { reason: "Revoked", code: "CERT_REVOKED" }
      }
    }
    return path.length === 0 ? unreadable : undefined
  } catch {
    return unreadable
  }
}

const unreadable: Objection = { reason: "BadCertificate", code: "UNABLE_TO_GET_CRL_ISSUER" }
