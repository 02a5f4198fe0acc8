/** From PEM to `Material`, every promise of which is checked here: what comes out works in a handshake. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { armoured, type Block, derOf, failure, fileOf, type PemSource, placeOf, type Read, read, scan } from "../Pem.js"
import * as Pins from "../Pins.js"
import { issuersOf } from "../Trust.js"
import { identityOf, validityOf } from "./certificate.js"
import * as Crl from "./crl.js"
import type { KeyPair, Tls } from "./material.js"
import { codeOf } from "./nodeError.js"
import * as Pkcs12 from "./pkcs12.js"
import * as Revocation from "./revocation.js"
import { secureContext } from "./secureContext.js"
import * as Steps from "./steps.js"

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
 * What `layerPem` reads.
 *
 * @since 0.1.0
 * @category models
 */
export interface PemOptions {
  /** The certificate chain, leaf first. Without `cert` and `key` a client shows no certificate. */
  readonly cert?: PemSource | undefined
  /**
   * The private key of the leaf: EC, RSA or Ed25519, as PKCS#8, PKCS#1 or SEC 1, encrypted or not. Encrypted PKCS#8 may
   * ask for 5,000,000 iterations of PBKDF2, or 64 MiB of memory for scrypt, at most.
   */
  readonly key?: PemSource | undefined
  /**
   * The CAs whose certificates are accepted from peers: one bundle or several. Nobody else is trusted. Not needed, and not
   * looked at, with `pins` of the mode `instead`.
   */
  readonly ca?: PemSource | ReadonlyArray<PemSource> | undefined
  /**
   * Binds SPIFFE trust domains (`"a.example"`) to their CAs: an id of such a domain under another CA is `NotAuthorized`,
   * and so is a certificate without an id of the domain under a CA that stands here and not in `ca`. A domain that is not
   * named here may have any of `ca`. An intermediate CA can be named too, if its root is trusted. Not together with `pins`
   * of the mode `instead`. Default: none are bound.
   *
   * Source: SPIFFE, "The SPIFFE Trust Domain and Bundle", sections 3 and 5.
   */
  readonly trustDomains?: TrustDomains | undefined
  /** The certificates or keys that peers must have. */
  readonly pins?: Pins.PinsOptions | undefined
  /**
   * Certificate revocation lists, as PEM or DER. Where one is given, each CA in the chain of a peer needs one that is
   * current and speaks of its certificates (RFC 5280, section 5.2.5), or the peer is refused. Not together with `pins` of the mode `instead`, which look at no chain.
   */
  readonly crl?: PemSource | ReadonlyArray<PemSource> | undefined
  /** For an encrypted key. */
  readonly passphrase?: string | Redacted.Redacted | undefined
}

const loadCrl = (sources: PemSource | ReadonlyArray<PemSource>): Effect.Effect<ReadonlyArray<List>, CredentialsError> =>
  Effect.gen(function* () {
    const lists = yield* Effect.forEach(many(sources), (source) => Effect.flatMap(read("crl", source), revocationLists))
    // Without a list nothing would be looked at.
    return lists.length === 0
      ? yield* failure({ part: "crl" }, "NotFound", "no revocation list is given")
      : lists.flat()
  })

/** A revocation list, and where it stands. */
interface List {
  readonly place: string
  readonly pem: string
  readonly read: Crl.Crl
}

const revocationLists = (source: Read): Effect.Effect<ReadonlyArray<List>, CredentialsError> =>
  Effect.gen(function* () {
    const found = (yield* blocksOf(source, "X509 CRL"))
      .filter(({ label }) => label === "X509 CRL")
      .map(({ text }) => text)
    if (found.length === 0) {
      return yield* failure(source, "Malformed", "holds no revocation list")
    }
    return yield* Effect.forEach(found, (pem, index) =>
      Effect.tryPromise({
        try: async () => {
          const place = `revocation list ${index + 1} of ${found.length} of ${placeOf(source)}`
          return { place, pem, read: await Steps.run(Crl.read(derOf(pem))) }
        },
        catch: (error) => {
          const problem = error instanceof Crl.Unsupported ? error.message : "can't be read"
          return failure(source, "Malformed", `revocation list ${index + 1} of ${found.length} ${problem}`)
        }
      })
    )
  })

