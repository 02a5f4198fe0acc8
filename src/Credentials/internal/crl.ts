/**
 * Reads a certificate revocation list (RFC 5280, section 5) as far as verification needs it. The X.509 library can't
 * read lists of more than some thousand entries (its ASN.1 parser takes 10,000 nodes), so the entries are read here, in
 * one pass and with one string for each.
 */
import { constants, type KeyObject, verify, type X509Certificate } from "node:crypto"
import * as Extensions from "./extensions.js"
import type { Steps } from "./steps.js"

/** A revocation list that was read. */
export interface Crl {
  readonly thisUpdate: number
  /** `Infinity` if the list doesn't say. */
  readonly nextUpdate: number
  /** Whether the list is issued under the name of this CA, with names compared as OpenSSL does. */
  readonly isNamed: (issuer: X509Certificate) => boolean
  /** Whether this CA has signed it and may do so; verified once for each CA. */
  readonly isSignedBy: (issuer: X509Certificate) => boolean
  /** Whether it covers this certificate, which its issuer has issued. */
  readonly covers: (certificate: X509Certificate) => boolean
  readonly isRevoked: (serialNumber: string) => boolean
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

/** The list was read, and can't be used; the message says why. */
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

/** Reads the elements in a constructed one, one after the other. */
function* childrenOf(der: Buffer, { content, end }: Element): Generator<Element, void> {
  for (let at = content; at < end; ) {
    const child = elementAt(der, at, end)
    yield child
    at = child.end
  }
}

const contentOf = (der: Buffer, { content, end }: Element) => der.subarray(content, end)

/** A serial number as `X509Certificate` writes it, but in lower case: hex without leading zeros, with a sign. */
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

/**
 * The extension with the reason (RFC 5280, section 5.3.1), and its value for a certificate that is not revoked any
 * more.
 */
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

/** The extension of a list that does not cover all certificates of its issuer (RFC 5280, section 5.2.5). */
const issuingDistributionPoint = "551d1c"
/**
 * The extension of a list with only the changes to another one (section 5.2.4), which OpenSSL takes for a whole list.
 */
const deltaIndicator = "551d1b"
/** The number of a list and the id of its key: they change nothing, even if they are critical. */
const ignored = ["551d14", "551d23"]

/** The certificates that a list covers. */
type Scope = Pick<Crl, "covers">

const everything: Scope = { covers: () => true }

/** The context tags of an issuingDistributionPoint. */
const scopes = { name: 0xa0, users: 0x81, authorities: 0x82, reasons: 0x83, indirect: 0x84, attributes: 0x85 }

/** Reads an issuingDistributionPoint as OpenSSL does. Throws `Unsupported` if OpenSSL would not use the list. */
const scopeOf = (der: Buffer, point: Element): Scope => {
  const parts = new Map([...childrenOf(der, point)].map((part) => [part.tag, part]))
  const says = (tag: number) => {
    const part = parts.get(tag)
    return part !== undefined && contentOf(der, part).some((byte) => byte !== 0)
  }
  if (says(scopes.indirect)) {
    throw new Unsupported("holds certificates of other issuers (an indirect list)")
  }
  if (parts.has(scopes.reasons)) {
    throw new Unsupported("is about some reasons of revocation only")
  }
  if (says(scopes.attributes) || (says(scopes.users) && says(scopes.authorities))) {
    throw new Unsupported("is about no certificates of TLS")
  }
  const name = parts.get(scopes.name)
  const names = name === undefined ? undefined : Extensions.fullNamesOf(contentOf(der, name))
  if (names?.length === 0) {
    throw new Unsupported("has a distribution point that is not named in full")
  }
  return {
    covers: (certificate) =>
      !says(certificate.ca ? scopes.users : scopes.authorities) &&
      (names === undefined || Extensions.isPublishedAt(Extensions.of(certificate), names))
  }
}

/** The scope in the extensions of a list. Throws `Unsupported` if one changes its meaning in an unknown way. */
const scopeIn = (der: Buffer, extensions: Element): Scope => {
  let scope = everything
  for (const extension of childrenOf(der, extensions)) {
    const parts = [...childrenOf(der, extension)]
    const [oid, critical] = parts
    const value = parts.at(-1)
    const name = oid === undefined ? "" : contentOf(der, oid).toString("hex")
    if (name === deltaIndicator) {
      throw new Unsupported("holds changes to another list only (a delta list)")
    }
    if (name === issuingDistributionPoint && value !== undefined) {
      scope = scopeOf(der, elementAt(der, value.content, value.end))
    } else if (isCritical(der, critical) && !ignored.includes(name)) {
      throw new Unsupported("has a critical extension that is not known")
    }
  }
  return scope
}

const isCritical = (der: Buffer, element: Element | undefined): boolean =>
  element?.tag === tags.boolean && der[element.content] !== 0

const hasCritical = (der: Buffer, extensions: Element): boolean => {
  for (const extension of childrenOf(der, extensions)) {
    if (isCritical(der, [...childrenOf(der, extension)][1])) {
      return true
    }
  }
  return false
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

/** Entries that are read before it yields to other work. */
const entriesBetweenYields = 500

/** Reads a list in DER. Throws `Unsupported` if it can't be used, and another error if it is no list. */
export function* read(der: Buffer): Steps<Crl> {
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
  const scope = list === undefined ? everything : scopeIn(der, list)

  const serials = new Set<string>()
  let count = 0
  for (const entry of entries === undefined ? [] : childrenOf(der, entries)) {
    const [serial, date, more] = childrenOf(der, entry)
    if (entry.tag !== tags.sequence || serial === undefined || date === undefined || !isTime(date)) {
      throw malformed()
    }
    if (more === undefined || !isRemoved(der, more)) {
      serials.add(serialOf(der, serial))
    }
    if (more !== undefined && hasCritical(der, more)) {
      throw new Unsupported("has an entry with a critical extension")
    }
    count += 1
    if (count % entriesBetweenYields === 0) {
      yield
    }
  }

  const signed = der.subarray(tbs.start, tbs.end)
  const bits = contentOf(der, signature).subarray(1)
  const verifies = verifier(der, algorithm)
  // The signed part names the algorithm too (RFC 5280, section 5.1.1.2).
  const isConsistent = der.subarray(inner.start, inner.end).equals(der.subarray(algorithm.start, algorithm.end))
  const isSignedBy = (certificate: X509Certificate): boolean => {
    try {
      return (
        isConsistent &&
        Extensions.of(certificate).maySignLists &&
        verifies?.(signed, certificate.publicKey, bits) === true
      )
    } catch {
      return false
    }
  }
  const signers = new Map<string, boolean>()
  const name = Extensions.comparableName(contentOf(der, issuer))
  return {
    thisUpdate: timeOf(der, thisUpdate),
    nextUpdate: nextUpdate === undefined ? Number.POSITIVE_INFINITY : timeOf(der, nextUpdate),
    ...scope,
    isNamed: (certificate) => Extensions.comparableName(Extensions.of(certificate).subject) === name,
    isSignedBy: (certificate) => {
      const known = signers.get(certificate.fingerprint256) ?? isSignedBy(certificate)
      signers.set(certificate.fingerprint256, known)
      return known
    },
    isRevoked: (serialNumber) => serials.has(withoutZeros(serialNumber.toLowerCase()))
  }
}
