import { spawnSync } from "node:child_process"
import { createHmac, pbkdf2Sync } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Credentials from "../../src/Credentials/Credentials.js"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { tlsOf } from "../fixtures/tls.js"
import { directory } from "../suite/fixtures/system.js"
import * as OpenSsl from "./openssl.js"

/** DER: a tag, a length and what is in it. */
const der = (tag: number, ...contents: ReadonlyArray<Uint8Array>): Buffer => {
  const body = Buffer.concat(contents)
  const size = body.length.toString(16).padStart(body.length < 0x100 ? 2 : 4, "0")
  const length = body.length < 0x80 ? size : `${(0x80 + size.length / 2).toString(16)}${size}`
  return Buffer.concat([Buffer.of(tag), Buffer.from(length, "hex"), body])
}
const sequence = (...contents: ReadonlyArray<Uint8Array>) => der(0x30, ...contents)
const octets = (bytes: Uint8Array) => der(0x04, bytes)
const integer = (hex: string) => der(0x02, Buffer.from(hex, "hex"))
const none = der(0x05)
const pkcs5 = (last: number) => der(0x06, Buffer.from("2a864886f70d0105", "hex"), Buffer.of(last))
const hmac = (last: number) => der(0x06, Buffer.from("2a864886f70d02", "hex"), Buffer.of(last))
const hashes = { sha1: 7, sha256: 9, sha512: 11 } as const

interface Mac {
  readonly prf: keyof typeof hashes | undefined
  readonly hash: keyof typeof hashes
  readonly passphrase: string
  /** In DER, as they are written. */
  readonly iterations: string
  readonly keySize: string | undefined
}

const salt = Buffer.from("saltsalt")

/** The content of an element, and where it ends. */
const read = (bytes: Buffer, at: number): readonly [content: Buffer, end: number] => {
  const [, first = 0] = bytes.subarray(at)
  const size = first < 0x80 ? 0 : first - 0x80
  const start = at + 2 + size
  const end = start + (size === 0 ? first : bytes.readUIntBE(at + 2, size))
  return [bytes.subarray(start, end), end]
}

/** Adds a MAC by PBMAC1 (RFC 9579) to a PKCS#12 that has none. */
const withMac = (pfx: Buffer, { hash, iterations, keySize, passphrase, prf }: Mac): Buffer => {
  const [body] = read(pfx, 0)
  const [, versionEnd] = read(body, 0)
  const authenticated = body.subarray(versionEnd)
  const [, kindEnd] = read(read(authenticated, 0)[0], 0)
  const contents = read(read(read(authenticated, 0)[0], kindEnd)[0], 0)[0]
  const count = Number.parseInt(iterations, 16)
  const key = pbkdf2Sync(passphrase, salt, count, Number.parseInt(keySize ?? "20", 16), prf ?? "sha1")
  const algorithm = (hash: keyof typeof hashes) => sequence(hmac(hashes[hash]), none)
  const derivation = sequence(
    octets(salt),
    integer(iterations),
    ...(keySize === undefined ? [] : [integer(keySize)]),
    ...(prf === undefined ? [] : [algorithm(prf)])
  )
  const parameters = sequence(sequence(pkcs5(12), derivation), algorithm(hash))
  const digest = createHmac(hash, key).update(contents).digest()
  const digestInfo = sequence(sequence(pkcs5(14), parameters), octets(digest))
  // Salt and count of the old MAC are there and mean nothing.
  return sequence(body.subarray(0, versionEnd), authenticated, sequence(digestInfo, octets(salt), integer("02")))
}

const passphrase = "pässwörd 🔑"

/** A key and its certificates as openssl puts them into a PKCS#12, with the arguments that say how. */
const exported = (...args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const dir = yield* directory
    const { ca, issue } = yield* DevCa.make()
    const { cert, key } = yield* issue({ names: ["localhost"] })
    yield* Effect.promise(() => writeFile(join(dir, "all.pem"), cert + ca + Redacted.value(key)))
    const written = ["-in", "all.pem", "-out", "a.p12", "-passout", `pass:${passphrase}`]
    yield* OpenSsl.run(dir, "pkcs12", "-export", ...written, ...args)
    return { cert, pfx: yield* Effect.promise(() => readFile(join(dir, "a.p12"))) }
  })

