/** Makes keys, certificates and revocation lists for `DevCa`. */
import { isIP } from "node:net"
import type * as Library from "@peculiar/x509"
import * as Duration from "effect/Duration"
import * as Redacted from "effect/Redacted"
import type { X509 } from "./x509.js"

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

/** A CA, or whatever else a certificate is for. */
export interface Issuer {
  readonly name: Library.JsonName
  readonly keys: CryptoKeyPair
}

export type CryptoKeyPair = Awaited<ReturnType<typeof newKeys>>

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }

/** A new key pair. */
export const newKeys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])

/** The private key as PEM, PKCS#8. */
export const privatePem = async (x509: X509, key: CryptoKeyPair["privateKey"]): Promise<Redacted.Redacted> =>
  Redacted.make(`${x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY")}\n`)

/** The list of one CA as PEM: by serial number, since when each is revoked. */
export const revocationList = async (
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
export const newIssuer = async (commonName: string): Promise<Issuer> => ({
  name: [{ CN: [commonName.slice(0, 64)] }],
  keys: await newKeys()
})

/** Issues a leaf. */
export const issue = async (x509: X509, ca: Issuer, chain: string, options: IssueOptions): Promise<Issued> => {
  const names = options.spiffeId === undefined ? options.names : [...options.names, options.spiffeId]
  const leaf = await newIssuer(options.commonName ?? names[0] ?? "effect-transport")
  const cert = await certify(
    x509,
    leaf,
    options.selfSigned === true ? leaf : ca,
    options,
    leafExtensions(x509, names, options.usages ?? ["client", "server"])
  )
  return {
    cert: options.selfSigned === true ? cert : cert + chain,
    key: await privatePem(x509, leaf.keys.privateKey)
  }
}

/** A signed certificate as PEM, with what all have in common: a random serial number and both key identifiers. */
export const certify = async (
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

/** What makes a certificate that of a CA. */
export const caExtensions = (x509: X509, pathLength: number): ReadonlyArray<Library.Extension> => [
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
