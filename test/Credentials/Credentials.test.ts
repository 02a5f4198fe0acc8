import { chmod, mkdtemp, rm, symlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { inspect } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as Credentials from "../../src/Credentials/Credentials.js"
import * as DevCa from "../../src/Credentials/DevCa.js"
import { filesOf } from "../../src/Credentials/internal/load.js"
import * as Pins from "../../src/Credentials/Pins.js"
import { CredentialsError } from "../../src/Transport/TransportError.js"
import { currentOf, tlsOf } from "../fixtures/tls.js"

const directory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "credentials-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
)

const write = (path: string, text: string | Uint8Array) => Effect.promise(() => writeFile(path, text))

const issued = Effect.gen(function* () {
  const ca = yield* DevCa.make()
  return { ca: ca.ca, issuer: ca, ...(yield* ca.issue({ names: ["localhost"], spiffeId: "spiffe://mesh/a" })) }
})

const failureOf = (options: Credentials.PemOptions) => Effect.flip(tlsOf(Credentials.layerPem(options)))

const fields = ({ _tag, file, part, reason }: CredentialsError) => ({ _tag, reason, part, file })

const expectFailure = (
  options: Credentials.PemOptions,
  reason: CredentialsError["reason"],
  part: string,
  file?: string
) =>
  Effect.map(failureOf(options), (error) => {
    expect(error).toBeInstanceOf(CredentialsError)
    expect(fields(error)).toEqual({ _tag: "CredentialsError", reason, part, file })
    expect(error.message).toContain(part)
    if (file !== undefined) {
      expect(error.message).toContain(file)
    }
    return error
  })

