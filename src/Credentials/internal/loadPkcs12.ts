/** From PKCS#12 to `Material`, by way of PEM that is checked as any other. */
import { createPrivateKey, X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { CredentialsError } from "../../Transport/TransportError.js"
import { failure, type PemSource, type Read, read } from "../Pem.js"
import type * as Pins from "../Pins.js"
import { load as loadPem, type PemOptions, filesOf as pemFilesOf, type TrustDomains } from "./load.js"
import { belongsTo } from "./loadKey.js"
import type { Tls } from "./material.js"
import * as Pkcs12 from "./pkcs12.js"

/**
 * The options of `layerPkcs12`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pkcs12Options {
  /**
   * The PKCS#12 (`.p12`, `.pfx`): a key with its certificate chain, or certificates only, of at most 1 MiB. Written by
   * OpenSSL (also with `-legacy`), Java, GnuTLS and others, with or without a MAC, also one by PBMAC1 (RFC 9579).
   */
  readonly pfx: Uint8Array | { readonly file: string }
  /** Default: empty. */
  readonly passphrase?: string | Redacted.Redacted | undefined
  /** The CAs that are trusted, as PEM. Default: the roots in the PKCS#12. */
  readonly ca?: PemSource | ReadonlyArray<PemSource> | undefined
  /** The CAs of SPIFFE trust domains, as `layerPem` takes them. The roots in the PKCS#12 stay trusted. */
  readonly trustDomains?: TrustDomains | undefined
  /** The certificates or keys that peers must have. */
  readonly pins?: Pins.PinsOptions | undefined
  /** Certificate revocation lists, as `layerPem` takes them. */
  readonly crl?: PemSource | ReadonlyArray<PemSource> | undefined
}

const toPem = (options: Pkcs12Options, source: Read): Effect.Effect<PemOptions, CredentialsError> =>
  Effect.gen(function* () {
    const { passphrase = "" } = options
    const { certificates, keys } = yield* Effect.tryPromise({
      try: () =>
        Pkcs12.read(
          Buffer.from(source.text, "latin1"),
          Redacted.isRedacted(passphrase) ? Redacted.value(passphrase) : passphrase
        ),
      catch: (error) =>
        error instanceof Pkcs12.Pkcs12Problem
          ? failure(source, error.reason, error.text)
          : failure(source, "Malformed", "can't be read")
    })
    const [der, ...others] = keys
    if (others.length > 0) {
      return yield* failure(source, "Malformed", "holds more than one private key")
    }
    const all = yield* Effect.forEach(certificates, (der, index) =>
      Effect.try({
        try: () => new X509Certificate(der),
        catch: () => failure(source, "Malformed", `certificate ${index + 1} of ${certificates.length} can't be read`)
      })
    )
    const { ca = all.filter(isRoot).map((root) => root.toString()), crl, pins, trustDomains } = options
    if (der === undefined) {
      return all.length === 0 ? yield* failure(source, "NotFound", "is empty") : { ca, crl, pins, trustDomains }
    }
    const key = yield* Effect.try({
      try: () => createPrivateKey({ key: der, format: "der", type: "pkcs8" }),
      catch: () => failure(source, "Malformed", "its private key is of no kind that can be used")
    })
    const leaf = all.find((certificate) => belongsTo(key, certificate))
    if (leaf === undefined) {
      return all.length === 0
        ? yield* failure(source, "NotFound", "holds a private key and no certificate")
        : yield* failure(source, "KeyMismatch", "holds a private key that belongs to none of its certificates")
    }
    return {
      cert: chainOf(leaf, all).join(""),
      key: Redacted.make(String(key.export({ type: "pkcs8", format: "pem" }))),
      ca,
      crl,
      pins,
      trustDomains
    }
  })

const isRoot = (certificate: X509Certificate): boolean => certificate.ca && certificate.checkIssued(certificate)

/**
 * The leaf and the intermediates above it, whatever order they come in; roots are left out, because peers have their
 * own.
 */
const chainOf = (leaf: X509Certificate, all: ReadonlyArray<X509Certificate>): ReadonlyArray<string> => {
  const chain = [leaf]
  for (let last: X509Certificate | undefined = leaf; last !== undefined; ) {
    const subject: X509Certificate = last
    last = all.find((each) => !chain.includes(each) && !isRoot(each) && subject.checkIssued(each))
    if (last !== undefined) {
      chain.push(last)
    }
  }
  return chain.map((certificate) => certificate.toString())
}

/** Reads and checks everything. Fails with the `CredentialsError` of the first part that can't be used. */
export const load = (options: Pkcs12Options): Effect.Effect<Tls, CredentialsError> =>
  Effect.gen(function* () {
    const source = yield* read("pfx", options.pfx)
    if (source.text === "") {
      return yield* failure(source, "Malformed", "is empty")
    }
    const pem = yield* toPem(options, source)
    return yield* Effect.mapError(loadPem(pem), (error) =>
      // The user has given a PKCS#12 and no `cert`, `key` or `ca`.
      error.part === "cert" || error.part === "key" || (error.part === "ca" && options.ca === undefined)
        ? failure(source, error.reason, error.message.replace(/^[a-z]+: /, ""), error.notAfter)
        : error
    )
  })

/** The files that `load` reads. */
export const filesOf = ({ ca, crl, pfx, pins, trustDomains }: Pkcs12Options): ReadonlyArray<string> => [
  ...(pfx instanceof Uint8Array ? [] : [pfx.file]),
  ...pemFilesOf({ ca, crl, pins, trustDomains })
]
