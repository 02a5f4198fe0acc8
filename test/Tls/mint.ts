import { X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type * as DevCa from "../../src/Tls/DevCa.js"
import { load } from "../../src/Tls/internal/x509.js"

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" }

export type Keys = Awaited<ReturnType<typeof newKeys>>

const newKeys = () => crypto.subtle.generateKey(algorithm, true, ["sign", "verify"])

/** A name and its key, which any number of certificates can be about. */
export interface Holder {
  readonly name: string
  readonly keys: Keys
}

export const holder = (name: string): Effect.Effect<Holder> =>
  Effect.promise(async () => ({ name, keys: await newKeys() }))

export interface MintOptions {
  readonly ca?: boolean
  readonly pathLength?: number
  readonly names?: ReadonlyArray<string>
  readonly usages?: ReadonlyArray<string>
  /** Whether it says which keys it is about; OpenSSL takes the first of two CAs of one name otherwise. Default: no. */
  readonly identifiers?: boolean
  readonly notBefore?: Date
  readonly notAfter?: Date
  /** Further extensions: the last part of the id (2.5.29.x), and the DER of the value. */
  readonly extensions?: ReadonlyArray<readonly [number, Buffer]>
}

/** A certificate of whatever kind, as PEM. A CA's where no names are given. */
export const mint = (subject: Holder, issuer: Holder, options: MintOptions = {}): Effect.Effect<string> =>
  Effect.promise(async () => {
    const x509 = load()
    const { ca = options.names === undefined, extensions = [], names = [], usages = [] } = options
    const certificate = await x509.X509CertificateGenerator.create({
      subject: `CN=${subject.name}`,
      issuer: `CN=${issuer.name}`,
      publicKey: subject.keys.publicKey,
      signingKey: issuer.keys.privateKey,
      signingAlgorithm: { ...issuer.keys.privateKey.algorithm, hash: "SHA-256" },
      notBefore: options.notBefore ?? new Date(Date.now() - 60_000),
      notAfter: options.notAfter ?? new Date(Date.now() + 3600_000),
      extensions: [
        new x509.BasicConstraintsExtension(ca, options.pathLength, true),
        ...(usages.length === 0 ? [] : [new x509.ExtendedKeyUsageExtension([...usages])]),
        ...(names.length === 0
          ? []
          : [
              new x509.SubjectAlternativeNameExtension(
                names.map((name) =>
                  name.includes("://")
                    ? { type: "url" as const, value: name }
                    : /^[\d.]+$|:/.test(name)
                      ? { type: "ip" as const, value: name }
                      : { type: "dns" as const, value: name }
                )
              )
            ]),
        ...(options.identifiers === true
          ? [
              await x509.SubjectKeyIdentifierExtension.create(subject.keys.publicKey),
              await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey)
            ]
          : []),
        ...extensions.map(([id, value]) => new x509.Extension(`2.5.29.${id}`, true, value))
      ]
    })
    return `${certificate.toString("pem")}\n`
  })

/** What a holder shows, with the chain above it. */
export const issued = ({ keys }: Holder, ...chain: ReadonlyArray<string>): Effect.Effect<DevCa.Issued> =>
  Effect.promise(async () => ({
    cert: chain.join(""),
    key: Redacted.make(
      `${load().PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY")}\n`
    )
  }))

export const read = (pem: string): X509Certificate => new X509Certificate(pem)

/** The fingerprint of a PEM certificate, as `Peer.Identity` has it. */
export const fingerprint = (pem: string): string => read(pem).fingerprint256.replaceAll(":", "").toLowerCase()