describe("Credentials.layerPem", () => {
  it.scoped("reads values and files of every kind", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const dir = yield* directory
      const text = Redacted.value(key)
      yield* write(join(dir, "cert.pem"), cert)
      yield* write(join(dir, "key.pem"), text)
      yield* write(join(dir, "ca.pem"), ca)
      yield* write(join(dir, "both.pem"), text + cert)
      const combinations: ReadonlyArray<Credentials.PemOptions> = [
        { cert, key, ca },
        { cert, key: text, ca },
        { cert: Buffer.from(cert), key: Buffer.from(text), ca: new TextEncoder().encode(ca) },
        { cert: join(dir, "cert.pem"), key: Redacted.make(join(dir, "key.pem")), ca: { file: join(dir, "ca.pem") } },
        { cert: join(dir, "both.pem"), key: join(dir, "both.pem"), ca: [ca, join(dir, "ca.pem")] },
        { cert, key, ca, passphrase: "not needed" }
      ]
      for (const options of combinations) {
        const material = yield* tlsOf(Credentials.layerPem(options))
        const pair = Option.getOrThrow(material.certificate)
        expect(pair.identity.subjectAltNames).toEqual(["DNS:localhost", "URI:spiffe://mesh/a"])
        expect(pair.identity.spiffeId).toEqual(Option.some("spiffe://mesh/a"))
        expect(pair.identity.fingerprint).toMatch(/^[0-9a-f]{64}$/)
        expect(pair.identity.notAfter.getTime()).toBeGreaterThan(Date.now())
        expect(Redacted.value(pair.key).trim()).toBe(text.trim())
        expect(pair.chain.trim()).toBe(cert.trim())
        expect(material.ca.length).toBe(Array.isArray(options.ca) ? 2 : 1)
      }
    })
  )

  it.effect("lets a client show no certificate", () =>
    Effect.gen(function* () {
      const { ca } = yield* issued
      const material = yield* tlsOf(Credentials.layerPem({ ca }))
      expect(material.certificate).toEqual(Option.none())
      const error = yield* Effect.flip(Credentials.requireCertificate(material))
      expect(fields(error)).toEqual({ _tag: "CredentialsError", reason: "NotFound", part: "cert", file: undefined })
    })
  )

  it.effect("reads PEM with line ends of Windows, leading text, a byte order mark, and line breaks as \\n", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const text = Redacted.value(key)
      const bags = (pem: string) => `Bag Attributes\n    friendlyName: a\nsubject=CN = a\n\n${pem}`
      const forms: ReadonlyArray<(pem: string) => string> = [
        (pem) => pem.replaceAll("\n", "\r\n"),
        bags,
        (pem) => `\uFEFF${pem}`,
        (pem) => `\n\n  ${pem.trim().replaceAll("\n", "  \n  ")}`,
        (pem) => pem.trim().replaceAll("\n", "\\n")
      ]
      for (const form of forms) {
        const material = yield* tlsOf(Credentials.layerPem({ cert: form(cert), key: form(text), ca: form(ca) }))
        expect(Option.getOrThrow(material.certificate).chain.trim()).toBe(cert.trim())
      }
    })
  )

  it.effect("keeps the chain in order, and a bundle of several CAs", () =>
    Effect.gen(function* () {
      const ca = yield* DevCa.make({ intermediate: true })
      const other = yield* DevCa.make()
      const { cert, key } = yield* ca.issue({ names: ["a"] })
      const material = yield* tlsOf(Credentials.layerPem({ cert, key, ca: ca.ca + other.ca }))
      expect(Option.getOrThrow(material.certificate).chain.match(/BEGIN CERTIFICATE/g)?.length).toBe(2)
      expect(material.ca.map((pem) => pem.trim())).toEqual([ca.ca.trim(), other.ca.trim()])
    })
  )

  it.scoped("says which file is missing, unreadable, no file, or too large", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const dir = yield* directory
      const missing = join(dir, "missing.pem")
      yield* expectFailure({ cert: missing, key, ca }, "NotFound", "cert", missing)
      yield* expectFailure({ cert, key: { file: missing }, ca }, "NotFound", "key", missing)
      yield* expectFailure({ cert, key, ca: [ca, missing] }, "NotFound", "ca", missing)
      const beyond = join(dir, "ca.pem")
      yield* write(beyond, ca)
      yield* expectFailure({ ca: join(beyond, "ca.pem") }, "NotFound", "ca", join(beyond, "ca.pem"))
      yield* Effect.promise(() => symlink(missing, join(dir, "dangling.pem")))
      yield* expectFailure({ ca: join(dir, "dangling.pem") }, "NotFound", "ca", join(dir, "dangling.pem"))
      yield* expectFailure({ ca: { file: "a\0b" } }, "NotFound", "ca", "a\0b")
      yield* expectFailure({ ca: dir }, "Malformed", "ca", dir)
      yield* expectFailure({ ca: "/dev/zero" }, "Malformed", "ca", "/dev/zero")
      const large = join(dir, "large.pem")
      yield* write(large, Buffer.alloc(1024 * 1024 + 1, "\n"))
      yield* expectFailure({ ca: large }, "Malformed", "ca", large)
      yield* expectFailure({ ca: Buffer.alloc(1024 * 1024 + 1, "\n") }, "Malformed", "ca")
    })
  )

  it.scoped("says which file may not be read", () =>
    Effect.gen(function* () {
      const dir = yield* directory
      const file = join(dir, "ca.pem")
      yield* write(file, "x")
      yield* Effect.promise(() => chmod(file, 0))
      yield* Effect.acquireRelease(
        Effect.sync(() => (process.getuid?.() === 0 ? process.seteuid?.(65534) : undefined)),
        () => Effect.sync(() => (process.getuid?.() === 0 ? process.seteuid?.(0) : undefined))
      )
      yield* expectFailure({ ca: file }, "AccessDenied", "ca", file)
    })
  )

  it.effect("refuses what is not PEM, the wrong kind of PEM, and blocks that are cut off", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const text = Redacted.value(key)
      yield* expectFailure({ cert: "", key, ca }, "Malformed", "cert")
      yield* expectFailure({ cert: "garbage", key, ca }, "Malformed", "cert")
      yield* expectFailure({ cert: text, key, ca }, "Malformed", "cert")
      yield* expectFailure({ cert, key: cert, ca }, "Malformed", "key")
      yield* expectFailure({ cert, key: text + text, ca }, "Malformed", "key")
      yield* expectFailure({ cert, key, ca: text }, "Malformed", "ca")
      yield* expectFailure({ cert, key, ca: [] }, "NotFound", "ca")
      yield* expectFailure({ cert: cert.slice(0, -30), key, ca }, "Malformed", "cert")
      yield* expectFailure({ cert, key, ca: ca + cert.slice(0, 200) }, "Malformed", "ca")
      yield* expectFailure({ cert, key: text.slice(0, 60) + text.slice(70), ca }, "Malformed", "key")
      yield* expectFailure({ cert: cert.slice(0, 200) + cert.slice(240), key, ca }, "Malformed", "cert")
    })
  )

  it.effect("wants a certificate and its key together", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      yield* expectFailure({ cert, ca }, "NotFound", "key")
      yield* expectFailure({ key, ca }, "NotFound", "cert")
    })
  )

  it.scoped("refuses the key of another certificate, and says so if only the order of the chain is wrong", () =>
    Effect.gen(function* () {
      const { ca, cert, issuer, key } = yield* issued
      const other = yield* issuer.issue({ names: ["b"] })
      const file = join(yield* directory, "other.key")
      yield* write(file, Redacted.value(other.key))
      yield* expectFailure({ cert, key: file, ca }, "KeyMismatch", "key", file)
      const reversed = yield* expectFailure({ cert: ca + cert, key, ca }, "KeyMismatch", "key")
      expect(reversed.message).toContain("number 2 of the chain, which must come first")
    })
  )

  it.scoped("refuses a certificate that is expired or not yet valid", () =>
    Effect.gen(function* () {
      const { ca, issuer } = yield* issued
      const notAfter = new Date("2024-02-01T00:00:00Z")
      const expired = yield* issuer.issue({ names: ["a"], notBefore: new Date("2024-01-01T00:00:00Z"), notAfter })
      const file = join(yield* directory, "expired.pem")
      yield* write(file, expired.cert)
      const error = yield* expectFailure({ cert: file, key: expired.key, ca }, "Expired", "cert", file)
      expect(error.notAfter).toEqual(notAfter)
      const tomorrow = yield* issuer.issue({ names: ["a"], notBefore: new Date(Date.now() + 3600_000) })
      yield* expectFailure({ ...tomorrow, ca }, "NotYetValid", "cert")
    })
  )

  it.effect("only warns of an expired CA", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const old = yield* DevCa.make({
        commonName: "old CA",
        notBefore: new Date("2024-01-01T00:00:00Z"),
        notAfter: new Date("2024-02-01T00:00:00Z")
      })
      const logged: Array<string> = []
      const logger = Logger.map(Logger.logfmtLogger, (line) => void logged.push(line))
      const material = yield* tlsOf(Credentials.layerPem({ cert, key, ca: [ca, old.ca] })).pipe(
        Effect.provide(Logger.replace(Logger.defaultLogger, logger))
      )
      expect(material.ca.length).toBe(2)
      expect(logged.length).toBe(1)
      expect(logged[0]).toMatch(/level=WARN .*CA.* subject="?CN=old CA"?/)
    })
  )

  it.effect("gives the current material first, and then waits for changes", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const service = yield* Effect.scoped(
        Effect.map(Layer.build(Credentials.layerPem({ cert, key, ca })), Context.get(Credentials.Credentials))
      )
      const seen: Array<Credentials.Material> = []
      const fiber = yield* Effect.fork(Stream.runForEach(service.changes, (one) => Effect.sync(() => seen.push(one))))
      yield* Effect.yieldNow().pipe(Effect.repeatN(20))
      expect(seen).toEqual([yield* service.current])
      expect(yield* Fiber.poll(fiber)).toEqual(Option.none())
      expect(Chunk.size(yield* Stream.runCollect(Stream.take(service.changes, 1)))).toBe(1)
      yield* Fiber.interrupt(fiber)
    })
  )
})

