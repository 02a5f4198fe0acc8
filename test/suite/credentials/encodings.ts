/** Certificates and keys in the encodings and of the kinds that tools write. */
import { execFile } from "node:child_process"
import { join } from "node:path"
import { promisify } from "node:util"
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Credentials, Transport } from "effect-transport"
import { EchoService, echo } from "../fixtures/echo.js"
import { directory, isInstalled } from "../fixtures/system.js"
import type { Suite } from "./harness.js"

export const encodings = ({ build, pki, rsaPss, test }: Suite): void => {
  describe("certificates and keys as tools write them", () => {
    const handshake = (server: Credentials.PemOptions, client: Credentials.PemOptions) =>
      Effect.gen(function* () {
        const [there, here] = [yield* build(Credentials.layerPem(server)), yield* build(Credentials.layerPem(client))]
        const { target } = yield* Effect.provide(Transport.listen([Transport.handlers(EchoService, echo)]), there)
        const echoes = yield* Effect.provide(Transport.client(EchoService, target), here)
        return (yield* echoes.echo({ message: "hello" })).message
      })

    const around = (pem: string) => `\ufeffsubject=CN = a\r\n${pem.replaceAll("\n", "\r\n")}\r\nthat's all\r\n`
    const der = (pem: string) => Buffer.from(pem.split("-----")[2] ?? "", "base64")
    const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    const forms: ReadonlyArray<readonly [string, (cert: string, key: string, ca: string) => Credentials.PemOptions]> = [
      [
        "with a byte order mark, CRLF and text around the blocks",
        (cert, key, ca) => ({ cert: around(cert), key: around(key), ca: around(ca) })
      ],
      [
        "on one line, with escapes",
        (cert, key, ca) => {
          const escaped = (pem: string) => pem.replaceAll("\n", "\\n")
          return { cert: escaped(cert), key: escaped(key), ca: escaped(ca) }
        }
      ],
      [
        "in base64 once more",
        (cert, key, ca) => {
          const encoded = (pem: string) => Buffer.from(pem).toString("base64")
          return { cert: encoded(cert), key: encoded(key), ca: encoded(ca) }
        }
      ],
      ["of DER", (cert, key, ca) => ({ cert: der(cert), key: der(key), ca: der(ca) })],
      [
        "in one text, the key and parameters of its curve first",
        (cert, key, ca) => {
          const all = parameters + key + cert
          return { cert: all, key: all, ca }
        }
      ]
    ]
    for (const [title, form] of forms) {
      test(
        title,
        Effect.gen(function* () {
          const { client, good, trusted } = yield* pki
          const [server, caller] = [good, client].map(({ cert, key }) => form(cert, Redacted.value(key), trusted.ca))
          expect(yield* handshake(server ?? {}, caller ?? {})).toBe("hello")
        })
      )
    }

    const kinds: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
      ["RSA", ["rsa:2048"]],
      ["RSA-PSS", ["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"]],
      ["P-256", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]],
      ["P-384", ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]],
      ["P-521", ["ec", "-pkeyopt", "ec_paramgen_curve:P-521"]],
      ["Ed25519", ["ed25519"]]
    ]
    /** A CA and a leaf with keys of these kinds. */
    const made = (caKey: ReadonlyArray<string>, leafKey: ReadonlyArray<string>) =>
      Effect.gen(function* () {
        const dir = yield* directory
        const request = (name: string, key: ReadonlyArray<string>, ...more: ReadonlyArray<string>) => {
          const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`, "-subj", `/CN=${name}`]
          return Effect.promise(() =>
            promisify(execFile)(
              "openssl",
              ["req", "-x509", "-nodes", "-days", "2", "-newkey", ...key, ...files, ...more],
              {
                cwd: dir
              }
            )
          )
        }
        yield* request("ca", caKey)
        yield* request(
          "leaf",
          leafKey,
          ...["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:false"],
          ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        )
        return { cert: join(dir, "leaf.pem"), key: join(dir, "leaf.key"), ca: join(dir, "ca.pem") }
      })
    const p256 = ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    for (const [kind, key] of isInstalled("openssl") ? kinds : []) {
      for (const [title, options] of [
        ["a key", made(p256, key)],
        ["a CA", made(key, p256)]
      ] as const) {
        test(
          `with ${title} of ${kind}`,
          Effect.gen(function* () {
            const files = yield* options
            if (rsaPss || kind !== "RSA-PSS") {
              expect(yield* handshake(files, files)).toBe("hello")
              return
            }
            // An engine that knows no such keys, such as BoringSSL: that is said when the layer is built.
            for (const one of title === "a key" ? [files] : [files, { ca: files.ca }]) {
              expect(yield* Effect.flip(build(Credentials.layerPem(one)))).toMatchObject({
                _tag: "CredentialsError",
                reason: "Malformed",
                part: title === "a key" ? "cert" : "ca",
                message: expect.stringContaining("RSA-PSS")
              })
            }
          })
        )
      }
    }
  })
}
