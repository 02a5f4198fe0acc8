/**
 * A throw-away certificate authority in memory, for tests, demos and development. Its key is in the process that uses
 * it and its certificates are valid for a day: it is not for production.
 *
 * @since 0.1.0
 */
import { isIP } from "node:net"
import type * as Library from "@peculiar/x509"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { load, type X509 } from "./internal/x509.js"

/**
 * When a certificate is valid.
 *
 * @since 0.1.0
 * @category models
 */
export interface Validity {
  /** Default: a minute ago, because clocks differ. */
  readonly notBefore?: Date | undefined
  /** Default: `validFor` from now. */
  readonly notAfter?: Date | undefined
  /** Default: one day. */
  readonly validFor?: Duration.DurationInput | undefined
}

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
 * The options of `issue`.
 *
 * @since 0.1.0
 * @category models
 */
export interface IssueOptions extends Validity {
  /** Subject alternative names: IP addresses, URIs (with `://`), and else DNS names. */
  readonly names: ReadonlyArray<string>
  /** A SPIFFE id, as one more URI among the names. */
  readonly spiffeId?: string | undefined
  /** Default: the first of the names. */
  readonly commonName?: string | undefined
  /** The sides of TLS that it may be used on. Default: both. */
  readonly usages?: ReadonlyArray<"client" | "server"> | undefined
  /** Whether it is signed with its own key instead of the CA's. Default: false. */
  readonly selfSigned?: boolean | undefined
}

/**
 * A certificate and its key, as `Credentials.layerPem` takes them.
 *
 * @since 0.1.0
 * @category models
 */
export interface Issued {
  /** PEM: the leaf, and the intermediate CA if there is one. */
  readonly cert: string
  /** PEM, PKCS#8. */
  readonly key: Redacted.Redacted
}

/**
 * The options of `crl`: when the lists are valid, and which certificates are on that of the issuing CA.
 *
 * @since 0.1.0
 * @category models
 */
export interface CrlOptions extends Validity {
  /** Certificates on this list, besides those that were revoked. */
  readonly revoked?: ReadonlyArray<Pick<Issued, "cert">> | undefined
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
  /** Issues a certificate for a new key. Names that can't stand in a certificate are a defect. */
  readonly issue: (options: IssueOptions) => Effect.Effect<Issued>
  /** Puts a certificate that it has issued on the list that the next `crl` returns. */
  readonly revoke: (issued: Pick<Issued, "cert">) => Effect.Effect<void>
  /** PEM: the certificate revocation list of each of its CAs. */
  readonly crl: (options?: CrlOptions) => Effect.Effect<string>
}

interface Issuer {
  readonly name: Library.JsonName
  readonly keys: CryptoKeyPair
}

type CryptoKeyPair = Awaited<ReturnType<typeof newKeys>>

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }

const newKeys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])

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
      return dev(x509, ca, [root], "")
    }
    const intermediate = await newIssuer("effect-transport throw-away intermediate CA")
    const middle = await certify(x509, intermediate, root, options, caExtensions(x509, 0))
    return dev(x509, ca, [intermediate, root], middle)
  })

/** The first of the issuers signs the leaves. */
const dev = (x509: X509, ca: string, issuers: readonly [Issuer, ...Array<Issuer>], chain: string): DevCa => {
  const [issuer, ...above] = issuers
  const revoked = new Map<string, Date>()
  return {
    ca,
    issue: (leaf) => Effect.promise(() => issue(x509, issuer, chain, leaf)),
    revoke: (issued) =>
      Effect.sync(() => {
        revoked.set(serialNumberOf(x509, issued), new Date())
      }),
    crl: (options = {}) =>
      Effect.promise(async () => {
        const now = new Date()
        const more = (options.revoked ?? []).map((issued) => [serialNumberOf(x509, issued), now] as const)
        const own = await revocationList(x509, issuer, new Map([...revoked, ...more]), options)
        const others = await Promise.all(above.map((each) => revocationList(x509, each, new Map(), options)))
        return [own, ...others].join("")
      })
  }
}

