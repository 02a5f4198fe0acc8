import { createPrivateKey, X509Certificate } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Credentials from "../../src/Credentials/Credentials.js"
import type * as DevCa from "../../src/Credentials/DevCa.js"
import type { SecureSocket } from "../../src/Handshake/internal/secureSocket.js"
import * as TlsAcceptor from "../../src/Handshake/TlsAcceptor.js"
import * as TlsHandshake from "../../src/Handshake/TlsHandshake.js"
import { HandshakeFailed, type HandshakeReason } from "../../src/Transport/TransportError.js"
import { describeWith } from "../fixtures/command.js"
import { connect, event, eventually, listen, tlsOf } from "../fixtures/tls.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"
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

const versions = ["-tls1_2", "-tls1_3"]

describeWith(["openssl"], "openssl as the server", () => {
  type Pki = Effect.Effect.Success<typeof authority>
  const table: ReadonlyArray<readonly [string, (pki: Pki) => DevCa.Issued | undefined, HandshakeReason]> = [
    ["no certificate", () => undefined, "CertificateRequired"],
    ["another CA", (pki) => pki.untrusted, "UntrustedIssuer"],
    ["an expired certificate", (pki) => pki.expired, "Expired"],
    ["a certificate for servers", (pki) => pki.serverOnly, "InvalidPurpose"]
  ]
  for (const version of versions) {
    it.scopedLive.each(table)(`refuses ${version} %s`, ([_, pick, reason]) =>
      Effect.gen(function* () {
        const pki = yield* authority
        const dir = yield* directory
        const shown = yield* OpenSsl.identity(dir, "server", pki.good)
        const ca = yield* OpenSsl.file(dir, "ca.pem", pki.trusted.ca)
        const verify = ["-CAfile", ca, "-Verify", "1", "-verify_return_error"]
        const port = yield* OpenSsl.server(dir, ...shown, ...verify, version, "-alpn", "h2")
        const issued = pick(pki)
        const material = rawMaterial(issued, pki.trusted.ca)
        const socket = yield* connect(port)
        const options = { material, nameWanted: "localhost", alpnProtocols: ["h2"], peer: "peer:1" }
        const result = yield* Effect.either(TlsHandshake.connectSecure(socket, options))
        let error: HandshakeFailed | undefined
        if (result._tag === "Left") {
          error = result.left instanceof HandshakeFailed ? result.left : undefined
        } else {
          // TLS 1.3: this side was through before the server looked.
          result.right.socket.resume()
          yield* event(result.right.socket, "close")
          error = Option.getOrUndefined(result.right.refusal())
        }
        expect(result._tag).toBe(version === "-tls1_2" ? "Left" : "Right")
        expect(error).toMatchObject({ reason, refusedBy: "remote", peer: "peer:1" })
        expect(error?.fingerprint).toBe(
          Option.getOrUndefined(Option.map(material.certificate, ({ identity }) => identity.fingerprint))
        )
      })
    )
  }

  it.scopedLive("agrees", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const dir = yield* directory
      const shown = yield* OpenSsl.identity(dir, "server", pki.good)
      const ca = yield* OpenSsl.file(dir, "ca.pem", pki.trusted.ca)
      const verify = ["-CAfile", ca, "-Verify", "1", "-verify_return_error"]
      const port = yield* OpenSsl.server(dir, ...shown, ...verify, "-alpn", "h2", "-rev")
      const { socket } = yield* TlsHandshake.connectSecure(yield* connect(port), {
        material: rawMaterial(pki.client, pki.trusted.ca),
        nameWanted: "127.0.0.1",
        alpnProtocols: ["h2"],
        peer: "peer:1"
      })
      socket.write("hello\n")
      yield* event(socket, "readable")
      expect(String(socket.read())).toBe("olleh\n")
    })
  )
})

describeWith(["openssl"], "openssl as a server of TLS 1.2", () => {
  it.scopedLive("has no cipher in common where it knows CBC alone", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const dir = yield* directory
      const shown = yield* OpenSsl.identity(dir, "server", pki.good)
      const options = {
        material: rawMaterial(pki.client, pki.trusted.ca),
        nameWanted: "localhost",
        alpnProtocols: ["h2"],
        peer: "peer:1"
      }
      const to = (cipher: string) =>
        Effect.gen(function* () {
          const port = yield* OpenSsl.server(dir, ...shown, "-tls1_2", "-cipher", cipher, "-alpn", "h2")
          return yield* TlsHandshake.connectSecure(yield* connect(port), options)
        })
      const error = yield* Effect.flip(to("ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA"))
      expect(error).toMatchObject({ _tag: "HandshakeFailed", reason: "NoCommonProtocol", refusedBy: "remote" })
      const { socket } = yield* to("ECDHE-ECDSA-AES128-GCM-SHA256")
      socket.destroy()
    })
  )
})