/** A list that counts for none of the CAs it is named after. Other CAs may be known to peers only. */
const warnIfForeign =
  (issuers: ReadonlyArray<X509Certificate>) =>
  ({ place, read }: List) => {
    const named = issuers.filter(read.isNamed)
    return named.length === 0 || named.some(read.isSignedBy)
      ? Effect.void
      : Effect.logWarning(
          `credentials: ${place} is not used: the CA of its name has not signed it, or may sign no lists`
        )
  }

/** What `load` reads, as files. */
export const filesOf = ({ ca, cert, crl, key, pins, trustDomains }: PemOptions): ReadonlyArray<string> => {
  const issuers = pins?.mode === "instead" ? [] : [...many(ca), ...Object.values(trustDomains ?? {}).flatMap(many)]
  return [cert, key, ...many(crl), ...issuers].flatMap((source) => (source === undefined ? [] : fileOf(source)))
}

/** Reads and checks everything. */
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

const many = <A>(value: A | ReadonlyArray<A> | undefined): ReadonlyArray<A> =>
  value === undefined ? [] : isMany(value) ? value : [value]

const isMany = <A>(value: A | ReadonlyArray<A>): value is ReadonlyArray<A> => Array.isArray(value)

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

/** Each certificate behind the one that it has issued, and once; those that have issued none of them come last. */
const inOrder = (leaf: X509Certificate, others: ReadonlyArray<X509Certificate>): ReadonlyArray<X509Certificate> => {
  const rest = new Map([leaf, ...others].map((each) => [each.fingerprint256, each]))
  const ordered: Array<X509Certificate> = []
  for (let next: X509Certificate | undefined = leaf; next !== undefined; ) {
    const subject: X509Certificate = next
    ordered.push(subject)
    rest.delete(subject.fingerprint256)
    next = [...rest.values()].find((each) => subject.checkIssued(each))
  }
  return [...ordered, ...rest.values()]
}

const certificateLabels = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"]

/**
 * The certificates of PEM or the one of DER, each read by OpenSSL; at least one. What OpenSSL writes behind a
 * `TRUSTED CERTIFICATE` is dropped: the purposes that somebody trusts it for.
 */
const certificates = (source: Read): Effect.Effect<ReadonlyArray<X509Certificate>, CredentialsError> =>
  Effect.gen(function* () {
    const all = yield* blocksOf(source, "CERTIFICATE")
    const found = all.filter(({ label }) => certificateLabels.includes(label))
    if (found.length === 0) {
      const others = [...new Set(all.map(({ label }) => label))].join(", ")
      return yield* failure(source, "Malformed", `holds no PEM certificate${others === "" ? "" : `, but ${others}`}`)
    }
    return yield* Effect.forEach(found, ({ label, text }, index) =>
      Effect.gen(function* () {
        const certificate = yield* Effect.try({
          try: () => {
            const certificate = new X509Certificate(text.replaceAll(label, "CERTIFICATE"))
            if (Number.isNaN(Date.parse(certificate.validFrom) + Date.parse(certificate.validTo))) {
              throw new Error("no validity")
            }
            return certificate
          },
          catch: (error) =>
            failure(source, "Malformed", `certificate ${index + 1} of ${found.length} can't be read${because(error)}`)
        })
        if (label === "TRUSTED CERTIFICATE") {
          yield* Effect.logWarning(
            `credentials: the trust settings of certificate ${index + 1} of ${placeOf(source)} are ignored`
          )
        }
        return certificate
      })
    )
  })

/** Whether the source is DER instead of PEM. */
const isDer = ({ text }: Read) => text.startsWith("\x30") && !text.includes("-----BEGIN ")

/** Lists may be long: what is longer than other files takes its time in turns of the event loop. */
const maxSyncLength = 256 * 1024