describe("secrets", () => {
  const secretsOf = (text: string) => text.split("\n").filter((line) => line.length > 20 && !line.startsWith("-"))

  it.effect("shows no key material in any text form of the material", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const layer = Credentials.layerPem({ cert, key, ca })
      const material = yield* tlsOf(layer)
      const logged: Array<string> = []
      const log = (logger: Logger.Logger<unknown, string>) =>
        Logger.add(Logger.map(logger, (line) => void logged.push(line)))
      yield* Effect.log(material, material.certificate).pipe(
        Effect.annotateLogs("material", material),
        Effect.provide(Layer.mergeAll(log(Logger.stringLogger), log(Logger.jsonLogger), log(Logger.logfmtLogger)))
      )
      expect(logged.length).toBe(3)
      const texts = [
        String(material),
        JSON.stringify(material),
        inspect(material, { depth: 10 }),
        String(Option.getOrThrow(material.certificate).key),
        ...logged
      ].join("\n")
      for (const secret of secretsOf(Redacted.value(key))) {
        expect(texts).not.toContain(secret)
      }
    })
  )

  it.effect("shows nothing of what was given in an error, not even of a key that lost its armour", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const text = Redacted.value(key)
      const body = secretsOf(text).join("")
      const lines = secretsOf(text)
      const attempts: ReadonlyArray<Credentials.PemOptions> = [
        ...[text.slice(0, -20), body, ...lines, `/${body}`, ...lines.map((line) => `/${line}`), `./${text}`].flatMap(
          (pasted): ReadonlyArray<Credentials.PemOptions> => [
            { cert: pasted, key: pasted, ca },
            { cert, key: pasted, ca },
            { cert, key: Redacted.make(pasted), ca },
            { cert, key, ca: pasted },
            { cert, key: Buffer.from(pasted), ca }
          ]
        ),
        { cert, key: text.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), ca, passphrase: "hunter2hunter2" }
      ]
      for (const options of attempts) {
        const error = yield* failureOf(options)
        expect(error.reason).toBe("Malformed")
        const texts = [String(error), error.message, JSON.stringify(error), inspect(error, { depth: 10 })].join("\n")
        for (const secret of [...lines, "hunter2"]) {
          expect(texts).not.toContain(secret)
        }
      }
    })
  )
})