describeWith(["openssl"], "openssl as the client", () => {
  const acceptor = (material: Credentials.Tls) =>
    Effect.gen(function* () {
      const secured: Array<SecureSocket> = []
      const refused: Array<TlsAcceptor.Refusal> = []
      const { accept } = TlsAcceptor.make({
        material,
        alpnProtocols: ["h2"],
        handshakeTimeoutMillis: 5_000,
        clientCertificate: "require",
        onSecure: (secure) => {
          secure.socket.resume()
          secured.push(secure)
        },
        onRefused: (refusal) => refused.push(refusal)
      })
      return { ...(yield* listen(accept)), secured, refused }
    })

  type Pki = Effect.Effect.Success<typeof authority>
  const table: ReadonlyArray<readonly [string, (pki: Pki) => DevCa.Issued, HandshakeReason]> = [
    ["another CA", (pki) => pki.untrusted, "UntrustedIssuer"],
    ["an expired certificate", (pki) => pki.expired, "Expired"],
    ["a certificate for clients", (pki) => pki.clientOnly, "InvalidPurpose"],
    ["another name", (pki) => pki.otherName, "BadCertificate"]
  ]
  for (const version of versions) {
    it.scopedLive.each(table)(`refuses ${version} %s`, ([_, pick, reason]) =>
      Effect.gen(function* () {
        const pki = yield* authority
        const dir = yield* directory
        const shown = rawMaterial(pick(pki), pki.trusted.ca)
        const server = yield* acceptor(shown)
        const ca = yield* OpenSsl.file(dir, "ca.pem", pki.trusted.ca)
        const verify = ["-CAfile", ca, "-verify_return_error", "-verify_hostname", "localhost"]
        const own = yield* OpenSsl.identity(dir, "client", pki.client)
        yield* OpenSsl.client(dir, server.port, version, ...verify, ...own)
        yield* eventually(() => server.refused.length === 1 && server.live() === 0)
        expect(server.refused[0]?.error).toMatchObject({
          reason,
          refusedBy: "remote",
          fingerprint: Option.getOrThrow(shown.certificate).identity.fingerprint
        })
        expect(server.secured).toEqual([])
      })
    )
  }

  it.scopedLive("is too old", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const dir = yield* directory
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      yield* OpenSsl.client(dir, server.port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
      yield* eventually(() => server.refused.length === 1 && server.live() === 0)
      expect(server.refused[0]?.error).toMatchObject({ reason: "NoCommonProtocol", refusedBy: "local" })
    })
  )

  it.scopedLive("has no cipher in common", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const dir = yield* directory
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      yield* OpenSsl.client(dir, server.port, "-tls1_2", "-cipher", "AES128-SHA256")
      yield* eventually(() => server.refused.length === 1 && server.live() === 0)
      expect(server.refused[0]?.error).toMatchObject({ reason: "NoCommonProtocol", refusedBy: "local" })
    })
  )

  it.scopedLive("speaks TLS 1.2 without CBC, with keys of both kinds", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const dir = yield* directory
      const subject = ["-subj", "/CN=node", "-days", "2", "-addext", "subjectAltName=DNS:localhost"]
      const rsa = ["-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "rsa.key", "-out", "rsa.pem"]
      yield* OpenSsl.run(dir, "req", ...rsa, ...subject)
      const own = yield* OpenSsl.identity(dir, "client", pki.client)
      const rsaMaterial = yield* tlsOf(
        Credentials.layerPem({ cert: join(dir, "rsa.pem"), key: join(dir, "rsa.key"), ca: pki.trusted.ca })
      )
      for (const [kind, material] of [
        ["RSA", rsaMaterial],
        ["ECDSA", rawMaterial(pki.good, pki.trusted.ca)]
      ] as const) {
        for (const suite of ["AES256-SHA384", "AES128-SHA256", "AES256-SHA", "AES128-SHA", "CAMELLIA256-SHA384"]) {
          const server = yield* acceptor(material)
          yield* OpenSsl.client(dir, server.port, "-tls1_2", "-cipher", `ECDHE-${kind}-${suite}:@SECLEVEL=0`, ...own)
          yield* eventually(() => server.refused.length === 1 && server.live() === 0)
          expect(server.refused[0]?.error, suite).toMatchObject({ reason: "NoCommonProtocol", refusedBy: "local" })
        }
        for (const suite of ["AES128-GCM-SHA256", "AES256-GCM-SHA384", "CHACHA20-POLY1305"]) {
          const server = yield* acceptor(material)
          yield* OpenSsl.client(dir, server.port, "-tls1_2", "-cipher", `ECDHE-${kind}-${suite}`, ...own)
          yield* eventually(() => server.secured.length === 1)
        }
      }
    })
  )

  it.scopedLive("may not renegotiate", () =>
    Effect.gen(function* () {
      const pki = yield* authority
      const dir = yield* directory
      const server = yield* acceptor(rawMaterial(pki.good, pki.trusted.ca))
      const own = yield* OpenSsl.identity(dir, "client", pki.client)
      const client = yield* OpenSsl.client(dir, server.port, "-tls1_2", ...own)
      yield* eventually(() => server.secured.length === 1)
      client.write("R\n")
      yield* client.said(/RENEGOTIATING[\s\S]*no renegotiation/)
    })
  )
})