/** The blocks of PEM, or the one that DER would be. */
const blocksOf = (source: Read, label: string): Effect.Effect<ReadonlyArray<Block>, CredentialsError> => {
  const steps = isDer(source) ? ofDer(source, label) : scan(source.text)
  return Effect.filterOrFail(
    source.text.length > maxSyncLength
      ? Effect.promise(() => Steps.run(steps))
      : Effect.sync(() => Steps.runSync(steps)),
    (found) => found !== undefined,
    () => failure(source, "Malformed", "a PEM block does not end with an END line of its own")
  )
}

function* ofDer({ text }: Read, label: string): Steps.Steps<ReadonlyArray<Block>> {
  return [{ label, text: yield* armoured(label, Buffer.from(text, "latin1")) }]
}

const privateKey = (source: Read, passphrase: PemOptions["passphrase"]): Effect.Effect<KeyObject, CredentialsError> =>
  Effect.gen(function* () {
    const [block, ...others] = (yield* blocksOf(source, keyLabelOf(source))).filter(({ label }) =>
      label.endsWith("PRIVATE KEY")
    )
    if (block === undefined) {
      return yield* failure(source, "Malformed", "holds no PEM private key")
    }
    if (others.length > 0) {
      return yield* failure(source, "Malformed", "holds more than one private key")
    }
    const encrypted = block.label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type: *4, *ENCRYPTED$/m.test(block.text)
    if (encrypted && passphrase === undefined) {
      return yield* failure(source, "WrongPassphrase", "is encrypted, and no passphrase is given")
    }
    const secret = (Redacted.isRedacted(passphrase) ? Redacted.value(passphrase) : passphrase) ?? ""
    const key =
      block.label === "ENCRYPTED PRIVATE KEY"
        ? ({ key: yield* decrypted(source, derOf(block.text), secret), format: "der", type: "pkcs8" } as const)
        : ({ key: block.text, format: "pem", ...(encrypted ? { passphrase: secret } : {}) } as const)
    return yield* Effect.try({
      try: () => createPrivateKey(key),
      catch: (error) =>
        // What a wrong passphrase makes of a key in the PEM headers of old is anything.
        "passphrase" in key && codeOf(error) !== "ERR_OSSL_EVP_UNSUPPORTED"
          ? failure(source, "WrongPassphrase", "can't be decrypted with the passphrase given")
          : failure(source, "Malformed", `can't be read as a private key${because(error)}`)
    })
  })

const decrypted = (source: Read, der: Buffer, secret: string): Effect.Effect<Buffer, CredentialsError> =>
  Effect.tryPromise({
    try: () => Pkcs12.decryptKey(der, secret),
    catch: (error) =>
      error instanceof Pkcs12.Pkcs12Problem
        ? failure(source, error.reason, error.text)
        : failure(source, "Malformed", "can't be read")
  })

/** What a key in DER is: PKCS#8, encrypted or not, PKCS#1 or SEC 1, which differ in what comes first. */
const keyLabelOf = (source: Read): string => {
  const der = Buffer.from(source.text.slice(0, 16), "latin1")
  const first = 2 + ((der[1] ?? 0) > 0x80 ? (der[1] ?? 0) - 0x80 : 0)
  return der[first] === 0x30
    ? "ENCRYPTED PRIVATE KEY"
    : der[first + 2] === 1
      ? "EC PRIVATE KEY"
      : der[first + 3] === 0x30
        ? "PRIVATE KEY"
        : "RSA PRIVATE KEY"
}

const belongsTo = (key: KeyObject, certificate: X509Certificate): boolean => {
  try {
    return certificate.checkPrivateKey(key)
  } catch {
    return false
  }
}

const warnIfOutdated = (kind: string) => (certificate: X509Certificate) => {
  const validity = validityOf(certificate, Date.now())
  return validity === "Valid"
    ? Effect.void
    : Effect.logWarning(`credentials: a certificate of the ${kind} is not valid now`).pipe(
        Effect.annotateLogs({
          subject: identityOf(certificate).subject,
          notBefore: certificate.validFrom,
          notAfter: certificate.validTo
        })
      )
}

/** OpenSSL's code, which says what it stumbled over and nothing of the text. */
const because = (error: unknown): string => (codeOf(error) === "" ? "" : ` (${codeOf(error)})`)