describe("any input", () => {
  const lines = FastCheck.constantFrom(
    "-----BEGIN CERTIFICATE-----",
    "-----END CERTIFICATE-----",
    "-----BEGIN PRIVATE KEY-----",
    "-----END PRIVATE KEY-----",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----",
    "-----END ENCRYPTED PRIVATE KEY-----",
    "-----BEGIN RSA PRIVATE KEY-----",
    "-----END RSA PRIVATE KEY-----",
    "Proc-Type: 4,ENCRYPTED",
    "DEK-Info: AES-256-CBC,00",
    "MAA=",
    ""
  )
  const texts = FastCheck.oneof(
    FastCheck.string(),
    FastCheck.base64String(),
    FastCheck.array(FastCheck.oneof(lines, FastCheck.base64String()), { maxLength: 12 }).map((all) => all.join("\n"))
  )
  const sources: FastCheck.Arbitrary<Credentials.PemSource> = FastCheck.oneof(
    texts,
    FastCheck.uint8Array({ maxLength: 300 }),
    texts.map((text) => Redacted.make(text)),
    texts.map((text) => Buffer.from(text))
  )

  it.effect("is a CredentialsError and never a defect", () =>
    Effect.promise(() =>
      FastCheck.assert(
        FastCheck.asyncProperty(
          FastCheck.option(sources, { nil: undefined }),
          FastCheck.option(sources, { nil: undefined }),
          FastCheck.oneof(sources, FastCheck.array(sources, { maxLength: 3 })),
          FastCheck.option(FastCheck.string(), { nil: undefined }),
          async (cert, key, ca, passphrase) => {
            const error = await Effect.runPromise(failureOf({ cert, key, ca, passphrase }))
            expect(error).toBeInstanceOf(CredentialsError)
          }
        ),
        { numRuns: 500 }
      )
    )
  )

  it.effect("is a CredentialsError when good PEM is damaged", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const text = Redacted.value(key)
      const damage = (pem: string) =>
        FastCheck.tuple(FastCheck.nat(pem.length - 1), FastCheck.nat(60), FastCheck.string({ maxLength: 3 })).map(
          ([at, size, insert]) => pem.slice(0, at) + insert + pem.slice(at + size)
        )
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(damage(cert), damage(text), damage(ca), async (badCert, badKey, badCa) => {
            for (const options of [
              { cert: badCert, key, ca },
              { cert, key: badKey, ca },
              { cert, key, ca: badCa }
            ]) {
              const exit = await Effect.runPromise(Effect.either(tlsOf(Credentials.layerPem(options))))
              expect(exit._tag === "Right" || exit.left instanceof CredentialsError).toBe(true)
            }
          }),
          { numRuns: 300 }
        )
      )
    })
  )

  it.live("takes linear time for text that is all BEGIN lines", () =>
    Effect.gen(function* () {
      const text = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n".repeat(14_000)
      const [duration] = yield* Effect.timed(failureOf({ ca: text }))
      expect(Duration.toMillis(duration)).toBeLessThan(10_000)
    })
  )
})

