/**
 * A certificate revocation list (RFC 5280, section 5) as far as a decision needs it. The X.509 library can't read lists of
 * more than some thousand entries (its ASN.1 has a limit of 10,000 nodes), so the entries are walked here: one pass, one
 * string for each.
 */
import { constants, type KeyObject, verify, type X509Certificate } from "node:crypto"

/** What a list says. */
export interface Crl {
  /** The name of the issuer, as DER. */
  readonly issuer: Buffer
  readonly thisUpdate: number
  /** Infinity where the list doesn't say. */
  readonly nextUpdate: number
  /** Whether it is about some certificates of its issuer only; which ones is not read. */
  readonly isPartial: boolean
  readonly isRevoked: (serialNumber: string) => boolean
  /** Whether the issuer has signed it; looked at once for each issuer. */
  readonly isSignedBy: (issuer: X509Certificate) => boolean
}

interface Element {
  readonly tag: number
  readonly start: number
  /** Where the content begins. */
  readonly content: number
  readonly end: number
}

const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  extensions: 0xa0
}

/** A list that is one, and that can't be used. */
export class Unsupported extends Error {}

const malformed = () => new Error("not a revocation list")

const elementAt = (der: Buffer, start: number, limit: number): Element => {
  const first = start + 1 < limit ? der[start + 1] : undefined
  const tag = der[start]
  if (first === undefined || tag === undefined || (tag & 0x1f) === 0x1f) {
    throw malformed()
  }
  const size = first < 0x80 ? 0 : first - 0x80
  if (first === 0x80 || size > 4 || start + 2 + size > limit) {
    throw malformed()
  }
  const content = start + 2 + size
  const end = content + (size === 0 ? first : der.readUIntBE(start + 2, size))
  if (end > limit) {
    throw malformed()
  }
  return { tag, start, content, end }
}

/** The elements in one that is constructed, one after the other. */
function* childrenOf(der: Buffer, { content, end }: Element): Generator<Element, void> {
  for (let at = content; at < end; ) {
    const child = elementAt(der, at, end)
    yield child
    at = child.end
  }
}

const contentOf = (der: Buffer, { content, end }: Element) => der.subarray(content, end)

/** A serial number as `X509Certificate` writes it: hex in capitals without zeros in front, with a sign. */
const serialOf = (der: Buffer, { content, end, tag }: Element): string => {
  if (tag !== tags.integer || content === end) {
    throw malformed()
  }
  const hex = der.toString("hex", content, end)
  const isNegative = (der[content] ?? 0) >= 0x80
  return isNegative ? `-${((1n << BigInt(4 * hex.length)) - BigInt(`0x${hex}`)).toString(16)}` : withoutZeros(hex)
}

const withoutZeros = (hex: string) => hex.replace(/^(-?)0+(?=.)/, "$1")

/** UTCTime or GeneralizedTime, in Zulu and with seconds (RFC 5280, sections 5.1.2.4 and 5.1.2.5). */
const timeOf = (der: Buffer, element: Element): number => {
  const text = der.toString("latin1", element.content, element.end)
  const short = Number(text.slice(0, 2)) < 50 ? "20" : "19"
  const full = element.tag === tags.utcTime ? short + text : element.tag === tags.generalizedTime ? text : ""
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(full)
  const time =
    match === null ? Number.NaN : Date.parse(full.replace(/(....)(..)(..)(..)(..)(..)Z/, "$1-$2-$3T$4:$5:$6Z"))
  if (Number.isNaN(time)) {
    throw malformed()
  }
  return time
}

const isTime = ({ tag }: Element) => tag === tags.utcTime || tag === tags.generalizedTime

/** The extension that says why (RFC 5280, section 5.3.1), and its value for a certificate that is revoked no more. */
const reasonCode = "551d15"
const removeFromCrl = "0a0108"

/** Whether an entry takes a certificate off the list, as OpenSSL reads it too. */
const isRemoved = (der: Buffer, extensions: Element): boolean => {
  for (const extension of childrenOf(der, extensions)) {
    const parts = [...childrenOf(der, extension)]
    const [oid, value] = [parts[0], parts.at(-1)]
    if (oid !== undefined && value !== undefined && contentOf(der, oid).toString("hex") === reasonCode) {
      return contentOf(der, value).toString("hex") === removeFromCrl
    }
  }
  return false
}

/** What a list is about, where not all certificates of its issuer (RFC 5280, section 5.2.5). */
const issuingDistributionPoint = "551d1c"
/** Of a list that has only what is new since another one (section 5.2.4). OpenSSL takes it for a whole list. */
const deltaIndicator = "551d1b"

/** Whether a list is about a part of the certificates only. Throws where an extension changes its meaning otherwise. */
const isPartial = (der: Buffer, extensions: Element): boolean => {
  let partial = false
  for (const extension of childrenOf(der, extensions)) {
    const [oid, critical] = childrenOf(der, extension)
    const name = oid === undefined ? "" : contentOf(der, oid).toString("hex")
    if (name === deltaIndicator) {
      throw new Unsupported("holds changes to another list only (a delta list)")
    }
    if (critical?.tag === tags.boolean && der[critical.content] !== 0) {
      if (name !== issuingDistributionPoint) {
        throw new Unsupported("has a critical extension that is not known")
      }
      partial = true
    }
  }
  return partial
}

