/** Keys and certificates as OpenSSL writes them, in every form. */
import { createPrivateKey, X509Certificate } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Credentials from "../../src/Credentials/Credentials.js"
import { describeWith } from "../fixtures/command.js"
import { tlsOf } from "../fixtures/tls.js"
import { within } from "../suite/fixtures/expect.js"
import { heldDuring } from "../suite/fixtures/observe.js"
import { directory } from "../suite/fixtures/system.js"
import * as OpenSsl from "./openssl.js"

/** A key of Ed25519 with its certificate, and what encrypts it as PKCS#8. */
const edwards = Effect.gen(function* () {
  const dir = yield* directory
  yield* OpenSsl.run(dir, "genpkey", "-algorithm", "ED25519", "-out", "key.pem")
  yield* OpenSsl.run(dir, "req", "-x509", "-key", "key.pem", "-subj", "/CN=node", "-days", "2", "-out", "cert.pem")
  const cert = join(dir, "cert.pem")
  return {
    dir,
    options: { cert, ca: cert, key: join(dir, "key.pem") },
    pkcs8: ["pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:secret"]
  }
})

describeWith(["openssl"], "keys that openssl made", () => {
  const algorithms: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["EC P-256", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]],
    ["EC P-384", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]],
    ["RSA", ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"]],
    ["Ed25519", ["-algorithm", "ED25519"]]
  ]
  it.scopedLive.each(algorithms)("%s in every form", ([name, generate]) =>
    Effect.gen(function* () {
      const dir = yield* directory
      const openssl = (...args: ReadonlyArray<string>) => OpenSsl.run(dir, ...args)
      yield* openssl("genpkey", ...generate, "-out", "key.pem")
      yield* openssl("req", "-x509", "-key", "key.pem", "-subj", "/CN=node", "-days", "2", "-out", "cert.pem")
      const cert = join(dir, "cert.pem")
      const options = { cert, ca: cert }

      const plain = ["key.pem"]
      const encrypted: Array<string> = []
      const pkcs8 = ["pkcs8", "-topk8", "-in", "key.pem", "-passout", "pass:secret"]
      yield* openssl(...pkcs8, "-v2", "aes-256-cbc", "-out", "aes.pem")
      yield* openssl(...pkcs8, "-scrypt", "-out", "scrypt.pem")
      yield* openssl(...pkcs8, "-v1", "PBE-SHA1-3DES", "-out", "3des.pem")
      encrypted.push("aes.pem", "scrypt.pem", "3des.pem")
      if (name !== "Ed25519") {
        // PKCS#1 of RSA, SEC 1 of EC, and their encryption in the PEM headers.
        const traditional = ["pkey", "-in", "key.pem", "-traditional"]
        yield* openssl(...traditional, "-out", "traditional.pem")
        yield* openssl(...traditional, "-aes256", "-passout", "pass:secret", "-out", "legacy.pem")
        plain.push("traditional.pem")
        encrypted.push("legacy.pem")
      }

      for (const file of plain) {
        const key = join(dir, file)
        for (const passphrase of [undefined, "whatever"]) {
          const material = yield* tlsOf(Credentials.layerPem({ ...options, key, passphrase }))
          expect(Option.getOrThrow(material.certificate).identity.subject).toBe("CN=node")
        }
      }
      for (const file of encrypted) {
        const key = join(dir, file)
        for (const passphrase of ["secret", Redacted.make("secret")]) {
          const material = yield* tlsOf(Credentials.layerPem({ ...options, key, passphrase }))
          expect(Redacted.value(Option.getOrThrow(material.certificate).key)).toMatch(/^-----BEGIN PRIVATE KEY-----/)
        }
        for (const passphrase of ["wrong", "", undefined, "x".repeat(5000)]) {
          const error = yield* Effect.flip(tlsOf(Credentials.layerPem({ ...options, key, passphrase })))
          expect(error).toMatchObject({ reason: "WrongPassphrase", part: "key", file: key })
        }
      }
    })
  )

  it.scopedLive("a wrong passphrase that happens to unpad is a wrong passphrase too", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      yield* OpenSsl.run(dir, "genpkey", "-algorithm", "ED25519", "-out", "key.pem")
      yield* OpenSsl.run(dir, "req", "-x509", "-key", "key.pem", "-subj", "/CN=node", "-days", "2", "-out", "cert.pem")
      const encrypt = ["-topk8", "-in", "key.pem", "-passout", "pass:secret", "-v1", "PBE-SHA1-3DES"]
      yield* OpenSsl.run(dir, "pkcs8", ...encrypt, "-iter", "1", "-out", "encrypted.pem")
      const cert = join(dir, "cert.pem")
      const key = yield* Effect.promise(() => readFile(join(dir, "encrypted.pem")))
      for (let attempt = 0; attempt < 300; attempt++) {
        const passphrase = `wrong-${attempt}`
        const error = yield* Effect.flip(tlsOf(Credentials.layerPem({ cert, ca: cert, key, passphrase })))
        expect(error.reason).toBe("WrongPassphrase")
      }
    })
  )

  it.scopedLive("with the ciphers and hashes that OpenSSL has", () =>
    Effect.gen(function* () {
      const { dir, options, pkcs8 } = yield* edwards
      for (const args of [
        ["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA512"],
        ["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA1"],
        ["-v2", "des3", "-v2prf", "hmacWithSHA224"],
        ["-v2", "camellia-256-cbc", "-v2prf", "hmacWithSHA384"],
        ["-v2", "aria-128-cbc"],
        ["-scrypt", "-scrypt_N", "32768", "-scrypt_r", "4", "-scrypt_p", "2"]
      ]) {
        yield* OpenSsl.run(dir, ...pkcs8, ...args, "-out", "encrypted.pem")
        const key = join(dir, "encrypted.pem")
        yield* tlsOf(Credentials.layerPem({ ...options, key, passphrase: "secret" }))
        expect(
          yield* Effect.flip(tlsOf(Credentials.layerPem({ ...options, key, passphrase: "Secret" })))
        ).toMatchObject({ reason: "WrongPassphrase", file: key })
      }
    })
  )

  it.scopedLive("that asks for too much work is refused before it is done", () =>
    Effect.gen(function* () {
      const { dir, options, pkcs8 } = yield* edwards
      for (const [args, written, wanted, text] of [
        [["-iter", "65537"], "0203010001", "02037fffff", "asks for 8388607 iterations"],
        [["-iter", "65537", "-v1", "PBE-SHA1-3DES"], "0203010001", "02037fffff", "asks for 8388607 iterations"],
        [["-scrypt"], "02024000020108020101", "0202400002010802017f", "asks for 16384 iterations"],
        [["-scrypt"], "02024000020108020101", "0202400002017f020101", "asks for 266338304 bytes of memory"],
        [["-scrypt"], "02024000020108020101", "02024001020108020101", "can't be"]
      ] as const) {
        const key = join(dir, "encrypted.der")
        yield* OpenSsl.run(dir, ...pkcs8, ...args, "-outform", "DER", "-out", key)
        const der = yield* Effect.promise(() => readFile(key))
        const at = der.indexOf(Buffer.from(written, "hex"))
        expect(at).toBeGreaterThan(0)
        der.set(Buffer.from(wanted, "hex"), at)
        yield* Effect.promise(() => writeFile(key, der))
        const load = tlsOf(Credentials.layerPem({ ...options, key, passphrase: "secret" }))
        const error = yield* within(Effect.flip(load), "2 seconds")
        expect(error).toMatchObject({ reason: "Malformed", part: "key", file: key })
        expect(error.message).toContain(text)
      }
    })
  )

  it.scopedLive.each([
    ["PBKDF2", ["-iter", "600000"]],
    ["scrypt", ["-scrypt", "-scrypt_N", "16384", "-scrypt_p", "4"]]
  ] as const)("is decrypted by %s while other work goes on", ([, args]) =>
    Effect.gen(function* () {
      const { dir, options, pkcs8 } = yield* edwards
      yield* OpenSsl.run(dir, ...pkcs8, ...args, "-out", "encrypted.pem")
      const key = yield* Effect.promise(() => readFile(join(dir, "encrypted.pem"), "utf8"))
      yield* tlsOf(Credentials.layerPem(options))
      const load = tlsOf(Credentials.layerPem({ ...options, key, passphrase: "secret" }))
      const [, held] = yield* heldDuring(load)
      // What this machine needs for it in one go.
      const [, inOneGo] = yield* heldDuring(Effect.sync(() => createPrivateKey({ key, passphrase: "secret" })))
      expect(held).toBeLessThan(inOneGo / 2)
    })
  )

  it.scopedLive("a cipher that OpenSSL has given up is malformed, and no question of the passphrase", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      yield* OpenSsl.run(dir, "genpkey", "-algorithm", "ED25519", "-out", "key.pem")
      yield* OpenSsl.run(dir, "req", "-x509", "-key", "key.pem", "-subj", "/CN=node", "-days", "2", "-out", "cert.pem")
      const encrypt = ["-topk8", "-in", "key.pem", "-passout", "pass:secret", "-v1", "PBE-MD5-DES"]
      const providers = ["-provider", "legacy", "-provider", "default"]
      yield* OpenSsl.run(dir, "pkcs8", ...encrypt, ...providers, "-out", "des.pem")
      const cert = join(dir, "cert.pem")
      const des = { cert, ca: cert, key: join(dir, "des.pem"), passphrase: "secret" }
      expect((yield* Effect.flip(tlsOf(Credentials.layerPem(des)))).reason).toBe("Malformed")
    })
  )

  it.scopedLive("a key for agreement only does not fit, and a key that TLS finds too short is refused at once", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      yield* OpenSsl.run(dir, "genpkey", "-algorithm", "X25519", "-out", "x.pem")
      const short = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:512"]
      yield* OpenSsl.run(dir, "genpkey", ...short, "-out", "key.pem")
      yield* OpenSsl.run(dir, "req", "-x509", "-key", "key.pem", "-subj", "/CN=node", "-days", "2", "-out", "cert.pem")
      const cert = join(dir, "cert.pem")
      const agreement = { cert, ca: cert, key: join(dir, "x.pem") }
      expect((yield* Effect.flip(tlsOf(Credentials.layerPem(agreement)))).reason).toBe("KeyMismatch")
      const weak = { cert, ca: cert, key: join(dir, "key.pem") }
      expect(yield* Effect.flip(tlsOf(Credentials.layerPem(weak)))).toMatchObject({ reason: "Malformed", part: "cert" })
    })
  )

  it.scopedLive("bag attributes before the blocks, as openssl pkcs12 writes them", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const openssl = (...args: ReadonlyArray<string>) => OpenSsl.run(dir, ...args)
      yield* openssl("genpkey", "-algorithm", "ED25519", "-out", "key.pem")
      yield* openssl("req", "-x509", "-key", "key.pem", "-subj", "/CN=node", "-days", "2", "-out", "cert.pem")
      yield* openssl("pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-passout", "pass:x", "-out", "a.p12")
      yield* openssl("pkcs12", "-in", "a.p12", "-passin", "pass:x", "-passout", "pass:y", "-out", "all.pem")
      const all = join(dir, "all.pem")
      expect(yield* Effect.promise(() => readFile(all, "utf8"))).toContain("Bag Attributes")
      const material = yield* tlsOf(Credentials.layerPem({ cert: all, key: all, ca: all, passphrase: "y" }))
      expect(new X509Certificate(material.ca[0] ?? "").subject).toBe("CN=node")
    })
  )
})
