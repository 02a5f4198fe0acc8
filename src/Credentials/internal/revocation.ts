/**
 * Checks the path of a peer against revocation lists, by OpenSSL's rules for whole chains: every CA in the path needs a
 * list that it has signed and that is current. OpenSSL itself gets no lists: it would read them again, in one go, for
 * every context.
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

/** Keeps the lists of a material, so that they are not read again. */
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

/** The newest of a CA's current lists is the one that counts, as with OpenSSL. */
const newest = (all: ReadonlyArray<Crl.Crl>, now: number): Crl.Crl | undefined =>
  all
    .filter(({ nextUpdate, thisUpdate }) => thisUpdate <= now && now <= nextUpdate)
    .toSorted((a, b) => b.thisUpdate - a.thisUpdate)[0]

/** The rejection of a certificate that no current list covers. */
const missing = (all: ReadonlyArray<Crl.Crl>, now: number): Rejection => ({
  reason: "BadCertificate",
  code: all.length === 0 ? "UNABLE_TO_GET_CRL" : all.some(({ nextUpdate }) => nextUpdate < now) ? expired : early
})

const expired = "CRL_HAS_EXPIRED"
const early = "CRL_NOT_YET_VALID"

/**
 * Why a path, from the leaf to the anchor, is rejected, or else until when the lists let it pass. Both this and `now`
 * are in milliseconds since 1970. An anchor without an issuer answers for itself only where it is the leaf.
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