/** Signature algorithms by their OID as DER content in hex, with their hash; null for EdDSA, which has its own. */
const algorithms = new Map<string, string | null>([
  ["2a864886f70d010105", "sha1"],
  ["2a864886f70d01010e", "sha224"],
  ["2a864886f70d01010b", "sha256"],
  ["2a864886f70d01010c", "sha384"],
  ["2a864886f70d01010d", "sha512"],
  ["2a8648ce3d0401", "sha1"],
  ["2a8648ce3d040301", "sha224"],
  ["2a8648ce3d040302", "sha256"],
  ["2a8648ce3d040303", "sha384"],
  ["2a8648ce3d040304", "sha512"],
  ["2b6570", null],
  ["2b6571", null]
])

const rsaPss = "2a864886f70d01010a"

/** The hashes that RSA-PSS is used with (RFC 4055, section 2.1); SHA-1 is the default. */
const pssHashes = new Map([
  ["608648016503040201", "sha256"],
  ["608648016503040202", "sha384"],
  ["608648016503040203", "sha512"]
])

/** What verifies a signature by the algorithm; nothing where it is not known. */
const verifier = (der: Buffer, algorithm: Element) => {
  const [oid, parameters] = childrenOf(der, algorithm)
  const name = oid === undefined ? "" : contentOf(der, oid).toString("hex")
  if (name !== rsaPss) {
    const hash = algorithms.get(name)
    return hash === undefined
      ? undefined
      : (signed: Buffer, key: KeyObject, bits: Buffer) => verify(hash, signed, key, bits)
  }
  const [first] = parameters === undefined ? [] : childrenOf(der, parameters)
  const [identifier] = first?.tag === 0xa0 ? childrenOf(der, first) : []
  const [hashOid] = identifier === undefined ? [] : childrenOf(der, identifier)
  const hash = hashOid === undefined ? "sha1" : pssHashes.get(contentOf(der, hashOid).toString("hex"))
  return hash === undefined
    ? undefined
    : (signed: Buffer, key: KeyObject, bits: Buffer) =>
        verify(hash, signed, { key, padding: constants.RSA_PKCS1_PSS_PADDING }, bits)
}

/** Entries that are read before other work gets its turn. */
const chunk = 500

/** Reads a list, which is DER, and lets others have their turn in between. Rejects where it is none. */
export const parse = async (der: Buffer): Promise<Crl> => {
  const whole = elementAt(der, 0, der.length)
  const [tbs, algorithm, signature] = childrenOf(der, whole)
  if (
    whole.end !== der.length ||
    whole.tag !== tags.sequence ||
    tbs?.tag !== tags.sequence ||
    algorithm?.tag !== tags.sequence ||
    signature?.tag !== tags.bitString
  ) {
    throw malformed()
  }
  const fields = [...childrenOf(der, tbs)]
  if (fields[0]?.tag === tags.integer) {
    fields.shift()
  }
  const [inner, issuer, thisUpdate, ...rest] = fields
  if (inner?.tag !== tags.sequence || issuer?.tag !== tags.sequence || thisUpdate === undefined) {
    throw malformed()
  }
  const nextUpdate = rest[0] !== undefined && isTime(rest[0]) ? rest.shift() : undefined
  const entries = rest[0]?.tag === tags.sequence ? rest.shift() : undefined
  const extensions = rest[0]?.tag === tags.extensions ? rest.shift() : undefined
  if (rest.length > 0) {
    throw malformed()
  }
  const [list] = extensions === undefined ? [] : childrenOf(der, extensions)
  let partial = list !== undefined && isPartial(der, list)

  const serials = new Set<string>()
  let read = 0
  for (const entry of entries === undefined ? [] : childrenOf(der, entries)) {
    const [serial, date, more] = childrenOf(der, entry)
    if (entry.tag !== tags.sequence || serial === undefined || date === undefined || !isTime(date)) {
      throw malformed()
    }
    if (more === undefined || !isRemoved(der, more)) {
      serials.add(serialOf(der, serial))
    }
    partial = (more !== undefined && isPartial(der, more)) || partial
    read += 1
    if (read % chunk === 0) {
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  const signed = der.subarray(tbs.start, tbs.end)
  const bits = contentOf(der, signature).subarray(1)
  const verifies = verifier(der, algorithm)
  // What is signed says by what, too (RFC 5280, section 5.1.1.2).
  const isOne = der.subarray(inner.start, inner.end).equals(der.subarray(algorithm.start, algorithm.end))
  const signers = new Map<string, boolean>()
  const isSignedBy = (certificate: X509Certificate): boolean => {
    try {
      return isOne && verifies?.(signed, certificate.publicKey, bits) === true
    } catch {
      return false
    }
  }
  return {
    issuer: der.subarray(issuer.start, issuer.end),
    thisUpdate: timeOf(der, thisUpdate),
    nextUpdate: nextUpdate === undefined ? Number.POSITIVE_INFINITY : timeOf(der, nextUpdate),
    isPartial: partial,
    isRevoked: (serialNumber) => serials.has(withoutZeros(serialNumber.toLowerCase())),
    isSignedBy: (certificate) => {
      const known = signers.get(certificate.fingerprint256) ?? isSignedBy(certificate)
      signers.set(certificate.fingerprint256, known)
      return known
    }
  }
}
