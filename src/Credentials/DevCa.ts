/**
 * A throw-away certificate authority in memory, for tests, demos and development. Its key is in the process that uses
 * it and its certificates are valid for a day: it is not for production.
 *
 * @since 0.1.0
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { CredentialsError } from "../Transport/TransportError.js"
import {
  caExtensions,
  certify,
  type Issued,
  type IssueOptions,
  type Issuer,
  issue,
  newIssuer,
  privatePem,
  revocationList,
  type Validity
} from "./internal/issuing.js"
import { load, type X509 } from "./internal/x509.js"
import { failure } from "./Pem.js"

export type { Issued, IssueOptions, Validity }

/**
 * The options of `make`.
 *
 * @since 0.1.0
 * @category models
 */
export interface CaOptions extends Validity {
  /** Default: `effect-transport throw-away CA`. */
  readonly commonName?: string | undefined
  /** Whether an intermediate CA issues, which the root has signed and which is in each chain. Default: false. */
  readonly intermediate?: boolean | undefined
}

/**
 * The options of `crl`: when the lists are valid, and which certificates are on that of the issuing CA.
 *
 * @since 0.1.0
 * @category models
 */
export interface CrlOptions extends Validity {
  /** Certificates on this list, besides those that were revoked, and since when they are on it. Default: since now. */
  readonly revoked?: ReadonlyArray<Pick<Issued, "cert"> & { readonly at?: Date | undefined }> | undefined
}

/**
 * The options of `open`.
 *
 * @since 0.1.0
 * @category models
 */
export interface OpenOptions {
  /** PEM: the certificate of a root that signs leaves, as `ca` of a `DevCa` has it. */
  readonly ca: string
  /** PEM, PKCS#8, not encrypted: its key, EC P-256, as `key` of a `DevCa` has it. */
  readonly key: Redacted.Redacted
}

/**
 * A throw-away certificate authority.
 *
 * @since 0.1.0
 * @category models
 */
export interface DevCa {
  /** PEM: the certificate of the root. */
  readonly ca: string
  /** PEM, PKCS#8: the key of the CA that issues, for `open`. */
  readonly key: Redacted.Redacted
  /** Issues a certificate for a new key. Names that can't stand in a certificate are a defect. */
  readonly issue: (options: IssueOptions) => Effect.Effect<Issued>
  /** Puts a certificate that it has issued on the list that the next `crl` returns. */
  readonly revoke: (issued: Pick<Issued, "cert">) => Effect.Effect<void>
  /** PEM: the certificate revocation list of each of its CAs. */
  readonly crl: (options?: CrlOptions) => Effect.Effect<string>
}

/**
 * Makes a certificate authority with EC P-256 keys. The first one in a process takes some 0.2 s to load the library,
 * every further certificate a few milliseconds. Never fails.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: CaOptions = {}): Effect.Effect<DevCa> =>
  Effect.promise(async () => {
    const x509 = load()
    const root = await newIssuer(options.commonName ?? "effect-transport throw-away CA")
    const ca = await certify(x509, root, root, options, caExtensions(x509, options.intermediate === true ? 1 : 0))
    if (options.intermediate !== true) {
      return dev(x509, ca, await privatePem(x509, root.keys.privateKey), [root], "")
    }
    const intermediate = await newIssuer("effect-transport throw-away intermediate CA")
    const middle = await certify(x509, intermediate, root, options, caExtensions(x509, 0))
    return dev(x509, ca, await privatePem(x509, intermediate.keys.privateKey), [intermediate, root], middle)
  })

const unusable = (part: "ca" | "key", problem: string): CredentialsError =>
  failure({ part }, part === "key" && problem.startsWith("does not") ? "KeyMismatch" : "Malformed", problem)

const readCa = (pem: string): X509Certificate | undefined => {
  try {
    return new X509Certificate(pem)
  } catch {
    return undefined
  }
}

const readKey = (key: Redacted.Redacted): KeyObject | undefined => {
  try {
    return createPrivateKey(Redacted.value(key))
  } catch {
    return undefined
  }
}

/**
 * A certificate authority that was made before, from its certificate and key; what it has revoked then is for the caller
 * to remember. Fails with `CredentialsError`: `Malformed` where one of the two can't be read, the certificate is not that
 * of a CA, or the key is not EC P-256, and `KeyMismatch` where they do not belong together.
 *
 * @since 0.1.0
 * @category constructors
 */
export const open = (options: OpenOptions): Effect.Effect<DevCa, CredentialsError> =>
  Effect.gen(function* () {
    const certificate = readCa(options.ca)
    if (certificate === undefined) {
      return yield* unusable("ca", "holds no certificate")
    }
    if (!certificate.ca) {
      return yield* unusable("ca", "the certificate is not that of a CA")
    }
    const key = readKey(options.key)
    if (key?.asymmetricKeyDetails?.namedCurve !== "prime256v1") {
      return yield* unusable("key", "is no EC P-256 key in PKCS#8 that is not encrypted")
    }
    if (!certificate.checkPrivateKey(key)) {
      return yield* unusable("key", "does not belong to the certificate of the CA")
    }
    return yield* Effect.tryPromise({
      try: async () => {
        const x509 = load()
        const { subjectName } = new x509.X509Certificate(certificate.raw)
        const curve = { name: "ECDSA", namedCurve: "P-256" }
        const publicKey = certificate.publicKey.export({ type: "spki", format: "der" })
        const privateKey = key.export({ type: "pkcs8", format: "der" })
        const issuer: Issuer = {
          name: subjectName.toJSON(),
          keys: {
            publicKey: await crypto.subtle.importKey("spki", publicKey, curve, true, ["verify"]),
            privateKey: await crypto.subtle.importKey("pkcs8", privateKey, curve, true, ["sign"])
          }
        }
        return dev(x509, certificate.toString(), await privatePem(x509, issuer.keys.privateKey), [issuer], "")
      },
      catch: () => unusable("ca", "can't be used to issue certificates")
    })
  })

/** The first of the issuers signs the leaves. */
const dev = (
  x509: X509,
  ca: string,
  key: Redacted.Redacted,
  issuers: readonly [Issuer, ...Array<Issuer>],
  chain: string
): DevCa => {
  const [issuer, ...above] = issuers
  const revoked = new Map<string, Date>()
  return {
    ca,
    key,
    issue: (leaf) => Effect.promise(() => issue(x509, issuer, chain, leaf)),
    revoke: (issued) =>
      Effect.sync(() => {
        revoked.set(serialNumberOf(x509, issued), new Date())
      }),
    crl: (options = {}) =>
      Effect.promise(async () => {
        const now = new Date()
        const more = (options.revoked ?? []).map((issued) => [serialNumberOf(x509, issued), issued.at ?? now] as const)
        const own = await revocationList(x509, issuer, new Map([...revoked, ...more]), options)
        const others = await Promise.all(above.map((each) => revocationList(x509, each, new Map(), options)))
        return [own, ...others].join("")
      })
  }
}

const serialNumberOf = (x509: X509, { cert }: Pick<Issued, "cert">): string =>
  new x509.X509Certificate(cert).serialNumber
