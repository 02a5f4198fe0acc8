/**
 * The path from a peer's certificate to a trust anchor, with every signature verified here. The engines don't say which
 * path they have found, and verify only during a handshake.
 *
 * Source: RFC 5280, section 6.1, without policies.
 */
import type { KeyObject, X509Certificate } from "node:crypto"
import type { HandshakeReason } from "../../Transport/TransportError.js"
import { fingerprintOf } from "./certificate.js"
import * as Extensions from "./extensions.js"

/** What a path is looked for with. */
export interface Search {
  /** What the peer has sent, the leaf first. */
  readonly chain: ReadonlyArray<X509Certificate>
  readonly anchors: ReadonlyArray<X509Certificate>
  /** Further certificates that a path may lead through, beside those of `chain`. */
  readonly others: ReadonlyArray<X509Certificate>
  /** Whether an anchor that has not signed itself ends a path. OpenSSL and BoringSSL take it only as a step of one. */
  readonly allowsPartial: boolean
  /** The side of TLS that the leaf is for. */
  readonly usage: "client" | "server"
  /** Milliseconds since 1970. */
  readonly now: number
}

/** A path that was found. */
export interface Path {
  /** From the leaf to the anchor. */
  readonly certificates: ReadonlyArray<X509Certificate>
  /** SHA-256 of the anchor's DER, lower case hex without colons. */
  readonly anchor: string
  /** When the first of its certificates expires, in milliseconds since 1970. */
  readonly notAfter: number
}

/** A path has the leaf, a few intermediates and the anchor: more is for those who have time. */
export const maxLength = 8

/**
 * Certificates of the same name may be many, and each costs a signature to find out that it is not the one. With the keys
 * below that is 1.1 ms at the most (RSA of 8192 bits with an exponent of 64), in which the event loop stands still.
 */
export const maxSignatures = 16

/** The longest moduli of keys that a peer can choose. */
const maxModulusBits: Readonly<Record<string, number>> = { rsa: 8192, "rsa-pss": 8192, dsa: 3072 }

/** OpenSSL has this limit for RSA of more than 3072 bits; below that an exponent as long as the modulus costs 6 ms. */
const maxExponent = 2n ** 64n

/** Curves over prime fields: those over binary ones cost 3 ms. */
const primeCurve = /^(prime|secp|brainpool)/

/** Whether a signature by the key costs no more than its length needs. */
const isCheap = ({ asymmetricKeyDetails, asymmetricKeyType }: KeyObject): boolean => {
  const { modulusLength = 0, namedCurve, publicExponent = 0n } = asymmetricKeyDetails ?? {}
  return asymmetricKeyType === "ec"
    ? primeCurve.test(namedCurve ?? "")
    : publicExponent < maxExponent && modulusLength <= (maxModulusBits[asymmetricKeyType ?? ""] ?? modulusLength)
}

/** extKeyUsage, and what old CAs have for servers (Netscape's and Microsoft's). */
const usages = {
  client: ["1.3.6.1.5.5.7.3.2"],
  server: ["1.3.6.1.5.5.7.3.1", "2.16.840.1.113730.4.1", "1.3.6.1.4.1.311.10.3.3"]
}

const serves = ({ keyUsage }: X509Certificate, usage: Search["usage"]): boolean =>
  // Node calls the extended key usages that. It is undefined without them, against its type.
  !Array.isArray(keyUsage) || keyUsage.some((oid) => usages[usage].includes(oid))

/** Whether a certificate was issued under the name of itself, which counts for no path length. */
const isSelfIssued = ({ issuer, subject }: X509Certificate): boolean => issuer === subject

const isAuthority = (issuer: X509Certificate, isAnchor: boolean): boolean =>
  // A root of version 1 says nothing, and is a CA because this side says so.
  issuer.ca || (isAnchor && !Extensions.of(issuer).hasBasicConstraints)

/** Looks for a path; the left is what has kept one from being found. */
export const find = (search: Search): Path | HandshakeReason => {
  const { allowsPartial, anchors, chain, now, others, usage } = search
  const anchorNames = new Set(anchors.map(fingerprintOf))
  const candidates = [...anchors, ...others, ...chain.slice(1, maxLength)]
  let signatures = 0
  let reason: HandshakeReason = "UntrustedIssuer"

  const isValid = (certificate: X509Certificate): boolean => {
    const [from, to] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)]
    if (from <= now && now <= to) {
      return true
    }
    reason = now < from ? "NotYetValid" : "Expired"
    return false
  }

  const isSignedBy = (subject: X509Certificate, issuer: X509Certificate): boolean => {
    const { publicKey } = issuer
    if (chain.includes(issuer) && !isCheap(publicKey)) {
      return false
    }
    signatures += 1
    return signatures <= maxSignatures && subject.verify(publicKey)
  }

  const mayIssue = (issuer: X509Certificate, below: ReadonlyArray<X509Certificate>): boolean => {
    const extensions = Extensions.of(issuer)
    const intermediates = below.slice(1).filter((each) => !isSelfIssued(each)).length
    return (
      isAuthority(issuer, anchorNames.has(fingerprintOf(issuer))) &&
      serves(issuer, usage) &&
      intermediates <= extensions.pathLength &&
      below.every(
        (each, index) => (index > 0 && isSelfIssued(each)) || Extensions.mayName(extensions, Extensions.of(each))
      )
    )
  }

  const ended = (path: ReadonlyArray<X509Certificate>, last: X509Certificate): Path => ({
    certificates: path,
    anchor: fingerprintOf(last),
    notAfter: Math.min(...path.map(({ validTo }) => Date.parse(validTo)))
  })

  const extend = (path: ReadonlyArray<X509Certificate>, last: X509Certificate): Path | undefined => {
    const isAnchor = anchorNames.has(fingerprintOf(last))
    if (isAnchor && last.checkIssued(last)) {
      return ended(path, last)
    }
    if (path.length < maxLength) {
      const tried = new Set(path.map(fingerprintOf))
      for (const issuer of candidates) {
        if (last.checkIssued(issuer) && !tried.has(fingerprintOf(issuer))) {
          tried.add(fingerprintOf(issuer))
          const found = attempt(path, last, issuer)
          if (found !== undefined) {
            return found
          }
        }
      }
    }
    return isAnchor && allowsPartial ? ended(path, last) : undefined
  }

  const attempt = (path: ReadonlyArray<X509Certificate>, last: X509Certificate, issuer: X509Certificate) => {
    try {
      return isSignedBy(last, issuer) && isValid(issuer) && mayIssue(issuer, path)
        ? extend([...path, issuer], issuer)
        : undefined
    } catch {
      // A key of a kind that OpenSSL does not know, or an extension that can't be read.
      return undefined
    }
  }

  const [leaf] = chain
  if (leaf === undefined) {
    return "BadCertificate"
  }
  if (!isValid(leaf)) {
    return reason
  }
  return serves(leaf, usage) ? (extend([leaf], leaf) ?? reason) : "InvalidPurpose"
}
