import { spawnSync } from "node:child_process"
import { pbkdf2Sync } from "node:crypto"
import { rename } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Credentials from "../../src/Credentials/Credentials.js"
import { CredentialsError } from "../../src/Transport/TransportError.js"
import { describeWith } from "../fixtures/command.js"
import { expectFailure, files, load, trimmed } from "../fixtures/pkcs12.js"
import { within } from "../suite/fixtures/expect.js"
import { heldDuring } from "../suite/fixtures/observe.js"
import { isInstalled } from "../suite/fixtures/system.js"

const openssl = isInstalled("openssl")
// Old ciphers are in a module of their own, which not every OpenSSL has.
const legacy = openssl && spawnSync("openssl", ["list", "-providers", "-provider", "legacy"]).status === 0

const passphrase = "pässwörd 🔑"

describeWith(["openssl"], "PKCS#12 of OpenSSL", () => {
  const export_ = ["pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-out", "a.p12"]

  it.scopedLive.each<readonly [string, boolean, ReadonlyArray<string>]>([
    ["as it writes it by default", true, []],
    ["without a MAC", true, ["-nomac"]],
    ["without encryption", true, ["-keypbe", "NONE", "-certpbe", "NONE"]],
    ["without encryption and MAC", true, ["-keypbe", "NONE", "-certpbe", "NONE", "-nomac"]],
    [
      "with AES-128, SHA-512 and many iterations",
      true,
      ["-keypbe", "AES-128-CBC", "-macalg", "SHA512", "-iter", "20000"]
    ],
    ["with 3DES", true, ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES", "-macalg", "SHA1"]],
    ["with RC2-40 and 3DES (-legacy)", legacy, ["-legacy"]],
    ["with RC2-40, without a MAC", legacy, ["-legacy", "-nomac"]],
    ["with a name", true, ["-name", "my key", "-caname", "x"]]
  ])("%s", ([, enabled, args]) =>
    enabled
      ? Effect.gen(function* () {
          const { dir, issued, issuer, read, run } = yield* files
          yield* run("openssl", ...export_, ...args, "-certfile", "ca.pem", "-passout", `pass:${passphrase}`)
          for (const options of [
            { pfx: { file: join(dir, "a.p12") }, passphrase },
            { pfx: yield* read("a.p12"), passphrase: Redacted.make(passphrase), ca: { file: join(dir, "ca.pem") } }
          ]) {
            const material = yield* load(options)
            const pair = Option.getOrThrow(material.certificate)
            expect(pair.chain.trim()).toBe(issued.cert.trim())
            expect(Redacted.value(pair.key).trim()).toBe(Redacted.value(issued.key).trim())
            expect(pair.identity.subject).toBe("CN=node-a")
            expect(trimmed(material.ca)).toEqual([issuer.ca.trim()])
          }
        })
      : Effect.sync(() => console.log("skipped: OpenSSL has no legacy module here"))
  )

  it.scopedLive.each([
    ["many iterations of PBES2", ["-nomac", "-keypbe", "AES-256-CBC", "-certpbe", "NONE", "-iter", "300000"]],
    ["many of 3DES", ["-nomac", "-keypbe", "PBE-SHA1-3DES", "-certpbe", "NONE", "-iter", "100000"]]
  ] as const)("with %s, while other work goes on", ([, args]) =>
    Effect.gen(function* () {
      const { issuer, read, run } = yield* files
      yield* run("openssl", ...export_, ...args, "-passout", "pass:x")
      const pfx = yield* read("a.p12")
      // What is loaded with the first of them.
      yield* expectFailure({ pfx: Buffer.from("3000", "hex") }, "Malformed")
      const go = heldDuring(load({ pfx, passphrase: "x", ca: issuer.ca }))
      // The least of three: garbage of other tests may have to be collected in one of them.
      const held = Math.min(...(yield* Effect.all([go, go, go])).map(([, millis]) => millis))
      // What this machine needs for as many rounds in one go.
      const [, inOneGo] = yield* heldDuring(Effect.sync(() => pbkdf2Sync("x", "salt", 300_000, 32, "sha256")))
      expect(held).toBeLessThan(inOneGo / 2)
    })
  )

  it.scopedLive("with DES, which OpenSSL writes with its old ciphers alone", () =>
    legacy
      ? Effect.gen(function* () {
          const { issued, issuer, read, run } = yield* files
          const old = ["-provider", "legacy", "-provider", "default", "-keypbe", "DES-CBC", "-certpbe", "DES-CBC"]
          yield* run("openssl", ...export_, ...old, "-certfile", "ca.pem", "-passout", "pass:secret")
          const pfx = yield* read("a.p12")
          const material = yield* load({ pfx, passphrase: "secret" })
          const pair = Option.getOrThrow(material.certificate)
          expect(pair.chain.trim()).toBe(issued.cert.trim())
          expect(Redacted.value(pair.key).trim()).toBe(Redacted.value(issued.key).trim())
          expect(trimmed(material.ca)).toEqual([issuer.ca.trim()])
          yield* expectFailure({ pfx, passphrase: "Secret" }, "WrongPassphrase")
        })
      : Effect.sync(() => console.log("skipped: OpenSSL has no legacy module here"))
  )

  it.scopedLive("with an empty passphrase, and with none", () =>
    Effect.gen(function* () {
      const { read, run } = yield* files
      for (const args of [[], ["-keypbe", "PBE-SHA1-3DES", "-certpbe", "PBE-SHA1-3DES"]]) {
        yield* run("openssl", ...export_, ...args, "-certfile", "ca.pem", "-passout", "pass:")
        const pfx = yield* read("a.p12")
        yield* load({ pfx })
        yield* load({ pfx, passphrase: "" })
        yield* expectFailure({ pfx, passphrase: "x" }, "WrongPassphrase")
      }
    })
  )

  it.scopedLive.each([
    ["RSA", ["rsa:2048"]],
    ["EC P-384", ["ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"]],
    ["Ed25519", ["ed25519"]]
  ] as const)("with a key of %s", ([, newkey]) =>
    Effect.gen(function* () {
      const { read, run } = yield* files
      const subject = ["-x509", "-nodes", "-subj", "/CN=self", "-days", "1", "-keyout", "key.pem", "-out", "cert.pem"]
      yield* run("openssl", "req", "-newkey", ...newkey, ...subject)
      yield* run("openssl", ...export_, "-passout", "pass:secret")
      const material = yield* load({ pfx: yield* read("a.p12"), passphrase: "secret" })
      expect(Option.getOrThrow(material.certificate).identity.subject).toBe("CN=self")
      expect(trimmed(material.ca)).toEqual([String(yield* read("cert.pem")).trim()])
    })
  )

  it.scopedLive("of certificates only, which are what is trusted", () =>
    Effect.gen(function* () {
      const { issuer, read, run } = yield* files
      yield* run("openssl", "pkcs12", "-export", "-nokeys", "-in", "ca.pem", "-out", "a.p12", "-passout", "pass:secret")
      const material = yield* load({ pfx: yield* read("a.p12"), passphrase: "secret" })
      expect(material.certificate).toEqual(Option.none())
      expect(trimmed(material.ca)).toEqual([issuer.ca.trim()])
    })
  )

  it.scopedLive("is refused with the reason", () =>
    Effect.gen(function* () {
      const { dir, issuer, read, run, write } = yield* files
      const out = ["-passout", "pass:secret"]
      yield* run("openssl", ...export_, ...out)
      const pfx = yield* read("a.p12")
      const file = join(dir, "a.p12")
      yield* expectFailure({ pfx: { file }, passphrase: "wrong" }, "WrongPassphrase", "pfx", file)
      yield* expectFailure({ pfx }, "WrongPassphrase")
      // No root is in it, and nobody said whom to trust.
      yield* expectFailure({ pfx, passphrase: "secret" }, "NotFound")
      yield* expectFailure({ pfx, passphrase: "secret", ca: "garbage" }, "Malformed", "ca")
      yield* expectFailure({ pfx: pfx.subarray(0, -10), passphrase: "secret" }, "Malformed")
      yield* run("openssl", ...export_, "-nomac", "-keypbe", "AES-256-CFB", ...out)
      const unknown = yield* expectFailure({ pfx: yield* read("a.p12"), passphrase: "secret" }, "Malformed")
      expect(unknown.message).toContain("not known")
      yield* run("openssl", ...export_, "-nomac", ...out)
      yield* expectFailure({ pfx: yield* read("a.p12"), passphrase: "wrong" }, "WrongPassphrase")
      yield* run("openssl", "pkcs12", "-export", "-nocerts", "-inkey", "key.pem", "-out", "a.p12", ...out)
      yield* expectFailure({ pfx: yield* read("a.p12"), passphrase: "secret" }, "NotFound")
      const before = Date.now()
      const expired = yield* issuer.issue({
        names: ["a"],
        notBefore: new Date(before - 2 * 24 * 3600_000),
        notAfter: new Date(before - 24 * 3600_000)
      })
      yield* write("cert.pem", expired.cert)
      yield* write("key.pem", Redacted.value(expired.key))
      yield* run("openssl", ...export_, "-certfile", "ca.pem", ...out)
      const error = yield* expectFailure({ pfx: { file }, passphrase: "secret" }, "Expired", "pfx", file)
      expect(error.notAfter?.getTime()).toBeLessThan(before)
      expect(error.message).toMatch(/^pfx \(.*\): the certificate expired on /)
    })
  )

  it.scopedLive("is refused where it asks for too much work, before it is done", () =>
    Effect.gen(function* () {
      const { read, run } = yield* files
      const written = Buffer.from("0203010001", "hex")
      const placesOf = (pfx: Buffer) => {
        const places: Array<number> = []
        for (let at = pfx.indexOf(written); at >= 0; at = pfx.indexOf(written, at + 1)) {
          places.push(at)
        }
        return places
      }
      const spoiled = (pfx: Buffer, at: number, count: string) => {
        const copy = Buffer.from(pfx)
        copy.set(Buffer.from(`0203${count}`, "hex"), at)
        return copy
      }
      const args = ["-iter", "65537", "-passout", "pass:secret"]
      yield* run("openssl", ...export_, ...args, "-nomac")
      const noMac = yield* read("a.p12")
      yield* run("openssl", ...export_, ...args)
      const withMac = yield* read("a.p12")
      expect(placesOf(noMac).length).toBeGreaterThan(0)
      expect(placesOf(withMac).length).toBeGreaterThan(1)
      for (const [count, text] of [
        ["7fffff", "8388607"],
        ["800000", "-8388608"],
        ["000000", "0"]
      ] as const) {
        for (const pfx of [
          ...placesOf(noMac).map((at) => spoiled(noMac, at, count)),
          spoiled(withMac, placesOf(withMac).at(-1) ?? 0, count)
        ]) {
          const error = yield* expectFailure({ pfx, passphrase: "secret" }, "Malformed")
          expect(error.message).toContain(`asks for ${text} iterations`)
        }
      }
    })
  )
})

describe("any bytes", () => {
  it.live("are a CredentialsError and never a defect", () =>
    Effect.gen(function* () {
      yield* expectFailure({ pfx: new Uint8Array() }, "Malformed")
      yield* expectFailure({ pfx: new Uint8Array(1024 * 1024 + 1) }, "Malformed")
      yield* expectFailure({ pfx: { file: "/nowhere/a.p12" } }, "NotFound", "pfx", "/nowhere/a.p12")
      // Nested as deep as it goes.
      yield* expectFailure({ pfx: Buffer.alloc(100_000, Buffer.from("3080", "hex")) }, "Malformed")
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(FastCheck.uint8Array({ maxLength: 200 }), async (bytes) => {
            const error = await Effect.runPromise(Effect.flip(load({ pfx: bytes })))
            expect(error.reason).toBe("Malformed")
          }),
          { numRuns: 500 }
        )
      )
    })
  )

  it.scopedLive.runIf(openssl)("are a CredentialsError where a good file is damaged", () =>
    Effect.gen(function* () {
      const { read, run } = yield* files
      const args = ["-certfile", "ca.pem", "-nomac", "-iter", "1", "-passout", "pass:secret"]
      yield* run("openssl", "pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-out", "a.p12", ...args)
      const pfx = yield* read("a.p12")
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.nat(pfx.length - 1),
            FastCheck.uint8Array({ minLength: 1, maxLength: 4 }),
            async (at, bytes) => {
              const damaged = Buffer.from(pfx)
              damaged.set(bytes.subarray(0, pfx.length - at), at)
              const exit = await Effect.runPromise(Effect.either(load({ pfx: damaged, passphrase: "secret" })))
              expect(exit._tag === "Right" || exit.left instanceof CredentialsError).toBe(true)
            }
          ),
          { numRuns: 300 }
        )
      )
    })
  )
})

