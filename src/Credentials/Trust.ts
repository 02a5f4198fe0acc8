/** Which CAs may vouch for which names: the rule of CAs and SPIFFE trust domains, the same for all transports. */
import { X509Certificate } from "node:crypto"
import * as Option from "effect/Option"
import type { Identity } from "../Transport/Peer.js"
import type { HandshakeReason } from "../Transport/TransportError.js"
import { identityOf } from "./internal/certificate.js"
import * as Chain from "./internal/chain.js"
import * as Extensions from "./internal/extensions.js"
import type { Tls } from "./internal/material.js"

interface Anchors {
  readonly ca: ReadonlyArray<X509Certificate>
  readonly domains: ReadonlyMap<string, ReadonlyArray<X509Certificate>>
  readonly all: ReadonlyArray<X509Certificate>
}

/**
 * The CAs that a TLS engine has to trust: those for any name and those for a domain, which only this file tells apart.
 */
export const issuersOf = ({ ca, trustDomains }: Tls): ReadonlyArray<string> => [
  ...new Set([...ca, ...Object.values(trustDomains ?? {}).flat()])
]

const known = new WeakMap<Tls, Anchors>()

const anchorsOf = (material: Tls): Anchors => {
  const found = known.get(material)
  if (found !== undefined) {
    return found
  }
  const read = (pems: ReadonlyArray<string>) => pems.map((pem) => new X509Certificate(pem))
  const anchors = {
    ca: read(material.ca),
    domains: new Map(Object.entries(material.trustDomains ?? {}).map(([domain, pems]) => [domain, read(pems)])),
    all: read(issuersOf(material))
  }
  known.set(material, anchors)
  return anchors
}

/**
 * The trust domains in any of the names, not only in a SPIFFE id: an authorizer may look for a URI, and a certificate
 * with two URIs has no id.
 */
const domainsIn = ({ subjectAltNames }: Identity): ReadonlySet<string> =>
  new Set(
    subjectAltNames.flatMap((name) =>
      /^URI:spiffe:/i.test(name) ? [Extensions.hostOf(name.slice("URI:".length)) ?? ""] : []
    )
  )

/**
 * The CAs that may vouch for an identity: those of its trust domain if that is bound, otherwise those of `ca`. An
 * identity of several domains needs a CA that may vouch for each.
 */
const vouchersOf = ({ ca, domains }: Anchors, identity: Identity): ReadonlyArray<X509Certificate> => {
  const sets = [...domainsIn(identity)].map((domain) => domains.get(domain) ?? ca)
  const [first = ca, ...others] = Option.isNone(identity.spiffeId) ? [ca, ...sets] : sets
  return first.filter(({ raw }) => others.every((set) => set.some((other) => other.raw.equals(raw))))
}

/** A chain that a peer has presented. */
export interface Presented {
  /** The leaf first. */
  readonly chain: ReadonlyArray<X509Certificate>
  /** The side of TLS that the peer is on. */
  readonly usage: Chain.Search["usage"]
}

/** The path to a CA that vouches for a peer, and until when it does. */
export type Trusted = Chain.Path

/** The certificates of a chain, up to the longest path; none if one can't be read. */
export const read = (chain: ReadonlyArray<Uint8Array>): ReadonlyArray<X509Certificate> => {
  try {
    return chain.slice(0, Chain.maxLength).map((der) => new X509Certificate(der))
  } catch {
    return []
  }
}

/** The identity with its trust anchor, and until when that holds: with pins instead, until the leaf expires. */
export const of = (
  identity: Identity,
  trusted: Trusted | undefined
): { readonly identity: Identity; readonly validUntil: number } => ({
  identity: trusted === undefined ? identity : { ...identity, trustAnchor: Option.some(trusted.anchor) },
  validUntil: trusted?.notAfter ?? identity.notAfter.getTime()
})

/**
 * The path to a CA that may vouch for the peer, or why there is none. The engine of the handshake has verified that the
 * chain leads to a trusted CA.
 */
export const vouched = ({ chain, usage }: Presented, material: Tls, now: number): Trusted | HandshakeReason => {
  const [leaf] = chain
  if (leaf === undefined) {
    return "BadCertificate"
  }
  const anchors = anchorsOf(material)
  const identity = identityOf(leaf)
  const search = { chain, usage, others: anchors.all, now }
  const found = Chain.find({ ...search, anchors: vouchersOf(anchors, identity), allowsPartial: true })
  return typeof found === "string" && material.trustDomains !== undefined ? "NotAuthorized" : found
}

/** The same for a chain that no engine has verified: that of an open connection when the trusted CAs change. */
export const verified = (presented: Presented, material: Tls, now: number): Trusted | HandshakeReason => {
  const { all } = anchorsOf(material)
  const { chain, usage } = presented
  const found = Chain.find({ chain, usage, anchors: all, others: [], allowsPartial: false, now })
  return typeof found === "string" ? found : vouched(presented, material, now)
}
