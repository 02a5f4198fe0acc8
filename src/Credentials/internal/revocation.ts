/**
 * Whether the path of a peer holds a certificate that its issuer has revoked, by the rules that OpenSSL
 * has with lists for all: every CA in the path needs one that is signed by it and not out of date. OpenSSL itself is given
 * none: it would read them anew, in one go, for each context that is made.
 *
 * Source: RFC 5280, section 6.3.3.
 */
import type { X509Certificate } from "node:crypto"
import type { HandshakeReason } from "../../Transport/TransportError.js"
import { derOf } from "../Pem.js"
import * as Crl from "./crl.js"
import type { Tls } from "./material.js"
import * as Steps from "./steps.js"

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

/** Why a path is rejected, with OpenSSL's code for it. */
export interface Rejection {
  readonly reason: HandshakeReason
  readonly code: string
}

/** Of several lists of a CA that are current the newest counts, as with OpenSSL. */
const newest = (all: ReadonlyArray<Crl.Crl>, now: number): Crl.Crl | undefined =>
  all
    .filter(({ nextUpdate, thisUpdate }) => thisUpdate <= now && now <= nextUpdate)
    .toSorted((a, b) => b.thisUpdate - a.thisUpdate)[0]

/** Why no list answers for a certificate. */
const missing = (all: ReadonlyArray<Crl.Crl>, now: number): Rejection => ({
  reason: "BadCertificate",
  code: all.length === 0 ? "UNABLE_TO_GET_CRL" : all.some(({ nextUpdate }) => nextUpdate < now) ? expired : early
})

const expired = "CRL_HAS_EXPIRED"
const early = "CRL_NOT_YET_VALID"

/**
 * Why a path, from the leaf to the anchor, is rejected, or else until when the lists let it pass. Both this and `now` are in
 * milliseconds since 1970. An anchor without an issuer answers for itself only where it is the leaf.
 */
export const check = (path: ReadonlyArray<X509Certificate>, material: Tls, now: number): Rejection | number => {
  let validUntil = Number.POSITIVE_INFINITY
  if (material.crl === undefined) {
    return validUntil
  }
  try {
    const all = listsOf(material)
    for (const [index, subject] of path.slice(0, Math.max(1, path.length - 1)).entries()) {
      const issuer = path[index + 1] ?? subject
      const about = all.filter((list) => list.isNamed(issuer) && list.isSignedBy(issuer) && list.covers(subject))
      const list = newest(about, now)
      if (list === undefined) {
        return missing(about, now)
      }
      if (list.isRevoked(subject.serialNumber)) {
        return { reason: "Revoked", code: "CERT_REVOKED" }
      }
      validUntil = Math.min(validUntil, list.nextUpdate)
    }
    return path.length === 0 ? unreadable : validUntil
  } catch {
    return unreadable
  }
}

const unreadable: Rejection = { reason: "BadCertificate", code: "UNABLE_TO_GET_CRL_ISSUER" }
