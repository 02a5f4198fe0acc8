/**
 * Who may do what: small functions over the identity of a peer, that compose. For a listener as a whole they stand in
 * its options (`authorize`), for a service or its methods in those of `Transport.handlers`.
 *
 * @since 0.1.0
 */
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import { count } from "./internal/boundary.js"
import type { Identity } from "./Peer.js"

/**
 * Says whether the peer may. None is a peer that has not proved who it is, as on plaintext and in memory. One that throws
 * has refused.
 *
 * @since 0.1.0
 * @category models
 */
export type Authorizer = (identity: Option.Option<Identity>) => boolean

/**
 * An authorizer of one's own. Peers without an identity are refused without asking.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make =
  (predicate: (identity: Identity) => boolean): Authorizer =>
  (identity) =>
    Option.isSome(identity) && predicate(identity.value) === true

/**
 * Everyone, also without an identity: for a method that is open on purpose.
 *
 * @since 0.1.0
 * @category constructors
 */
export const any: Authorizer = () => true

/**
 * Everyone who has proved an identity, whatever it is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const authenticated: Authorizer = make(() => true)

/**
 * The holders of these certificates: SHA-256 of the DER, as hex with or without colons.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fingerprint = (...sha256: ReadonlyArray<string>): Authorizer => {
  const known = new Set(sha256.map((each) => each.replaceAll(":", "").toLowerCase()))
  return make((identity) => known.has(identity.fingerprint))
}

const v6 = /^[0-9a-f:.]*:[0-9a-f:.]*$/i

/** Addresses in their shortest form, which is what URLs have. */
const normalAddress = (address: string): string => {
  try {
    return v6.test(address) ? new URL(`http://[${address}]`).hostname.slice(1, -1) : address
  } catch {
    return address
  }
}

const v4 = /^\d{1,3}(?:\.\d{1,3}){3}$/
const kinds = /^(DNS|IP Address|URI|email):(.+)$/

/** A name with its kind, in the form in which two that mean the same are the same. */
const normalName = (name: string): string => {
  const [, kind, value = ""] = kinds.exec(name) ?? []
  switch (kind) {
    case "DNS":
      return `DNS:${value.toLowerCase()}`
    case "IP Address":
      return `IP Address:${normalAddress(value)}`
    default:
      return name
  }
}

const withKind = (name: string): string =>
  kinds.test(name)
    ? name
    : name.includes("://")
      ? `URI:${name}`
      : v4.test(name) || v6.test(name)
        ? `IP Address:${name}`
        : `DNS:${name}`

/**
 * Those whose certificate carries one of the names: with its kind as in `Identity.subjectAltNames` (`"DNS:node-a"`), or
 * without, which means an IP address, a URI (with `://`), and else a DNS name. Wildcards are not expanded.
 *
 * @since 0.1.0
 * @category constructors
 */
export const san = (...names: ReadonlyArray<string>): Authorizer => {
  const known = new Set(names.map((name) => normalName(withKind(name))))
  return make((identity) => identity.subjectAltNames.some((name) => known.has(normalName(name))))
}

/**
 * Those with one of the SPIFFE ids.
 *
 * @since 0.1.0
 * @category constructors
 */
export const spiffeId = (...ids: ReadonlyArray<string>): Authorizer => {
  const known = new Set(ids)
  return make((identity) => Option.exists(identity.spiffeId, (id) => known.has(id)))
}

/**
 * Those with a SPIFFE id in one of the trust domains, given as `"mesh.example"` or `"spiffe://mesh.example"`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const trustDomain = (...domains: ReadonlyArray<string>): Authorizer => {
  const known = new Set(domains.map((domain) => domain.replace(/^spiffe:\/\//, "")))
  return make((identity) => Option.exists(identity.spiffeId, (id) => known.has(id.split("/", 3)[2] ?? "")))
}

/**
 * Those whose certificate was verified to one of the CAs: SHA-256 of the DER, as hex with or without colons.
 *
 * @since 0.1.0
 * @category constructors
 */
export const trustAnchor = (...sha256: ReadonlyArray<string>): Authorizer => {
  const known = new Set(sha256.map((each) => each.replaceAll(":", "").toLowerCase()))
  return make((identity) => Option.exists(identity.trustAnchor, (anchor) => known.has(anchor)))
}

/**
 * Those whom every authorizer lets pass. Of none, nobody.
 *
 * @since 0.1.0
 * @category combinators
 */
export const all =
  (...authorizers: ReadonlyArray<Authorizer>): Authorizer =>
  (identity) =>
    authorizers.length > 0 && authorizers.every((authorizer) => check(authorizer, identity))

/**
 * Those whom at least one authorizer lets pass.
 *
 * @since 0.1.0
 * @category combinators
 */
export const either =
  (...authorizers: ReadonlyArray<Authorizer>): Authorizer =>
  (identity) =>
    authorizers.some((authorizer) => check(authorizer, identity))

/**
 * Asks an authorizer. Whatever is not a plain yes is a no; it never throws, since one that does has refused.
 *
 * @since 0.1.0
 * @category running
 */
export const check: {
  (identity: Option.Option<Identity>): (self: Authorizer) => boolean
  (self: Authorizer, identity: Option.Option<Identity>): boolean
} = dual(2, (self: Authorizer, identity: Option.Option<Identity>): boolean => {
  try {
    return self(identity) === true
  } catch {
    count("callback")
    return false
  }
})