describeWith(["openssl"], "a PKCS#12 in a file", () => {
  it.scopedLive("is followed, and shows no secret", () =>
    Effect.gen(function* () {
      const { dir, issuer, run, write } = yield* files
      const export_ = (name: string) =>
        run(
          ...["openssl", "pkcs12", "-export", "-in", "cert.pem", "-inkey", "key.pem", "-certfile", "ca.pem"],
          ...["-out", name, "-passout", "pass:secret"]
        )
      yield* export_("a.p12")
      const layer = Credentials.layerPkcs12({
        pfx: { file: join(dir, "a.p12") },
        passphrase: Redacted.make("secret"),
        settle: "20 millis"
      })
      const credentials = Context.get(yield* Layer.build(layer), Credentials.Credentials)
      const next = yield* issuer.issue({ names: ["localhost"], commonName: "node-b" })
      yield* write("cert.pem", next.cert)
      yield* write("key.pem", Redacted.value(next.key))
      yield* export_("b.p12")
      yield* Effect.promise(() => rename(join(dir, "b.p12"), join(dir, "a.p12")))
      const found = yield* within(
        Stream.runHead(
          Stream.filter(
            credentials.changes,
            (one) =>
              one._tag === "Tls" && Option.exists(one.certificate, ({ identity }) => identity.subject === "CN=node-b")
          )
        ),
        "5 seconds"
      )
      expect(JSON.stringify(found)).not.toContain("PRIVATE KEY")
    })
  )
})
