/** What is in a file: certificates, keys, revocation lists; PEM, DER or PKCS#12. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { Credentials, DevCa, type TransportError } from "effect-transport"
import { Failure } from "../../shared/failure.js"
import * as Files from "../../shared/files.js"
import { type List, readList } from "./list.js"

/** A private key: its kind, and the certificate in the same file that it belongs to. */
export interface Key {
  readonly kind: string
  readonly isEncrypted: boolean
  readonly key: KeyObject | undefined
}

/** A file, as it was read. */
export interface Contents {
  readonly file: string
  readonly format: "PEM" | "DER" | "PKCS#12"
  readonly certificates: ReadonlyArray<X509Certificate>
  readonly keys: ReadonlyArray<Key>
  readonly lists: ReadonlyArray<List>
}

/** The material of a layer of credentials. */
export const materialOf = <E>(
  layer: Layer.Layer<Credentials.Credentials, E>
): Effect.Effect<Credentials.Tls, E | Failure> =>
  Effect.scoped(
    Effect.flatMap(Layer.build(layer), (context) =>
      Effect.provide(
        Effect.flatMap(Credentials.Credentials, ({ current }) => current),
        context
      )
    )
  ).pipe(
    Effect.flatMap((material) =>
      material._tag === "Tls"
        ? Effect.succeed(material)
        : new Failure({ message: "there is no certificate without TLS", hint: "leave --insecure away" })
    )
  )

/** The certificates in PEM, as the library has put it in order. */
export const certificatesIn = (pem: string): ReadonlyArray<X509Certificate> =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map((one) => new X509Certificate(one))

const keyKind = ({ asymmetricKeyDetails, asymmetricKeyType }: KeyObject): string => {
  const { modulusLength, namedCurve } = asymmetricKeyDetails ?? {}
  return namedCurve !== undefined
    ? `EC ${namedCurve === "prime256v1" ? "P-256" : namedCurve}`
    : modulusLength !== undefined
      ? `${String(asymmetricKeyType).toUpperCase()} ${modulusLength}`
      : (asymmetricKeyType ?? "unknown")
}

/** The kind of the key in a certificate. */
export const keyKindOf = (certificate: X509Certificate): string => keyKind(certificate.publicKey)

const readKey = (pem: string, passphrase: Option.Option<Redacted.Redacted>): Key => {
  const isEncrypted = /ENCRYPTED/.test(pem)
  try {
    const key = createPrivateKey({
      key: pem,
      ...(Option.isSome(passphrase) ? { passphrase: Redacted.value(passphrase.value) } : {})
    })
    return { kind: keyKind(key), isEncrypted, key }
  } catch {
    return { kind: isEncrypted ? "encrypted" : "unreadable", isEncrypted, key: undefined }
  }
}

const derOf = (pem: string): Buffer => Buffer.from(pem.replace(/-----[^-]+-----/g, ""), "base64")

const attempt = <A>(f: () => A): Option.Option<A> => Option.liftThrowable(f)()

/** All certificates of a file in whatever way the library reads them; none where it finds none. */
const certificatesOf = (file: string): Effect.Effect<ReadonlyArray<X509Certificate>> =>
  materialOf(Credentials.layerPem({ ca: { file } })).pipe(
    Effect.map(({ ca }) => ca.flatMap(certificatesIn)),
    Effect.orElseSucceed(() => [])
  )

const blocks = (text: string, label: RegExp): ReadonlyArray<string> =>
  [...text.matchAll(/-----BEGIN ([A-Z0-9 ]+)-----[\s\S]+?-----END \1-----/g)].flatMap(([block, name = ""]) =>
    label.test(name) ? [block] : []
  )

const pkcs12 = (file: string, passphrase: Option.Option<Redacted.Redacted>) =>
  Effect.gen(function* () {
    const load = (ca?: string) =>
      materialOf(
        Credentials.layerPkcs12({
          pfx: { file },
          passphrase: Option.getOrUndefined(passphrase),
          ...(ca === undefined ? {} : { ca })
        })
      )
    // Without a root inside the library wants to be told whom to trust, which does not matter here.
    const material = yield* Effect.catchIf(
      load(),
      (error) => error._tag === "CredentialsError" && error.reason === "NotFound",
      () => Effect.flatMap(DevCa.make(), ({ ca }) => Effect.map(load(ca), (material) => ({ ...material, ca: [] })))
    )
    const chain = Option.match(material.certificate, {
      onNone: () => [],
      onSome: ({ chain }) => certificatesIn(chain)
    })
    const keys = Option.toArray(material.certificate).map(({ key }) => readKey(Redacted.value(key), Option.none()))
    return {
      file,
      format: "PKCS#12" as const,
      certificates: [...chain, ...material.ca.flatMap(certificatesIn)],
      keys: keys.map((key) => ({ ...key, isEncrypted: true })),
      lists: []
    }
  })

/** The first byte of all that is DER. */
const sequence = 0x30

/** Reads a file. Fails with what to do where it holds nothing that is known. */
export const read = (
  file: string,
  passphrase: Option.Option<Redacted.Redacted>
): Effect.Effect<Contents, Failure | TransportError.CredentialsError> =>
  Effect.gen(function* () {
    const bytes = yield* Files.readBytes(file)
    const text = bytes.toString("latin1")
    const certificates = yield* certificatesOf(file)
    const keys = blocks(text, /PRIVATE KEY$/).map((pem) => readKey(pem, passphrase))
    const lists = blocks(text, /^X509 CRL$/).flatMap((pem) => Option.toArray(attempt(() => readList(derOf(pem)))))
    const isDer = bytes[0] === sequence
    if (certificates.length + keys.length + lists.length > 0) {
      return { file, format: isDer ? "DER" : "PEM", certificates, keys, lists }
    }
    const list = isDer ? attempt(() => readList(bytes)) : Option.none()
    if (Option.isSome(list)) {
      return { file, format: "DER", certificates: [], keys: [], lists: [list.value] }
    }
    const der = isDer ? attempt(() => createPrivateKey({ key: bytes, format: "der", type: "pkcs8" })) : Option.none()
    if (Option.isSome(der)) {
      const key = { kind: keyKind(der.value), isEncrypted: false, key: der.value }
      return { file, format: "DER", certificates: [], keys: [key], lists: [] }
    }
    const packed = isDer ? yield* Effect.either(pkcs12(file, passphrase)) : undefined
    if (packed !== undefined && Either.isRight(packed)) {
      return packed.right
    }
    return yield* packed !== undefined && packed.left._tag === "CredentialsError" && packed.left.reason !== "Malformed"
      ? packed.left
      : new Failure({
          message: `${file} holds no certificate, key or revocation list that can be read`,
          hint: "give a file in PEM, DER or PKCS#12"
        })
  })
