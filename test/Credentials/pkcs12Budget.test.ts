/** PKCS#12 within a budget, and in the forms of BER, from files that are written here: no openssl is needed. */
import { createCipheriv, generateKeyPairSync, pbkdf2Sync, randomBytes, scryptSync } from "node:crypto"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Ber from "../../src/Credentials/internal/ber.js"
import * as Pkcs12 from "../../src/Credentials/internal/pkcs12.js"
import { type Budget, defaultBudget } from "../../src/Credentials/internal/pkcs12Budget.js"
import * as Der from "../suite/fixtures/der.js"
import { heldDuring } from "../suite/fixtures/observe.js"

const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "der" })
const certificate = Buffer.from("a certificate, which nobody looks into here")
const int = (value: number) => Der.integer(Der.hex(value.toString(16).padStart(8, "0")))
const salt = randomBytes(8)
const aes = "2.16.840.1.101.3.4.1.42"
const hmacSha256 = Der.sequence(Der.oid("1.2.840.113549.2.9"), Der.nothing)

/** An EncryptedPrivateKeyInfo, or the encrypted content of a part, by PBES2. */
const encrypted = (derivation: Buffer, secret: Buffer, plain: Uint8Array) => {
  const iv = randomBytes(16)
  const cipher = createCipheriv("aes-256-cbc", secret, iv)
  const scheme = Der.sequence(Der.oid(aes), Der.octets(iv))
  return {
    algorithm: Der.sequence(Der.oid("1.2.840.113549.1.5.13"), Der.sequence(derivation, scheme)),
    bytes: Buffer.concat([cipher.update(plain), cipher.final()])
  }
}

const byPbkdf2 = (plain: Uint8Array, iterations: number) =>
  encrypted(
    Der.sequence(Der.oid("1.2.840.113549.1.5.12"), Der.sequence(Der.octets(salt), int(iterations), hmacSha256)),
    pbkdf2Sync("secret", salt, iterations, 32, "sha256"),
    plain
  )

const byScrypt = (plain: Uint8Array, N: number, r: number) =>
  encrypted(
    Der.sequence(Der.oid("1.3.6.1.4.1.11591.4.11"), Der.sequence(Der.octets(salt), int(N), int(r), int(1))),
    scryptSync("secret", salt, 32, { N, r, p: 1 }),
    plain
  )

const info = ({ algorithm, bytes }: ReturnType<typeof encrypted>) => Der.sequence(algorithm, Der.octets(bytes))

const bag = (kind: string, value: Uint8Array) =>
  Der.sequence(Der.oid(`1.2.840.113549.1.12.10.1.${kind}`), Der.tagged(0, value))
const certBag = bag("3", Der.sequence(Der.oid("1.2.840.113549.1.9.22.1"), Der.tagged(0, Der.octets(certificate))))
const data = (content: Uint8Array) => Der.sequence(Der.oid("1.2.840.113549.1.7.1"), Der.tagged(0, Der.octets(content)))

const pfx = (...parts: ReadonlyArray<Uint8Array>) =>
  Der.sequence(Der.integer(Buffer.of(3)), data(Der.sequence(...parts)))
const plainPfx = (...bags: ReadonlyArray<Uint8Array>) => pfx(data(Der.sequence(...bags)))

/** In indefinite lengths, and octet strings in pieces; those of so many levels are written so inside too. */
const inBer = (der: Buffer, levels: number): Buffer => {
  const write = (element: Ber.Element, levels: number): Buffer => {
    const end = Buffer.alloc(2)
    if (element.tag === Ber.tags.octetString) {
      const inner =
        levels > 0 ? write(Ber.read(element.bytes, { maxDepth: 32, onElement: () => {} }), levels - 1) : element.bytes
      const pieces = Array.from({ length: Math.ceil(inner.length / 7) }, (_, at) =>
        Der.octets(inner.subarray(7 * at, 7 * at + 7))
      )
      return Buffer.concat([Buffer.of(0x24, 0x80), ...pieces, end])
    }
    return element.children === undefined
      ? Ber.encode(element)
      : Buffer.concat([Buffer.of(element.tag, 0x80), ...element.children.map((each) => write(each, levels)), end])
  }
  return write(Ber.read(der, { maxDepth: 32, onElement: () => {} }), levels)
}

const problemOf = (promise: Promise<unknown>) =>
  promise.then(
    () => "read",
    (error) => (error instanceof Pkcs12.Pkcs12Problem ? `${error.reason}: ${error.text}` : error)
  )