const serialNumberOf = (x509: X509, { cert }: Pick<Issued, "cert">): string =>
  new x509.X509Certificate(cert).serialNumber

const revocationList = async (
  x509: X509,
  issuer: Issuer,
  revoked: ReadonlyMap<string, Date>,
  validity: Validity
): Promise<string> => {
  const { notAfter, notBefore } = period(validity)
  const list = await x509.X509CrlGenerator.create({
    issuer: issuer.name,
    thisUpdate: notBefore,
    nextUpdate: notAfter,
    entries: [...revoked].map(([serialNumber, revocationDate]) => ({ serialNumber, revocationDate })),
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: algorithm
  })
  // The library would write "CRL", which OpenSSL does not read.
  return `${x509.PemConverter.encode(list.rawData, "X509 CRL")}\n`
}

const period = (validity: Validity): { readonly notBefore: Date; readonly notAfter: Date } => {
  const now = Date.now()
  return {
    notBefore: validity.notBefore ?? new Date(now - 60_000),
    notAfter: validity.notAfter ?? new Date(now + Duration.toMillis(validity.validFor ?? "1 day"))
  }
}

/** A new key under a name. A common name has 64 characters at most (RFC 5280, ub-common-name). */
const newIssuer = async (commonName: string): Promise<Issuer> => ({
  name: [{ CN: [commonName.slice(0, 64)] }],
  keys: await newKeys()
})

const issue = async (x509: X509, ca: Issuer, chain: string, options: IssueOptions): Promise<Issued> => {
  const names = options.spiffeId === undefined ? options.names : [...options.names, options.spiffeId]
  const leaf = await newIssuer(options.commonName ?? names[0] ?? "effect-transport")
  const cert = await certify(
    x509,
    leaf,
    options.selfSigned === true ? leaf : ca,
    options,
    leafExtensions(x509, names, options.usages ?? ["client", "server"])
  )
  const key = await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey)
  return {
    cert: options.selfSigned === true ? cert : cert + chain,
    key: Redacted.make(`${x509.PemConverter.encode(key, "PRIVATE KEY")}\n`)
  }
}

/** A signed certificate as PEM, with what all have in common: a random serial number and both key identifiers. */
const certify = async (
  x509: X509,
  subject: Issuer,
  issuer: Issuer,
  validity: Validity,
  extensions: ReadonlyArray<Library.Extension>
): Promise<string> => {
  const certificate = await x509.X509CertificateGenerator.create({
    subject: subject.name,
    issuer: issuer.name,
    publicKey: subject.keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: algorithm,
    ...period(validity),
    extensions: [
      ...extensions,
      await x509.SubjectKeyIdentifierExtension.create(subject.keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey)
    ]
  })
  return `${certificate.toString("pem")}\n`
}

const caExtensions = (x509: X509, pathLength: number): ReadonlyArray<Library.Extension> => [
  new x509.BasicConstraintsExtension(true, pathLength, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true)
]

const leafExtensions = (
  x509: X509,
  names: ReadonlyArray<string>,
  usages: ReadonlyArray<"client" | "server">
): ReadonlyArray<Library.Extension> => [
  new x509.BasicConstraintsExtension(false, undefined, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
  new x509.ExtendedKeyUsageExtension(
    usages.map((usage) => x509.ExtendedKeyUsage[usage === "client" ? "clientAuth" : "serverAuth"])
  ),
  // The list of names must not be empty (RFC 5280, section 4.2.1.6).
  ...(names.length === 0 ? [] : [new x509.SubjectAlternativeNameExtension(names.map(generalName))])
]

const generalName = (name: string): Library.JsonGeneralName =>
  isIP(name) !== 0
    ? { type: "ip", value: name }
    : name.includes("://")
      ? { type: "url", value: name }
      : { type: "dns", value: name }
