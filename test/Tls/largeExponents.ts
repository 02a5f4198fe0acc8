/** A chain that costs OpenSSL much: RSA keys whose public exponents are as long as their moduli. */
import { randomBytes } from "node:crypto"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { holder, issued } from "./mint.js"

/** DER, with the length in front. */
const der = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(parts)
  const length =
    content.length < 0x80 ? Buffer.of(content.length) : Buffer.of(0x82, content.length >> 8, content.length & 0xff)
  return Buffer.concat([Buffer.of(tag), length, content])
}

const sequence = (...parts: ReadonlyArray<Uint8Array>) => der(0x30, ...parts)
const oid = (hex: string) => der(6, Buffer.from(hex, "hex"))
const none = der(5)

const name = (text: string) => sequence(der(0x31, sequence(oid("550403"), der(12, Buffer.from(text)))))

/** The longest that OpenSSL takes with a large exponent (OPENSSL_RSA_SMALL_MODULUS_BITS). */
const modulusBytes = 384

const large = (first: number): Buffer => {
  const bytes = randomBytes(modulusBytes)
  bytes[0] = first
  bytes[modulusBytes - 1] = (bytes[modulusBytes - 1] ?? 0) | 1
  return bytes
}

const sha256WithRsa = sequence(oid("2a864886f70d01010b"), none)

const largeKey = () =>
  sequence(
    sequence(oid("2a864886f70d010101"), none),
    der(3, Buffer.of(0), sequence(der(2, Buffer.of(0), large(0xff)), der(2, large(0x7f))))
  )

/** Signed by nobody: that takes as long to find out. OpenSSL looks for an issuer only by the kind of the signature's key. */
const certificate = (subject: string, issuer: string, key: Uint8Array): string => {
  const time = (offset: number) => {
    const [date = ""] = new Date(Date.now() + offset).toISOString().replaceAll(/[-:T]/g, "").split(".")
    return der(0x17, Buffer.from(`${date.slice(2)}Z`))
  }
  const signed = sequence(
    der(0xa0, der(2, Buffer.of(2))),
    der(2, Buffer.of(1)),
    sha256WithRsa,
    name(issuer),
    sequence(time(-3600_000), time(3600_000)),
    name(subject),
    key,
    // CA:TRUE
    der(0xa3, sequence(sequence(oid("551d13"), der(1, Buffer.of(0xff)), der(4, sequence(der(1, Buffer.of(0xff)))))))
  )
  const bytes = sequence(signed, sha256WithRsa, der(3, Buffer.of(0), large(0x7f)))
  return `-----BEGIN CERTIFICATE-----\n${bytes.toString("base64")}\n-----END CERTIFICATE-----\n`
}

/** A leaf with an ordinary key below so many certificates, as a client shows them. */
export const chainOfLargeExponents = (length: number) =>
  Effect.gen(function* () {
    const leaf = yield* holder("leaf")
    const key = Buffer.from(yield* Effect.promise(() => crypto.subtle.exportKey("spki", leaf.keys.publicKey)))
    const above = Array.from({ length }, (_, i) => certificate(String(i), String(i + 1), largeKey()))
    const shown = yield* issued(leaf, certificate("leaf", "0", key), ...above)
    return { cert: shown.cert, key: Redacted.value(shown.key) }
  })