describe("PKCS#12", () => {
  it("is read in DER and in BER, with nested bags, and with bags that nobody knows", async () => {
    const nested = bag("6", Der.sequence(certBag, bag("1", key)))
    const file = plainPfx(bag("4", Der.nothing), bag("1", key), nested)
    for (const bytes of [file, inBer(file, 0), inBer(file, 1), inBer(file, 2)]) {
      const contents = await Pkcs12.read(bytes, "")
      expect(contents.certificates).toEqual([certificate])
      expect(contents.keys).toEqual([key, key])
    }
  })

  it("and encrypted keys are decrypted by PBKDF2 and scrypt, in DER and in BER", async () => {
    for (const file of [info(byPbkdf2(key, 1000)), info(byScrypt(key, 1024, 8))]) {
      for (const bytes of [file, inBer(file, 0)]) {
        expect(await Pkcs12.decryptKey(bytes, "secret")).toEqual(key)
        expect(await problemOf(Pkcs12.decryptKey(bytes, "Secret"))).toMatch(/^WrongPassphrase/)
      }
      const shrouded = plainPfx(bag("2", file), certBag)
      expect(await Pkcs12.read(shrouded, "secret")).toEqual({ certificates: [certificate], keys: [key] })
    }
  })
})

describe("the budget of PKCS#12", () => {
  const twice = plainPfx(bag("2", info(byPbkdf2(key, 1000))), bag("2", info(byPbkdf2(key, 1000))))
  const hard = info(byScrypt(key, 1024, 8))
  const nested = (depth: number): Buffer => (depth === 0 ? certBag : bag("6", Der.sequence(nested(depth - 1))))

  const cases: ReadonlyArray<readonly [string, Buffer, Partial<Budget>, Partial<Budget>, string]> = [
    ["bytes", twice, { maxBytes: twice.length }, { maxBytes: twice.length - 1 }, "bytes"],
    ["depth", plainPfx(certBag), { maxDepth: 8 }, { maxDepth: 3 }, "is no PKCS#12"],
    ["depth of bags", plainPfx(nested(3)), { maxBagDepth: 3 }, { maxBagDepth: 2 }, "is nested too deeply"],
    ["elements", plainPfx(certBag), { maxElements: 19 }, { maxElements: 18 }, "elements"],
    ["iterations of one", twice, { maxIterations: 1000 }, { maxIterations: 999 }, "asks for 1000 iterations"],
    ["rounds of all", twice, { maxRounds: 2000 }, { maxRounds: 1999 }, "asks for 1000 iterations"],
    [
      "memory",
      plainPfx(bag("2", hard)),
      { maxScryptBytes: 1024 * 1024 },
      { maxScryptBytes: 1024 * 1024 - 1 },
      "asks for 1048576 bytes of memory"
    ]
  ]
  it.each(cases)("bounds its %s", async (_, file, enough, tooLittle, text) => {
    expect(await problemOf(Pkcs12.read(file, "secret", { ...defaultBudget, ...enough }))).toBe("read")
    const problem = await problemOf(Pkcs12.read(file, "secret", { ...defaultBudget, ...tooLittle }))
    expect(problem).toMatch(/^Malformed: /)
    expect(problem).toContain(text)
  })

  it.live("holds for the largest file that is nothing but elements, which does not hold the event loop", () =>
    Effect.gen(function* () {
      const tiny = Der.sequence(Buffer.alloc(1024 * 1024 - 10, Der.nothing))
      const [problem, held] = yield* heldDuring(Effect.promise(() => problemOf(Pkcs12.read(tiny, ""))))
      expect(problem).toContain("elements of ASN.1")
      expect(held).toBeLessThan(250)
    })
  )

  it("has room for a trust store of as many certificates as fit into a file", async () => {
    const one = bag("3", Der.sequence(Der.oid("1.2.840.113549.1.9.22.1"), Der.tagged(0, Der.octets(Buffer.alloc(700)))))
    const named = Der.sequence(
      Ber.encode({ ...Ber.read(one, { maxDepth: 32, onElement: () => {} }) }).subarray(4),
      Der.tlv(0x31, Der.sequence(Der.oid("1.2.840.113549.1.9.20"), Der.tlv(0x31, Der.tlv(0x1e, Buffer.alloc(20)))))
    )
    const count = Math.floor((1024 * 1024 - 100) / named.length)
    const file = plainPfx(...Array.from({ length: count }, () => named))
    expect(file.length).toBeLessThanOrEqual(defaultBudget.maxBytes)
    expect((await Pkcs12.read(file, "")).certificates).toHaveLength(count)
  })
})
