/**
 * Writes PKCS#12 (RFC 7292). The key is encrypted by PBES2 with AES-256, as Node writes encrypted PKCS#8; certificates, which
 * are public, are not; and all of it is authenticated by HMAC-SHA256. OpenSSL 1.1 and newer, Java 8u301 and newer, and
 * GnuTLS read it.
 */
import { createHmac, createPrivateKey, randomBytes, X509Certificate } from "node:crypto"
import * as Redacted from "effect/Redacted"
import forge from "node-forge"

/** What goes into the file. */
export interface Contents {
  /** PEM, the leaf first. */
  readonly chain: string
  /** PEM, PKCS#8, not encrypted. */
  readonly key: Redacted.Redacted
  /** PEM, one certificate each. */
  readonly ca: ReadonlyArray<string>
  readonly friendlyName: string
  readonly passphrase: Redacted.Redacted
}

const der = (tag: number, ...contents: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(contents)
  const { length } = content
  const bytes =
    length === 0
      ? []
      : [
          ...Buffer.from(
            length.toString(16).padStart(length > 0xff ? 2 * Math.ceil(length.toString(16).length / 2) : 2, "0"),
            "hex"
          )
        ]
  const head = length < 0x80 ? [tag, length] : [tag, 0x80 | bytes.length, ...bytes]
  return Buffer.concat([Buffer.from(head), content])
}

const sequence = (...contents: ReadonlyArray<Uint8Array>) => der(0x30, ...contents)
const set = (...contents: ReadonlyArray<Uint8Array>) => der(0x31, ...contents)
const octets = (bytes: Uint8Array) => der(0x04, bytes)
const explicit = (content: Uint8Array) => der(0xa0, content)
const nothing = der(0x05)
const oid = (name: string) => der(0x06, Buffer.from(forge.asn1.oidToDer(name).getBytes(), "latin1"))
const integer = (value: number) => {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.padStart(hex.length + (hex.length % 2), "0"), "hex")
  return der(0x02, (bytes[0] ?? 0) > 0x7f ? Buffer.concat([Buffer.of(0), bytes]) : bytes)
}
const bmp = (text: string) => der(0x1e, Buffer.from(text, "utf16le").swap16())

const data = (content: Uint8Array) => sequence(oid("1.2.840.113549.1.7.1"), explicit(octets(content)))

/** Which certificate the key belongs to, and what keychains call the two. */
const attributes = (id: Uint8Array, name: string) =>
  set(sequence(oid("1.2.840.113549.1.9.20"), set(bmp(name))), sequence(oid("1.2.840.113549.1.9.21"), set(octets(id))))

const certificateBag = (certificate: Uint8Array, ...attributes: ReadonlyArray<Uint8Array>) =>
  sequence(
    oid("1.2.840.113549.1.12.10.1.3"),
    explicit(sequence(oid("1.2.840.113549.1.9.22.1"), explicit(octets(certificate)))),
    ...attributes
  )

const keyBag = (key: Uint8Array, attributes: Uint8Array) =>
  sequence(oid("1.2.840.113549.1.12.10.1.2"), explicit(key), attributes)

/** As many rounds as OpenSSL 3 makes. */
const rounds = 2048

const mac = (authenticated: Uint8Array, passphrase: string): Buffer => {
  const salt = randomBytes(16)
  const key = forge.pkcs12.generateKey(
    passphrase,
    forge.util.createBuffer(salt.toString("latin1")),
    3,
    rounds,
    32,
    forge.md.sha256.create()
  )
  const digest = createHmac("sha256", Buffer.from(key.getBytes(), "latin1")).update(authenticated).digest()
  return sequence(
    sequence(sequence(oid("2.16.840.1.101.3.4.2.1"), nothing), octets(digest)),
    octets(salt),
    integer(rounds)
  )
}

const certificatesIn = (pem: string): ReadonlyArray<Buffer> =>
  (pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []).map(
    (one) => new X509Certificate(one).raw
  )

/** The bytes of the file. */
export const write = async ({ ca, chain, friendlyName, key, passphrase }: Contents): Promise<Buffer> => {
  const secret = Redacted.value(passphrase)
  const encrypted = createPrivateKey(Redacted.value(key)).export({
    type: "pkcs8",
    format: "der",
    cipher: "aes-256-cbc",
    passphrase: secret
  })
  const [leaf = Buffer.alloc(0), ...others] = certificatesIn(chain)
  const about = attributes(Buffer.from(new X509Certificate(leaf).fingerprint.replaceAll(":", ""), "hex"), friendlyName)
  const authenticated = sequence(
    data(
      sequence(
        certificateBag(leaf, about),
        ...[...others, ...ca.flatMap(certificatesIn)].map((each) => certificateBag(each))
      )
    ),
    data(sequence(keyBag(encrypted, about)))
  )
  return sequence(integer(3), data(authenticated), mac(authenticated, secret))
}
