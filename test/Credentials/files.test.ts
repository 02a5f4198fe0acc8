import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Credentials from "../../src/Credentials/Credentials.js"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { CredentialsError } from "../../src/Transport/TransportError.js"
import { tlsOf } from "../fixtures/tls.js"
import { within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const files = Effect.gen(function* () {
  const dir = yield* directory
  const ca = yield* DevCa.make({ intermediate: true })
  const issued = yield* ca.issue({ names: ["localhost"] })
  const write = (name: string, content: string | Uint8Array) => {
    Fs.writeFileSync(join(dir, name), content)
    return { file: join(dir, name) }
  }
  return { dir, ca, issued, key: Redacted.value(issued.key), write }
})

const derOf = (pem: string) => Buffer.from(pem.split("-----")[2] ?? "", "base64")

describe("what is no regular file", () => {
  it.scopedLive.each(["fifo", "/dev/zero", "/dev/null", "/dev/full", "/dev/tty", "socket", ".", "/proc/self/fd"])(
    "%s is refused at once, as whatever part",
    (kind) =>
      Effect.gen(function* () {
        const { ca, dir, issued } = yield* files
        const path = kind === "fifo" ? join(dir, "pipe") : kind === "." ? dir : kind
        if (kind === "fifo") {
          execFileSync("mkfifo", [path])
        }
        const file = { file: path }
        const all = { cert: issued.cert, key: issued.key, ca: ca.ca }
        for (const [part, layer] of [
          ["cert", Credentials.layerPem({ ...all, cert: file })],
          ["key", Credentials.layerPem({ ...all, key: file })],
          ["ca", Credentials.layerPem({ ...all, ca: file })],
          ["crl", Credentials.layerPem({ ...all, crl: file })],
          ["pfx", Credentials.layerPkcs12({ pfx: file })]
        ] as const) {
          const error = yield* within(Effect.flip(tlsOf(layer)), "2 seconds")
          expect(error).toBeInstanceOf(CredentialsError)
          expect(error).toMatchObject({ part, file: path })
          expect(error.message).toMatch(kind === "socket" ? /no such file/ : /not a regular file/)
        }
      })
  )

  it.scopedLive("what lies about its size is read no further than allowed", () =>
    Effect.gen(function* () {
      const { ca, dir, issued, write } = yield* files
      const all = { cert: issued.cert, key: issued.key, ca: ca.ca }
      // It says that it has 0 bytes.
      const proc = "/proc/kallsyms"
      expect(Fs.statSync(proc).size).toBe(0)
      expect(yield* Effect.flip(tlsOf(Credentials.layerPem({ ...all, ca: { file: proc } })))).toMatchObject({
        reason: "Malformed",
        file: proc
      })
      for (const [part, mebibytes] of [
        ["cert", 1],
        ["key", 1],
        ["ca", 1],
        ["crl", 16]
      ] as const) {
        const file = write(part, "")
        Fs.truncateSync(file.file, mebibytes * 1024 * 1024 + 1)
        const error = yield* Effect.flip(tlsOf(Credentials.layerPem({ ...all, [part]: file })))
        expect(error).toMatchObject({ reason: "Malformed", part, file: file.file })
        expect(error.message).toContain(`larger than ${mebibytes} MiB`)
      }
      // A list may be larger than the rest.
      const list = write("list.pem", `${"#".repeat(2 * 1024 * 1024)}\n${yield* ca.crl()}`)
      expect((yield* tlsOf(Credentials.layerPem({ ...all, crl: list }))).crl).toHaveLength(2)
      // Kubernetes has links to links.
      Fs.symlinkSync(write("real.pem", ca.ca).file, join(dir, "link"))
      Fs.symlinkSync("link", join(dir, "ca.crt"))
      yield* tlsOf(Credentials.layerPem({ ...all, ca: { file: join(dir, "ca.crt") } }))
    })
  )
})

describe("PEM as tools, editors and shells write it", () => {
  const lines = (pem: string, change: (line: string) => string) => pem.trimEnd().split("\n").map(change).join("\n")

  const forms: ReadonlyArray<readonly [string, (pem: string) => string | Uint8Array]> = [
    ["with a byte order mark", (pem) => `\ufeff${pem}`],
    ["with a byte order mark, as bytes", (pem) => Buffer.from(`\ufeff${pem}`)],
    ["of UTF-16", (pem) => Buffer.from(`\ufeff${pem}`, "utf16le")],
    ["of UTF-16, big-endian", (pem) => Buffer.from(`\ufeff${pem}`, "utf16le").swap16()],
    ["with CRLF", (pem) => pem.replaceAll("\n", "\r\n")],
    ["with CR", (pem) => pem.replaceAll("\n", "\r")],
    ["on one line, with escapes", (pem) => pem.replaceAll("\n", "\\n")],
    ["on one line, with escapes, and a line break behind it", (pem) => `${pem.replaceAll("\n", "\\n")}\n`],
    ["on one line, with escapes of CRLF", (pem) => pem.replaceAll("\n", "\\r\\n")],
    ["as JSON has it", (pem) => `${JSON.stringify(pem)}\n`],
    ["without the last line break", (pem) => pem.trimEnd()],
    ["with spaces behind lines", (pem) => lines(pem, (line) => `${line} \t`)],
    ["indented, as in YAML", (pem) => lines(pem, (line) => `    ${line}`)],
    ["with empty lines", (pem) => lines(pem, (line) => `${line}\n`)],
    ["with text around it", (pem) => `Bag Attributes\n    friendlyName: a\n${pem}that's all\n`],
    ["with its base64 in one line", (pem) => pem.replaceAll(/(?<=[A-Za-z0-9+/=])\n(?=[A-Za-z0-9+/=])/g, "")],
    ["in base64 once more, as in a secret", (pem) => Buffer.from(pem).toString("base64")],
    ["in base64 once more, in lines", (pem) => Buffer.from(pem).toString("base64").replaceAll(/.{76}/g, "$&\n")]
  ]

  it.scopedLive.each(forms)("%s", ([, form]) =>
    Effect.gen(function* () {
      const { ca, issued, key, write } = yield* files
      const plain = yield* tlsOf(Credentials.layerPem({ cert: issued.cert, key, ca: ca.ca, crl: yield* ca.crl() }))
      const crl = plain.crl?.join("") ?? ""
      for (const options of [
        { cert: form(issued.cert), key: form(key), ca: form(ca.ca), crl: form(crl) },
        {
          cert: write("cert", form(issued.cert)),
          key: write("key", form(key)),
          ca: write("ca", form(ca.ca)),
          crl: write("crl", form(crl))
        }
      ]) {
        // What every wire is given is the same, whatever was read.
        const read = yield* tlsOf(Credentials.layerPem(options))
        expect(JSON.stringify(read)).toBe(JSON.stringify(plain))
        expect(read.certificate).toEqual(plain.certificate)
      }
    })
  )

  it.scopedLive("DER, and certificates by their other names", () =>
    Effect.gen(function* () {
      const { ca, issued, key, write } = yield* files
      const plain = yield* tlsOf(Credentials.layerPem({ cert: issued.cert, key, ca: ca.ca }))
      const selfSigned = yield* ca.issue({ names: ["localhost"], selfSigned: true })
      const own = { cert: derOf(selfSigned.cert), key: derOf(Redacted.value(selfSigned.key)), ca: derOf(ca.ca) }
      const read = yield* tlsOf(
        Credentials.layerPem({ cert: write("cert", own.cert), key: write("key", own.key), ca: write("ca", own.ca) })
      )
      expect(read).toEqual(yield* tlsOf(Credentials.layerPem({ ...selfSigned, ca: ca.ca })))
      const old = ca.ca.replaceAll(" CERTIFICATE", " X509 CERTIFICATE")
      expect((yield* tlsOf(Credentials.layerPem({ ca: old }))).ca).toEqual(plain.ca)
      const trusted = write("a.pem", ca.ca)
      execFileSync("openssl", [
        "x509",
        "-in",
        trusted.file,
        "-addtrust",
        "serverAuth",
        "-trustout",
        "-out",
        `${trusted.file}.t`
      ])
      expect(Fs.readFileSync(`${trusted.file}.t`, "latin1")).toContain("TRUSTED CERTIFICATE")
      expect((yield* tlsOf(Credentials.layerPem({ ca: { file: `${trusted.file}.t` } }))).ca).toEqual(plain.ca)
    })
  )

  it.scopedLive("a key and its chain in one file, in any order behind the leaf, twice over", () =>
    Effect.gen(function* () {
      const { ca, issued, key, write } = yield* files
      const plain = yield* tlsOf(Credentials.layerPem({ cert: issued.cert, key, ca: ca.ca }))
      const [leaf = "", middle = ""] = issued.cert.split(/(?<=-----END CERTIFICATE-----\n)/)
      const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
      for (const [text, chain] of [
        [parameters + key + issued.cert, issued.cert],
        [leaf + middle + key + leaf + middle, issued.cert],
        [leaf + ca.ca + middle + key, leaf + middle + ca.ca]
      ] as const) {
        const all = write("all.pem", text)
        const { certificate } = yield* tlsOf(Credentials.layerPem({ cert: all, key: all, ca: ca.ca }))
        expect(certificate).toMatchObject({ _tag: "Some", value: { chain } })
        expect(plain.certificate).toMatchObject({ value: { chain: issued.cert } })
      }
    })
  )

  it.scopedLive("what nobody reads is refused by its name", () =>
    Effect.gen(function* () {
      const { ca, dir, write } = yield* files
      const file = write("ca.pem", ca.ca)
      execFileSync("openssl", ["crl2pkcs7", "-nocrl", "-certfile", file.file, "-out", join(dir, "ca.p7b")])
      const error = yield* Effect.flip(tlsOf(Credentials.layerPem({ ca: { file: join(dir, "ca.p7b") } })))
      expect(error).toMatchObject({ reason: "Malformed", part: "ca", file: join(dir, "ca.p7b") })
      expect(error.message).toContain("PKCS7")
    })
  )
})
