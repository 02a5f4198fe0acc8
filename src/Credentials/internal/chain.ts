/**
 * Finds the path from a peer's certificate to a trust anchor and verifies every signature on it. The engines of
 * handshakes don't tell which path they have found, and verify only during a handshake.
 *
 * Source: RFC 5280, section 6.1, without policies.
 */
import type { KeyObject, X509Certificate } from "node:crypto"
import type { HandshakeReason } from "../../Transport/TransportError.js"
import { fingerprintOf } from "./certificate.js"
import * as Extensions from "./extensions.js"

/** The certificates among which a path is looked for, and what it is for. */
export interface Search {
  /** The certificates that the peer has sent, the leaf first. */
  readonly chain: ReadonlyArray<X509Certificate>
  readonly anchors: ReadonlyArray<X509Certificate>
  /** Further certificates that a path may lead through, beside those of `chain`. */
  readonly others: ReadonlyArray<X509Certificate>
  /**
   * Whether a path may end at an anchor that has not signed itself. For OpenSSL and BoringSSL it is only a step of one.
   */
  readonly allowsPartial: boolean
  /** The side of TLS that the leaf is for. */
  readonly usage: "client" | "server"
  /** Milliseconds since 1970. */
  readonly now: number
}

/** A path from a leaf to a trust anchor. */
export interface Path {
  /** From the leaf to the anchor. */
  readonly certificates: ReadonlyArray<X509Certificate>
  /** SHA-256 of the anchor's DER, lower case hex without colons. */
  readonly anchor: string
  /** When the first of its certificates expires, in milliseconds since 1970. */
  readonly notAfter: number
}

/** The most certificates in a path: the leaf, a few intermediates and the anchor. Each costs a signature. */
export const maxLength = 8

/**
 * The most signatures verified for one path. A peer can send many certificates of the same name, and it takes a
 * signature to rule out each. With the keys below one blocks the event loop for 1.1 ms at most (RSA of 8192 bits, an
 * exponent of 64 bits).
 */
export const maxSignatures = 16

/** The longest modulus of a key that a peer has chosen. */
const maxModulusBits: Readonly<Record<string, number>> = { rsa: 8192, "rsa-pss": 8192, dsa: 3072 }

/**
 * OpenSSL has this limit for RSA of more than 3072 bits; with shorter keys, an exponent as long as the modulus costs 6
 * ms.
 */
const maxExponent = 2n ** 64n

/** Curves over prime fields; a signature on a binary curve costs 3 ms. */
const primeCurve = /^(prime|secp|brainpool)/

/** Whether a signature by the key costs no more than its length requires. */
const isCheap = ({ asymmetricKeyDetails, asymmetricKeyType }: KeyObject): boolean => {
  const { modulusLength = 0, namedCurve, publicExponent = 0n } = asymmetricKeyDetails ?? {}
  return asymmetricKeyType === "ec"
    ? primeCurve.test(namedCurve ?? "")
    : publicExponent < maxExponent && modulusLength <= (maxModulusBits[asymmetricKeyType ?? ""] ?? modulusLength)
}

/**
 * Extended key usages as the DER of their OIDs: id-kp-clientAuth, id-kp-serverAuth, and those of old CAs for servers (Netscape's
 * and Microsoft's).
 */
const usages = {
  client: ["2b06010505070302"],
  server: ["2b06010505070301", "6086480186f8420401", "2b0601040182370a0303"]
}

/** Node calls the extended key usages `keyUsage`, and Deno the others: they are read here. Throws if they can't be. */
const serves = (certificate: X509Certificate, usage: Search["usage"]): boolean => {
  const { purposes } = Extensions.of(certificate)
  return purposes === undefined || purposes.some((each) => usages[usage].includes(each))
}

/** Whether issuer and subject have the same name: such a certificate does not count towards a path length. */
const isSelfIssued = ({ issuer, subject }: X509Certificate): boolean => issuer === subject

const isAuthority = (issuer: X509Certificate, isAnchor: boolean): boolean =>
  // A root of version 1 can't say that it is a CA; it is one because this side trusts it as one.
  issuer.ca || (isAnchor && !Extensions.of(issuer).hasBasicConstraints)

/** Returns a path, or the reason why there is none. Never throws; a certificate that can't be read ends no path. */
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
      // OpenSSL doesn't know the kind of the key, or an extension can't be read.
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
  try {
    if (!serves(leaf, usage)) {
      return "InvalidPurpose"
    }
  } catch {
    return reason
  }
  return extend([leaf], leaf) ?? reason
}
