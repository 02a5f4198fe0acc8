/** Whom the material trusts with which names: the rule of CAs and SPIFFE trust domains, the same for all transports. */
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

/** The CAs that an engine has to trust: for any name or for those of a domain, which is for this file to tell apart. */
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
 * The trust domains that are named by any of the names, and not only by a SPIFFE id: an authorizer may look for a URI, and
 * a certificate with two has no id.
 */
const domainsIn = ({ subjectAltNames }: Identity): ReadonlySet<string> =>
  new Set(
    subjectAltNames.flatMap((name) =>
      /^URI:spiffe:/i.test(name) ? [Extensions.hostOf(name.slice("URI:".length)) ?? ""] : []
    )
  )

/**
 * Those who may vouch for an identity: the CAs of its trust domain where that is bound, and else those of `ca`. Who names
 * several domains needs one that may vouch for each.
 */
const vouchersOf = ({ ca, domains }: Anchors, identity: Identity): ReadonlyArray<X509Certificate> => {
  const sets = [...domainsIn(identity)].map((domain) => domains.get(domain) ?? ca)
  const [first = ca, ...others] = Option.isNone(identity.spiffeId) ? [ca, ...sets] : sets
  return first.filter(({ raw }) => others.every((set) => set.some((other) => other.raw.equals(raw))))
}

/** What was presented. */
export interface Presented {
  /** The leaf first. */
  readonly chain: ReadonlyArray<X509Certificate>
  /** The side of TLS that the peer is on. */
  readonly usage: Chain.Search["usage"]
}

/** A CA that vouches for a peer, and until when. */
export type Trusted = Chain.Path

/** The certificates of a chain, as far as they are looked at; none where one can't be read. */
export const read = (chain: ReadonlyArray<Uint8Array>): ReadonlyArray<X509Certificate> => {
  try {
    return chain.slice(0, Chain.maxLength).map((der) => new X509Certificate(der))
  } catch {
    return []
  }
}

/** The identity with what is known of its trust, and until when that holds: with pins instead until the leaf expires. */
export const of = (
  identity: Identity,
  trusted: Trusted | undefined
): { readonly identity: Identity; readonly validUntil: number } => ({
  identity: trusted === undefined ? identity : { ...identity, trustAnchor: Option.some(trusted.anchor) },
  validUntil: trusted?.notAfter ?? identity.notAfter.getTime()
})

/** The path to a CA that may vouch for the identity, of a chain that leads to a trusted CA by the word of the engine. */
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

/** The same without the word of an engine: for a connection that is open when what is trusted changes. */
export const verified = (presented: Presented, material: Tls, now: number): Trusted | HandshakeReason => {
  const { all } = anchorsOf(material)
  const { chain, usage } = presented
  const found = Chain.find({ chain, usage, anchors: all, others: [], allowsPartial: false, now })
  return typeof found === "string" ? found : vouched(presented, material, now)
}