const load = (pfx: Buffer, secret: string) => tlsOf(Credentials.layerPkcs12({ pfx, passphrase: secret }))

const version = /OpenSSL (\d+)\.(\d+)/.exec(spawnSync("openssl", ["version"]).stdout?.toString() ?? "")
const [major = 0, minor = 0] = version?.slice(1).map(Number) ?? []

describe.runIf(major >= 3)("PKCS#12 with a MAC by PBMAC1", () => {
  const good: Mac = { prf: "sha256", hash: "sha256", passphrase, iterations: "0800", keySize: "20" }

  it.scopedLive.each<readonly [string, Partial<Mac>]>([
    ["SHA-256", {}],
    ["SHA-256 for the key and SHA-512 for the MAC", { hash: "sha512" }],
    ["SHA-512 and a long key", { prf: "sha512", hash: "sha512", keySize: "0100" }],
    ["SHA-1 for the key where nothing is said", { prf: undefined, keySize: "14" }]
  ])("is read: %s", ([, changes]) =>
    Effect.gen(function* () {
      const { cert, pfx } = yield* exported("-nomac")
      const { certificate } = yield* load(withMac(pfx, { ...good, ...changes }), passphrase)
      expect(Option.getOrThrow(certificate).chain.trim()).toBe(cert.trim())
    })
  )

  it.scopedLive.runIf(major > 3 || minor >= 4)("is read as openssl writes it", () =>
    Effect.gen(function* () {
      const { cert, pfx } = yield* exported("-pbmac1_pbkdf2")
      const { certificate } = yield* load(pfx, passphrase)
      expect(Option.getOrThrow(certificate).chain.trim()).toBe(cert.trim())
      expect(yield* Effect.flip(load(pfx, "wrong"))).toMatchObject({ reason: "WrongPassphrase" })
    })
  )

  it.scopedLive("tells a wrong passphrase, and a file that was changed", () =>
    Effect.gen(function* () {
      // What is not encrypted has nothing but its MAC to tell.
      const { pfx } = yield* exported("-nomac", "-keypbe", "NONE", "-certpbe", "NONE")
      const sealed = withMac(pfx, good)
      yield* load(sealed, passphrase)
      expect(yield* Effect.flip(load(sealed, "wrong"))).toMatchObject({ reason: "WrongPassphrase" })
      const changed = Buffer.from(sealed)
      changed.writeUInt8(changed.readUInt8(pfx.length - 60) ^ 1, pfx.length - 60)
      expect(yield* Effect.flip(load(changed, passphrase))).toMatchObject({ reason: "WrongPassphrase" })
    })
  )

  it.scopedLive.each<readonly [string, Partial<Mac>]>([
    ["a key that is too short", { keySize: "13" }],
    ["a key that is too long", { keySize: "0401" }],
    ["no size for the key", { keySize: undefined }]
  ])("is refused with %s", ([, changes]) =>
    Effect.gen(function* () {
      const { pfx } = yield* exported("-nomac")
      expect(yield* Effect.flip(load(withMac(pfx, { ...good, ...changes }), passphrase))).toMatchObject({
        reason: "Malformed",
        part: "pfx"
      })
    })
  )

  it.scopedLive("is refused where it asks for too much work, before it is done", () =>
    Effect.gen(function* () {
      const { pfx } = yield* exported("-nomac")
      const sealed = withMac(pfx, { ...good, iterations: "010001" })
      const at = sealed.indexOf(Buffer.from("0203010001", "hex"))
      sealed.set(Buffer.from("02037fffff", "hex"), at)
      const error = yield* Effect.flip(load(sealed, passphrase))
      expect(error).toMatchObject({ reason: "Malformed" })
      expect(error.message).toContain("asks for 8388607 iterations")
    })
  )
})
