/** PKCS#12 as Java writes it. */
import { rm } from "node:fs/promises"
import { join } from "node:path"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { describeWith } from "../fixtures/command.js"
import { expectFailure, files, load, trimmed } from "../fixtures/pkcs12.js"

describeWith(["keytool"], "PKCS#12 of Java", () => {
  const store = ["-keystore", "a.p12", "-storetype", "PKCS12", "-storepass", "changeit"]
  const generate = (...args: ReadonlyArray<string>) => [
    "-genkeypair",
    "-alias",
    "a",
    "-dname",
    "CN=java",
    ...args,
    ...store
  ]

  it.scopedLive.each<readonly [string, ReadonlyArray<string>]>([
    ["as keytool writes it", []],
    ["as older ones write it", ["-J-Dkeystore.pkcs12.legacy"]]
  ])("%s", ([, args]) =>
    Effect.gen(function* () {
      const { read, run } = yield* files
      yield* run("keytool", ...generate("-keyalg", "RSA", "-keysize", "2048", "-ext", "bc:c=ca:true"), ...args)
      const material = yield* load({ pfx: yield* read("a.p12"), passphrase: "changeit" })
      expect(Option.getOrThrow(material.certificate).identity.subject).toBe("CN=java")
      expect(material.ca.length).toBe(1)
      yield* expectFailure({ pfx: yield* read("a.p12"), passphrase: "changeiT" }, "WrongPassphrase")
    })
  )

  it.scopedLive("with keys of EC and Ed25519", () =>
    Effect.gen(function* () {
      const { dir, read, run } = yield* files
      for (const algorithm of [["EC", "-groupname", "secp256r1"], ["Ed25519"]]) {
        yield* run("keytool", ...generate("-keyalg", ...algorithm))
        const material = yield* load({
          pfx: yield* read("a.p12"),
          passphrase: "changeit",
          ca: join(dir, "ca.pem")
        })
        expect(Option.getOrThrow(material.certificate).identity.subject).toBe("CN=java")
        yield* Effect.promise(() => rm(join(dir, "a.p12")))
      }
    })
  )

  it.scopedLive("that is a trust store", () =>
    Effect.gen(function* () {
      const { issuer, read, run } = yield* files
      yield* run("keytool", "-importcert", "-noprompt", "-alias", "ca", "-file", "ca.pem", ...store)
      const material = yield* load({ pfx: yield* read("a.p12"), passphrase: "changeit" })
      expect(material.certificate).toEqual(Option.none())
      expect(trimmed(material.ca)).toEqual([issuer.ca.trim()])
    })
  )
})
