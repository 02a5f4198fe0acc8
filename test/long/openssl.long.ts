/** OpenSSL as the peer of a handshake, on either side. */
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Credentials from "../../src/Credentials/Credentials.js"
import type * as DevCa from "../../src/Credentials/DevCa.js"
import type { SecureSocket } from "../../src/Handshake/internal/secureSocket.js"
import * as TlsAcceptor from "../../src/Handshake/TlsAcceptor.js"
import * as TlsHandshake from "../../src/Handshake/TlsHandshake.js"
import { HandshakeFailed, type HandshakeReason } from "../../src/Transport/TransportError.js"
import * as OpenSsl from "../Credentials/openssl.js"
import { describeWith } from "../fixtures/command.js"
import { connect, event, eventually, listen, tlsOf } from "../fixtures/tls.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"
import { directory } from "../suite/fixtures/system.js"

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