describe("the CAs of trust domains", () => {
  it.scoped("are values or files as those of all names are, and can stand alone", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* DevCa.make(), yield* DevCa.make()]
      const file = join(yield* directory, "b.pem")
      yield* write(file, b.ca)
      const trustDomains = { "a.example": [a.ca, { file }], "spiffe://b.example": file, constructor: b.ca }
      const trim = (all: ReadonlyArray<string> | undefined) => all?.map((pem) => pem.trim())
      for (const ca of [undefined, a.ca]) {
        const material = yield* tlsOf(Credentials.layerPem({ ca, trustDomains }))
        expect(trim(material.ca)).toEqual(ca === undefined ? [] : [a.ca.trim()])
        expect(trim(material.trustDomains?.["a.example"])).toEqual([a.ca.trim(), b.ca.trim()])
        expect(trim(material.trustDomains?.["b.example"])).toEqual([b.ca.trim()])
        expect(Object.keys(material.trustDomains ?? {})).toEqual(["a.example", "b.example", "constructor"])
      }
      expect(filesOf({ trustDomains })).toEqual([file, file])
    })
  )

  it.effect("are refused where they bind nothing", () =>
    Effect.gen(function* () {
      const { ca, cert } = yield* issued
      yield* expectFailure({ ca, trustDomains: {} }, "NotFound", "trustDomains")
      yield* expectFailure({ ca, trustDomains: { "a.example": [] } }, "NotFound", "trustDomains")
      yield* expectFailure({ ca, trustDomains: { "a.example": "garbage" } }, "Malformed", "trustDomains")
      for (const name of ["", "A.example", "a.example/x", "a b", "spiffe://a.example/x", "a".repeat(256)]) {
        yield* expectFailure({ ca, trustDomains: { [name]: ca } }, "Malformed", "trustDomains")
      }
      const pins = { mode: "instead", all: [yield* Pins.publicKey(cert)] } as const
      yield* expectFailure({ pins, trustDomains: { "a.example": ca } }, "Malformed", "trustDomains")
    })
  )
})

