/**
 * Whether a chain that was verified elsewhere holds a certificate that its issuer has revoked, by the rules that OpenSSL
 * has with lists for all: every CA in the chain needs one that is signed by it and not out of date.
 *
 * Source: RFC 5280, section 6.3.3.
 */
import { X509Certificate } from "node:crypto"
import type * as Library from "@peculiar/x509"
import type { HandshakeReason } from "../../Transport/TransportError.js"
import type { Tls } from "./material.js"
import { load } from "./x509.js"

const lists = new WeakMap<Tls, ReadonlyArray<Library.X509Crl>>()

const listsOf = (material: Tls): ReadonlyArray<Library.X509Crl> => {
  const known = lists.get(material)
  if (known !== undefined) {
    return known
  }
  const { X509Crl } = load()
  const read = (material.crl ?? []).map((pem) => new X509Crl(pem))
  lists.set(material, read)
  return read
}

/** More than any chain has; BoringSSL verifies none that is longer. */
const maxDepth = 100

const isRoot = (certificate: X509Certificate) => certificate.checkIssued(certificate)

/** The chain from the leaf to a CA that is trusted, without the last if it has signed itself. */
const pathOf = (
  chain: ReadonlyArray<Buffer>,
  { ca }: Tls
): ReadonlyArray<readonly [X509Certificate, X509Certificate]> => {
  const trusted = ca.map((pem) => new X509Certificate(pem))
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
const isCurrent = (list: Library.X509Crl, now: Date) =>
  list.thisUpdate <= now &&
  (list.nextUpdate === undefined || now <= list.nextUpdate) &&
  list.extensions.every(({ critical }) => !critical)

const isSignedBy = async (list: Library.X509Crl, issuer: X509Certificate): Promise<boolean> => {
  const { X509Certificate } = load()
  try {
    return await list.verify({ publicKey: new X509Certificate(issuer.raw) })
  } catch {
    return false
  }
}

/** What speaks against the chain; a rejection is no "no" either. */
export const check = async (chain: ReadonlyArray<Buffer>, material: Tls): Promise<HandshakeReason | undefined> => {
  if (material.crl === undefined) {
    return undefined
  }
  const now = new Date()
  const path = pathOf(chain, material)
  if (path.length === 0) {
    return "BadCertificate"
  }
  for (const [subject, issuer] of path) {
    let isKnown = false
    for (const list of listsOf(material)) {
      if (isCurrent(list, now) && (await isSignedBy(list, issuer))) {
        isKnown = true
        if (list.findRevoked(subject.serialNumber) !== null) {
          return "Revoked"
        }
      }
    }
    if (!isKnown) {
      return "BadCertificate"
    }
  }
  return undefined
}
