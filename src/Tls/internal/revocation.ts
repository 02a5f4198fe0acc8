/**
 * Whether a chain that was verified elsewhere holds a certificate that its issuer has revoked, by the rules that OpenSSL
 * has with lists for all: every CA in the chain needs one that is signed by it and not out of date.
 *
 * Source: RFC 5280, section 6.3.3.
 */
import { X509Certificate } from "node:crypto"
import type { HandshakeReason } from "../../Transport/TransportError.js"
import * as Crl from "./crl.js"
import type { Tls } from "./material.js"
import { derOf } from "./pem.js"
import { issuersOf } from "./trust.js"

const lists = new WeakMap<Tls, Promise<ReadonlyArray<Crl.Crl>>>()

/** Keeps the lists of a material that have been read already. */
export const remember = (material: Tls, read: ReadonlyArray<Crl.Crl>): void => {
  lists.set(material, Promise.resolve(read))
}

const listsOf = (material: Tls): Promise<ReadonlyArray<Crl.Crl>> => {
  const known = lists.get(material) ?? Promise.all((material.crl ?? []).map((pem) => Crl.parse(derOf(pem))))
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
  return path
}

/** A list that speaks for all of a CA's certificates, as far as this side can read it. */
const isCurrent = ({ isPartial, nextUpdate, thisUpdate }: Crl.Crl, now: number) =>
  thisUpdate <= now && now <= nextUpdate && !isPartial

/** Of several lists of a CA the newest counts, as with OpenSSL. */
const newest = (all: ReadonlyArray<Crl.Crl>): Crl.Crl | undefined =>
  all.toSorted((a, b) => b.thisUpdate - a.thisUpdate)[0]

/** What speaks against the chain; a rejection is no "no" either. */
export const check = async (chain: ReadonlyArray<Buffer>, material: Tls): Promise<HandshakeReason | undefined> => {
  if (material.crl === undefined) {
    return undefined
  }
  const now = Date.now()
  const path = pathOf(chain, material)
  if (path.length === 0) {
    return "BadCertificate"
  }
  const all = await listsOf(material)
  for (const [subject, issuer] of path) {
    const list = newest(all.filter((each) => isCurrent(each, now) && each.isSignedBy(issuer)))
    if (list === undefined) {
      return "BadCertificate"
    }
    if (list.isRevoked(subject.serialNumber)) {
      return "Revoked"
    }
  }
  return undefined
}