describe("Credentials.layerConfig", () => {
  const provide = (values: ReadonlyArray<readonly [string, string]>) =>
    Layer.setConfigProvider(ConfigProvider.fromMap(new Map(values)))

  it.scoped("reads the environment's names by default", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const file = join(yield* directory, "key.pem")
      yield* write(file, Redacted.value(key))
      const layer = Credentials.layerConfig()
      const full = provide([
        ["TRANSPORT_CA", ca],
        ["TRANSPORT_CERT", cert],
        ["TRANSPORT_KEY", file]
      ])
      const material = yield* tlsOf(Layer.provide(layer, full))
      expect(Option.isSome(material.certificate)).toBe(true)
      const trusting = yield* tlsOf(Layer.provide(layer, provide([["TRANSPORT_CA", ca]])))
      expect(trusting.certificate).toEqual(Option.none())
      const missing = yield* Effect.flip(tlsOf(Layer.provide(layer, provide([]))))
      expect(missing._tag).toBe("ConfigError")
      const bad = yield* Effect.flip(tlsOf(Layer.provide(layer, provide([["TRANSPORT_CA", "x"]]))))
      expect(bad._tag).toBe("CredentialsError")
    })
  )

  it.scoped("reads the CAs of trust domains", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* DevCa.make(), yield* DevCa.make()]
      const files = yield* Effect.forEach([a, b], ({ ca }, index) =>
        Effect.flatMap(directory, (path) => Effect.as(write(join(path, `${index}=`), ca), join(path, `${index}=`)))
      )
      const value = `a.example=${files[0]},b.example=${files[1]},a.example=${files[1]}`
      const layer = Layer.provide(Credentials.layerConfig(), provide([["TRANSPORT_TRUST_DOMAINS", value]]))
      const { trustDomains } = yield* tlsOf(layer)
      expect(Object.entries(trustDomains ?? {}).map(([domain, ca]) => [domain, ca.map((pem) => pem.trim())])).toEqual([
        ["a.example", [a.ca.trim(), b.ca.trim()]],
        ["b.example", [b.ca.trim()]]
      ])
    })
  )

  it.effect("reads pins and revocation lists", () =>
    Effect.gen(function* () {
      const { ca, cert, issuer } = yield* issued
      const pins = [yield* Pins.publicKey(cert), yield* Pins.certificate(cert)]
      const text = pins.map(Pins.format).join(",")
      const layer = Credentials.layerConfig()
      const crl = yield* issuer.crl()
      const additional: ReadonlyArray<readonly [string, string]> = [
        ["TRANSPORT_CA", ca],
        ["TRANSPORT_CRL", crl],
        ["TRANSPORT_PINS", text]
      ]
      expect(yield* tlsOf(Layer.provide(layer, provide(additional)))).toMatchObject({
        crl: [crl],
        pins: { mode: "additional", all: pins }
      })
      const instead: ReadonlyArray<readonly [string, string]> = [
        ["TRANSPORT_PINS_MODE", "instead"],
        ["TRANSPORT_PINS", text]
      ]
      expect(yield* tlsOf(Layer.provide(layer, provide(instead)))).toMatchObject({
        ca: [],
        pins: { mode: "instead", all: pins }
      })
      // Without pins nothing would be trusted, and nobody says so by leaving something out.
      const nothing = yield* Effect.flip(tlsOf(Layer.provide(layer, provide([["TRANSPORT_PINS_MODE", "instead"]]))))
      expect(nothing).toMatchObject({ _tag: "CredentialsError", part: "ca" })
    })
  )

  it.effect("reads any other configuration", () =>
    Effect.gen(function* () {
      const { ca, cert, key } = yield* issued
      const wrapped = Credentials.layerConfig({
        ca: Config.string("CA"),
        cert: Config.string("CERT"),
        key: Config.redacted("KEY")
      })
      const values: ReadonlyArray<readonly [string, string]> = [
        ["CA", ca],
        ["CERT", cert],
        ["KEY", Redacted.value(key)]
      ]
      expect(Option.isSome((yield* tlsOf(Layer.provide(wrapped, provide(values)))).certificate)).toBe(true)
      const nested = Credentials.layerConfig(Config.nested(Credentials.config, "NODE"))
      const own = provide([["NODE.TRANSPORT_CA", ca]])
      expect((yield* tlsOf(Layer.provide(nested, own))).ca.length).toBe(1)
    })
  )
})

describe("the other layers", () => {
  it.effect("layerDev is for loopback, or for the names and the CA given", () =>
    Effect.gen(function* () {
      const material = yield* tlsOf(Credentials.layerDev())
      expect(Option.getOrThrow(material.certificate).identity.subjectAltNames).toEqual([
        "DNS:localhost",
        "IP Address:127.0.0.1",
        "IP Address:0:0:0:0:0:0:0:1"
      ])
      const ca = yield* DevCa.make()
      const named = yield* tlsOf(Credentials.layerDev({ names: ["node-a"], ca }))
      expect(Option.getOrThrow(named.certificate).identity.subjectAltNames).toEqual(["DNS:node-a"])
      expect(named.ca.map((pem) => pem.trim())).toEqual([ca.ca.trim()])
      expect(material.ca).not.toEqual(named.ca)
    })
  )

  it.effect("insecure has no TLS", () =>
    Effect.map(currentOf(Credentials.insecure), (material) => expect(material).toEqual({ _tag: "Insecure" }))
  )
})
