import { readFile, stat, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { Credentials, DevCa } from "effect-transport"
import { cli, commandFolder, jsonOf, line, plain, process_, refused, served } from "../fixtures/cli.js"
import { describeWith, run } from "../fixtures/command.js"
import { tlsOf } from "../fixtures/tls.js"
import { directory } from "../suite/fixtures/system.js"

const mode = (...path: ReadonlyArray<string>) =>
  Effect.promise(async () => ((await stat(join(...path))).mode & 0o777).toString(8))

const write = (dir: string, name: string, text: string) => Effect.promise(() => writeFile(join(dir, name), text))

const withCa = (options = "") =>
  Effect.gen(function* () {
    const dir = yield* directory
    yield* jsonOf(dir, `certs new-ca${options}`)
    return dir
  })

describeWith(["openssl"], "certs, with OpenSSL", () => {
  const openssl = (dir: string, args: string) => run("openssl", args.split(" "), dir)

  it.scopedLive("makes a CA and certificates that OpenSSL verifies, until they are revoked", () =>
    Effect.gen(function* () {
      const dir = yield* withCa(" --trust-domain mesh.example")
      const issued = yield* jsonOf(dir, "certs issue node-a.example 127.0.0.1 ::1 --spiffe-id /node-a")
      expect(issued.names).toEqual(["node-a.example", "127.0.0.1", "::1", "spiffe://mesh.example/node-a"])
      const verify = openssl(
        dir,
        "verify -x509_strict -CAfile ca/ca.crt -CRLfile ca/ca.crl -crl_check node-a.example.crt"
      )
      expect((yield* verify).text).toBe("node-a.example.crt: OK\n")
      const { text } = yield* openssl(dir, "x509 -in node-a.example.crt -noout -ext subjectAltName,extendedKeyUsage")
      expect(text).toContain("URI:spiffe://mesh.example/node-a")
      expect(text).toMatch(/IP Address:0:0:0:0:0:0:0:1/)
      const { revoked } = yield* jsonOf(dir, "certs revoke node-a.example.crt")
      expect(revoked).toMatchObject([{ serial: issued.serial }])
      expect((yield* verify).text).toContain("certificate revoked")
      // A list that is made anew, and further certificates, forget nobody.
      yield* jsonOf(dir, "certs revoke")
      yield* jsonOf(dir, "certs issue node-b")
      expect((yield* verify).text).toContain("certificate revoked")
      const crl = yield* openssl(dir, "crl -in ca/ca.crl -noout -text -CAfile ca/ca.crt")
      expect(crl.text).toContain("verify OK")
      expect(crl.text.toLowerCase()).toContain(issued.serial)
    })
  )

  it.scopedLive("writes PKCS#12 that OpenSSL and the library read", () =>
    Effect.gen(function* () {
      const dir = yield* withCa()
      yield* jsonOf(dir, "certs issue localhost")
      yield* write(dir, "pass", "pass ä wörd\nsecond line\n")
      yield* jsonOf(
        dir,
        "certs p12 --cert localhost.crt --key localhost.key --ca ca/ca.crt --out n.p12 --passphrase-file pass"
      )
      expect(yield* mode(dir, "n.p12")).toBe("600")
      const passphrase = "pass ä wörd"
      const info = yield* run(
        "openssl",
        ["pkcs12", "-in", "n.p12", "-info", "-noenc", "-passin", `pass:${passphrase}`],
        dir
      )
      expect(info.code, info.text).toBe(0)
      expect(info.text).toContain("PBES2, PBKDF2, AES-256-CBC")
      expect(info.text).toContain("MAC: sha256")
      expect(info.text.match(/BEGIN (CERTIFICATE|PRIVATE KEY)/g)).toHaveLength(3)
      const loaded = yield* tlsOf(
        Credentials.layerPkcs12({ pfx: { file: join(dir, "n.p12") }, passphrase: Redacted.make(passphrase) })
      )
      expect(loaded.ca).toHaveLength(1)
      expect(loaded.certificate).toMatchObject({ value: { identity: { subject: "CN=localhost" } } })
      const [shown] = yield* jsonOf(dir, "certs show n.p12 --passphrase-file pass")
      expect(shown).toMatchObject({ format: "PKCS#12", keys: [{ belongsTo: "CN=localhost" }] })
      expect(shown.verdicts.map(({ accepted }: { readonly accepted: boolean }) => accepted)).toEqual([true, true])
      yield* write(dir, "wrong", "wrong")
      expect((yield* refused(dir, "certs show n.p12 --passphrase-file wrong")).says).toContain("--passphrase-file")
    })
  )
})

it.scopedLive("keys are for the user alone, whatever the mask, and nothing is replaced unasked", () =>
  Effect.gen(function* () {
    const dir = yield* directory
    const folder = yield* commandFolder
    const masked = (args: string) =>
      run("sh", ["-c", `umask 000; exec "${folder}/effect-transport" ${args}`], dir, plain)
    yield* masked("certs new-ca --ca-dir deep/ca")
    yield* masked("certs issue localhost --ca-dir deep/ca --out keys")
    for (const [path, wanted] of [
      ["deep/ca", "700"],
      ["deep/ca/ca.key", "600"],
      ["deep/ca/index.json", "600"],
      ["deep/ca/ca.crt", "644"],
      ["keys/localhost.key", "600"],
      ["keys/localhost.crt", "644"]
    ] as const) {
      expect(yield* mode(dir, path), path).toBe(wanted)
    }
    const key = () => Effect.promise(() => readFile(join(dir, "keys/localhost.key"), "utf8"))
    const before = yield* key()
    const again = "certs issue localhost --ca-dir deep/ca --out keys"
    expect((yield* refused(dir, again)).says).toContain("--force")
    expect((yield* refused(dir, "certs new-ca --ca-dir deep/ca")).says).toContain("--force")
    expect(yield* key()).toBe(before)
    yield* jsonOf(dir, `${again} --force`)
    expect(yield* key()).not.toBe(before)
    expect(yield* mode(dir, "keys/localhost.key")).toBe("600")
  })
)

it.scopedLive("several issue at once, and the CA remembers all of them", () =>
  Effect.gen(function* () {
    const dir = yield* withCa()
    const names = ["a", "b", "c"]
    yield* Effect.forEach(names, (name) => process_(dir, ["certs", "issue", `node-${name}`]), {
      concurrency: "unbounded"
    })
    const index = JSON.parse(yield* Effect.promise(() => readFile(join(dir, "ca/index.json"), "utf8")))
    expect(index.issued.map((entry: { readonly names: ReadonlyArray<string> }) => entry.names[0]).sort()).toEqual(
      names.map((name) => `node-${name}`)
    )
  })
)

it.scopedLive("check says who would refuse a certificate, and why", () =>
  Effect.gen(function* () {
    const dir = yield* directory
    const ca = yield* DevCa.make({ intermediate: true })
    const other = yield* DevCa.make()
    const expired = { notBefore: new Date("2020-01-01"), notAfter: new Date("2021-01-01") }
    const issue = (name: string, options: Partial<DevCa.IssueOptions>, from = ca) =>
      Effect.flatMap(from.issue({ names: ["localhost"], ...options }), (issued) =>
        Effect.zipRight(
          write(dir, `${name}.key`, Redacted.value(issued.key)),
          Effect.as(write(dir, `${name}.crt`, issued.cert), issued)
        )
      )
    yield* write(dir, "ca.crt", ca.ca)
    yield* issue("good", {})
    yield* issue("expired", { ...expired, usages: ["client"] })
    yield* issue("early", { notBefore: new Date(Date.now() + 1e9), validFor: "30 days" })
    yield* issue("client", { usages: ["client"] })
    yield* issue("nameless", { names: [], commonName: "localhost" })
    yield* issue("stranger", {}, other)
    const revoked = yield* issue("revoked", {})
    yield* write(dir, "ca.crl", yield* ca.crl({ revoked: [revoked] }))
    yield* write(dir, "old.crl", yield* ca.crl(expired))
    const [leaf = ""] = revoked.cert.split(/(?<=-----END CERTIFICATE-----\n)/)
    yield* write(dir, "leaf.crt", leaf)
    const verdicts = (args: string) =>
      Effect.map(line(dir, `certs check ${args} --ca ca.crt --json`), ({ all, code, stdout }) => {
        const { accepted, verdicts } = JSON.parse(stdout || all)
        expect(code).toBe(accepted ? 0 : 1)
        return verdicts.map((each: { readonly as: string; readonly reason?: string; readonly hint?: string }) => {
          expect(each.hint === undefined, JSON.stringify(each)).toBe(each.reason === undefined)
          return `${each.as} ${each.reason ?? "ok"}`
        })
      })
    for (const [args, ...wanted] of [
      ["good.crt --key good.key", "server ok", "client ok"],
      ["good.crt --server-name other", "server NameMismatch", "client ok"],
      ["expired.crt", "server Expired", "client Expired"],
      ["early.crt", "server NotYetValid", "client NotYetValid"],
      ["client.crt", "server InvalidPurpose", "client ok"],
      ["nameless.crt --server-name node", "server NameMismatch", "client ok"],
      ["stranger.crt", "server UntrustedIssuer", "client UntrustedIssuer"],
      ["leaf.crt", "server UntrustedIssuer", "client UntrustedIssuer"],
      ["revoked.crt --crl ca.crl", "server Revoked", "client Revoked"],
      ["good.crt --crl old.crl", "server BadCertificate", "client BadCertificate"]
    ] as const) {
      expect(yield* verdicts(args), args).toEqual(wanted)
    }
    // What else is wrong with one that has expired is said too, and that the node itself would not load it.
    const text = yield* line(dir, "certs check expired.crt --key expired.key --ca ca.crt")
    expect(text.stdout).toMatch(/as a server.*Expired: .*; and then InvalidPurpose: /)
    expect(text.stdout).toMatch(/by the node itself: .*expired on 2021-01-01/)
    const mismatch = yield* line(dir, "certs check good.crt --key client.key --ca ca.crt")
    expect(mismatch.stdout).toMatch(/refused .*by the node itself: .*does not belong to the certificate.*; /)
    const shown = yield* line(dir, "certs show old.crl good.key client.crt")
    expect(shown.stdout).toMatch(/warning .*not current.*BadCertificate/)
    expect(shown.stdout).toMatch(/refused .*as a server.*InvalidPurpose/)
    expect(shown.stdout).toMatch(/ok .*as a client/)
  })
)

for (const wire of ["grpc", "tls", "quic"]) {
  it.scopedLive(`check says of a live node over ${wire} whether we refuse it, and it us`, () =>
    Effect.gen(function* () {
      const dir = yield* withCa()
      yield* jsonOf(dir, "certs new-ca --ca-dir other")
      yield* jsonOf(dir, "certs issue localhost 127.0.0.1")
      yield* jsonOf(dir, "certs issue stranger --ca-dir other")
      const own = "--cert localhost.crt --key localhost.key --ca ca/ca.crt"
      const { target } = yield* served(dir, `--wire ${wire} ${own}`)
      const good = yield* jsonOf(dir, `certs check ${target} --wire ${wire} ${own}`)
      expect(good).toMatchObject({ accepted: true, wire, chain: [{ subject: "CN=localhost" }, ...good.chain.slice(1)] })
      const strange = `certs check ${target} --wire ${wire} --cert stranger.crt --key stranger.key --ca other/ca.crt --json`
      const bad = yield* line(dir, strange)
      expect(bad.code, bad.all).toBe(1)
      expect(JSON.parse(bad.stdout)).toMatchObject({
        accepted: false,
        chain: [{ subject: "CN=localhost" }, ...good.chain.slice(1)],
        verdicts: [
          { as: "server", reason: "UntrustedIssuer" },
          { as: "client", reason: "UntrustedIssuer" }
        ]
      })
      const nobody = yield* line(dir, `certs check ${target} --wire ${wire} --ca ca/ca.crt --server-name other --json`)
      expect(JSON.parse(nobody.stdout).verdicts).toMatchObject([
        { as: "server", reason: "NameMismatch" },
        { as: "client", reason: "CertificateRequired" }
      ])
    })
  )
}

it.scopedLive("bad input is one line that says what to do", () =>
  Effect.gen(function* () {
    const dir = yield* withCa()
    yield* jsonOf(dir, "certs issue localhost")
    yield* write(dir, "empty", "")
    yield* write(dir, "junk", "\u0000\u001b[31mjunk")
    yield* write(
      dir,
      "cut.crt",
      (yield* Effect.promise(() => readFile(join(dir, "localhost.crt"), "utf8"))).slice(0, 300)
    )
    for (const [args, code, says] of [
      ["certs issue", 2, "name"],
      ["certs issue a_b..c", 2, "no DNS name"],
      ["certs issue 999.1.1.1", 2, "no DNS name"],
      ["certs issue node-a --spiffe-id /node-a", 2, "spiffe://mesh.example/node-a"],
      ["certs issue node-a --spiffe-id spiffe://Mesh/../x", 2, "no SPIFFE id"],
      ["certs issue node-a --valid-for soon", 2, "90d"],
      ["certs issue node-a --usage both-sides", 2, "both, client, server"],
      ["certs issue node-a --ca-dir nowhere", 1, "new-ca"],
      ["certs issue node-a --out empty", 1, "folder"],
      ["certs new-ca --trust-domain Mesh_Example!", 2, "trust domain"],
      ["certs revoke empty", 1, "no certificate"],
      ["certs revoke nowhere", 1, "check the path"],
      ["certs show nowhere", 1, "check the path"],
      ["certs show junk", 1, "PEM"],
      ["certs show empty", 1, "PEM"],
      ["certs show cut.crt", 1, "PEM"],
      ["certs show .", 1, "folder"],
      ["certs pin junk", 1, "certs show"],
      ["certs check nowhere --ca ca/ca.crt", 2, "host:port"],
      ["certs check localhost.crt", 2, "--ca"],
      ["certs check localhost.crt --ca junk", 1, "--ca"],
      ["certs check 127.0.0.1:1 --ca ca/ca.crt", 3, "the node runs"],
      ["certs check 127.0.0.1:1 --insecure", 2, "--insecure"],
      ["certs p12 --cert localhost.crt --key ca/ca.key --out x.p12 --passphrase-file empty", 1, "belong"],
      ["certs p12 --cert localhost.crt --key localhost.key --out x.p12", 2, "--passphrase-file"],
      ["certs unknown", 2, "new-ca"]
    ] as const) {
      const { code: found, says: line } = yield* refused(dir, args)
      expect({ args, code: found }).toEqual({ args, code })
      expect(line, args).toContain(says)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what a file holds must not reach the terminal.
      expect(line).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/)
    }
    const asJson = yield* cli(dir, ["certs", "show", "nowhere", "--json"])
    expect(JSON.parse(asJson.all)).toMatchObject({ error: { tag: "Failure", exitCode: 1, hint: expect.any(String) } })
  })
)
