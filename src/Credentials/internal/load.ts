/** From PEM to `Material`, checked so that it works in a handshake. */
import { type KeyObject, X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { failure, fileOf, type PemSource, type Read, read } from "../Pem.js"
import * as Pins from "../Pins.js"
import { issuersOf } from "../Trust.js"
import { identityOf, validityOf } from "./certificate.js"
import { certificates, inOrder, warnIfOutdated } from "./loadCertificates.js"
import { loadCrl, warnIfForeign } from "./loadCrl.js"
import { belongsTo, privateKey } from "./loadKey.js"
import type { KeyPair, Tls } from "./material.js"
import { because, many } from "./pemBlocks.js"
import * as Revocation from "./revocation.js"
import { secureContext } from "./secureContext.js"

/**
 * The CAs of SPIFFE trust domains, by the name of the domain.
 *
 * @since 0.1.0
 * @category models
 */
export interface TrustDomains {
  readonly [domain: string]: PemSource | ReadonlyArray<PemSource>
}

/**
 * The options of `layerPem`.
 *
 * @since 0.1.0
 * @category models
 */
export interface PemOptions {
  /** The certificate chain, leaf first. Without `cert` and `key` a client presents no certificate. */
  readonly cert?: PemSource | undefined
  /**
   * The private key of the leaf: EC, RSA or Ed25519, as PKCS#8, PKCS#1 or SEC 1, encrypted or not. Encrypted PKCS#8 may
   * ask for 5,000,000 iterations of PBKDF2, or 64 MiB of memory for scrypt, at most.
   */
  readonly key?: PemSource | undefined
  /**
   * The CAs whose certificates are accepted from peers: one bundle or several. Nobody else is trusted. Not needed, and
   * ignored, with `pins` of the mode `instead`.
   */
  readonly ca?: PemSource | ReadonlyArray<PemSource> | undefined
  /**
   * Binds SPIFFE trust domains (`"a.example"`) to their CAs: an id of such a domain under another CA is
   * `NotAuthorized`, and so is a certificate without an id of the domain under a CA that stands here and not in `ca`. A
   * domain that is not named here may have any of `ca`. An intermediate CA can be named too, if its root is trusted.
   * Not together with `pins` of the mode `instead`. Default: none are bound.
   *
   * Source: SPIFFE, "The SPIFFE Trust Domain and Bundle", sections 3 and 5.
   */
  readonly trustDomains?: TrustDomains | undefined
  /** The certificates or keys that peers must have. */
  readonly pins?: Pins.PinsOptions | undefined
  /**
   * Certificate revocation lists, as PEM or DER. If there is one, each CA in the chain of a peer needs one that is
   * current and covers its certificates (RFC 5280, section 5.2.5), or the peer is refused. Not together with `pins` of
   * the mode `instead`, which ignore the chain.
   */
  readonly crl?: PemSource | ReadonlyArray<PemSource> | undefined
  /** For an encrypted key. */
  readonly passphrase?: string | Redacted.Redacted | undefined
}

/** The files that `load` reads. */
export const filesOf = ({ ca, cert, crl, key, pins, trustDomains }: PemOptions): ReadonlyArray<string> => {
  const issuers = pins?.mode === "instead" ? [] : [...many(ca), ...Object.values(trustDomains ?? {}).flatMap(many)]
  return [cert, key, ...many(crl), ...issuers].flatMap((source) => (source === undefined ? [] : fileOf(source)))
}

/** Reads and checks everything. Fails with the `CredentialsError` of the first part that can't be used. */
export const load = (sources: PemOptions): Effect.Effect<Tls, CredentialsError> =>
  Effect.gen(function* () {
    const pins = sources.pins === undefined ? undefined : yield* Pins.make(sources.pins)
    const trustDomains = sources.trustDomains === undefined ? undefined : yield* loadDomains(sources.trustDomains)
    if (trustDomains !== undefined && pins?.mode === "instead") {
      return yield* failure({ part: "trustDomains" }, "Malformed", "bind nothing where pins stand instead of a CA")
    }
    const isBound = trustDomains !== undefined && many(sources.ca).length === 0
    const ca = pins?.mode === "instead" || isBound ? [] : yield* loadIssuers("ca", sources.ca)
    const certificate = yield* loadPair(sources)
    const crl = sources.crl === undefined ? undefined : yield* loadCrl(sources.crl)
    if (crl !== undefined && pins?.mode === "instead") {
      return yield* failure({ part: "crl" }, "Malformed", "revokes nothing where pins stand instead of a CA")
    }
    const material: Tls = {
      _tag: "Tls",
      certificate,
      ca,
      ...(trustDomains === undefined ? {} : { trustDomains }),
      ...(pins === undefined ? {} : { pins }),
      ...(crl === undefined ? {} : { crl: crl.map(({ pem }) => pem) })
    }
    if (crl !== undefined) {
      Revocation.remember(
        material,
        crl.map(({ read }) => read)
      )
      const issuers = issuersOf(material).map((pem) => new X509Certificate(pem))
      yield* Effect.forEach(crl, warnIfForeign(issuers), { discard: true })
    }
    yield* Effect.try({
      try: () => secureContext(material),
      catch: (error) =>
        failure(
          { part: Option.isSome(certificate) ? "cert" : "ca" },
          "Malformed",
          `OpenSSL refuses it${because(error)}`
        )
    })
    return material
  })

const trustDomain = /^[a-z0-9._-]{1,255}$/

const loadDomains = (sources: TrustDomains): Effect.Effect<NonNullable<Tls["trustDomains"]>, CredentialsError> =>
  Effect.gen(function* () {
    const domains = yield* Effect.forEach(Object.entries(sources), ([name, each]) => {
      const domain = name.replace(/^spiffe:\/\//, "")
      return trustDomain.test(domain)
        ? Effect.map(loadIssuers("trustDomains", each), (ca) => [domain, ca] as const)
        : failure({ part: "trustDomains" }, "Malformed", `${JSON.stringify(name.slice(0, 100))} is no trust domain`)
    })
    return domains.length === 0
      ? yield* failure({ part: "trustDomains" }, "NotFound", "no trust domain is given")
      : Object.fromEntries(domains)
  })

const loadIssuers = (
  part: "ca" | "trustDomains",
  sources: PemOptions["ca"]
): Effect.Effect<ReadonlyArray<string>, CredentialsError> =>
  Effect.gen(function* () {
    const bundles = yield* Effect.forEach(many(sources), (source) => Effect.flatMap(read(part, source), certificates))
    const ca = bundles.flat()
    if (ca.length === 0) {
      return yield* failure({ part }, "NotFound", "no certificate of a CA is given")
    }
    yield* Effect.forEach(ca, warnIfOutdated("CA"))
    return ca.map((one) => one.toString())
  })

const loadPair = ({ cert, key, passphrase }: PemOptions): Effect.Effect<Option.Option<KeyPair>, CredentialsError> =>
  Effect.gen(function* () {
    if (cert === undefined && key === undefined) {
      return Option.none()
    }
    if (cert === undefined || key === undefined) {
      const part = cert === undefined ? "cert" : "key"
      return yield* failure({ part }, "NotFound", "missing: a certificate and its key are given together or not at all")
    }
    const certRead = yield* read("cert", cert)
    const chain = yield* certificates(certRead)
    const keyRead = yield* read("key", key)
    return Option.some(yield* pair(certRead, chain, keyRead, yield* privateKey(keyRead, passphrase)))
  })

const pair = (
  certRead: Read,
  chain: ReadonlyArray<X509Certificate>,
  keyRead: Read,
  key: KeyObject
): Effect.Effect<KeyPair, CredentialsError> =>
  Effect.gen(function* () {
    const [leaf, ...intermediates] = chain
    if (leaf === undefined) {
      return yield* failure(certRead, "Malformed", "holds no certificate")
    }
    if (!belongsTo(key, leaf)) {
      const place = intermediates.findIndex((other) => belongsTo(key, other))
      const hint = place < 0 ? "" : `, but to number ${place + 2} of the chain, which must come first`
      return yield* failure(keyRead, "KeyMismatch", `does not belong to the certificate${hint}`)
    }
    const identity = identityOf(leaf)
    const validity = validityOf(leaf, Date.now())
    if (validity === "Expired") {
      const end = identity.notAfter
      return yield* failure(certRead, "Expired", `the certificate expired on ${end.toISOString()}`, end)
    }
    if (validity === "NotYetValid") {
      const start = new Date(leaf.validFrom).toISOString()
      return yield* failure(certRead, "NotYetValid", `the certificate is valid only from ${start}`)
    }
    yield* Effect.forEach(intermediates, warnIfOutdated("intermediate"))
    return {
      chain: inOrder(leaf, intermediates)
        .map((one) => one.toString())
        .join(""),
      key: Redacted.make(String(key.export({ type: "pkcs8", format: "pem" }))),
      identity
    }
  })
