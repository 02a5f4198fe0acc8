import { spawnSync } from "node:child_process"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import * as Credentials from "../../src/Credentials/Credentials.js"
import type * as DevCa from "../../src/Credentials/DevCa.js"
import * as Pins from "../../src/Credentials/Pins.js"
import { acceptor, eventually, failure, reasonOf, secure, tlsOf } from "../fixtures/tls.js"
import { authority, rawMaterial } from "../suite/fixtures/certificates.js"
import { isInstalled } from "../suite/fixtures/system.js"

const refusedPins = (pins: Pins.PinsOptions) => Effect.flip(tlsOf(Credentials.layerPem({ pins, ca: "" })))

describe("Pins", () => {
  it("are read with and without colons, and written as they are read", () => {
    const hex = "ab".repeat(32)
    expect(Pins.parse(`publicKey:${hex}`)).toEqual(Either.right({ kind: "publicKey", sha256: hex }))
    const colons = Array.from({ length: 32 }, () => "AB").join(":")
    expect(Pins.parse(` certificate:${colons} `)).toEqual(Either.right({ kind: "certificate", sha256: hex }))
    for (const bad of ["", hex, `publickey:${hex}`, `publicKey:${hex}0`, `publicKey:${colons}:`, `sha256:${hex}`]) {
      expect(Either.isLeft(Pins.parse(bad)), bad).toBe(true)
    }
    FastCheck.assert(
      FastCheck.property(
        FastCheck.constantFrom("certificate" as const, "publicKey" as const),
        FastCheck.uint8Array({ minLength: 32, maxLength: 32 }),
        (kind, bytes) => {
          const pin = { kind, sha256: Buffer.from(bytes).toString("hex") }
          expect(Pins.parse(Pins.format(pin))).toEqual(Either.right(pin))
        }
      )
    )
    FastCheck.assert(FastCheck.property(FastCheck.string(), (text) => void Pins.parse(text)))
  })

  it.scoped.runIf(isInstalled("openssl"))("are what OpenSSL computes", () =>
    Effect.gen(function* () {
      const { good } = yield* authority
      const openssl =
        (...args: ReadonlyArray<string>) =>
        (input: string | Buffer) =>
          spawnSync("openssl", args, { input }).stdout
      const digest = (der: Buffer) => String(openssl("dgst", "-sha256", "-r")(der)).slice(0, 64)
      const key = openssl("x509", "-noout", "-pubkey")(good.cert)
      const spki = digest(openssl("pkey", "-pubin", "-outform", "DER")(key))
      expect(yield* Pins.certificate(good.cert)).toEqual({
        kind: "certificate",
        sha256: digest(openssl("x509", "-outform", "DER")(good.cert))
      })
      expect(yield* Pins.publicKey(good.cert)).toEqual({ kind: "publicKey", sha256: spki })
      expect(yield* Pins.publicKey(String(key))).toEqual({ kind: "publicKey", sha256: spki })
      expect((yield* Effect.flip(Pins.certificate(String(key)))).reason).toBe("Malformed")
    })
  )

  it.effect("are refused when they are malformed, or when a set is empty", () =>
    Effect.gen(function* () {
      for (const pins of [{}, { all: [] }, { byName: {} }, { byName: { a: [] } }, { mode: "instead" as const }]) {
        expect(yield* refusedPins(pins)).toMatchObject({ reason: "NotFound", part: "pins" })
      }
      expect(yield* refusedPins({ all: ["x"] })).toMatchObject({ reason: "Malformed", part: "pins" })
      expect(yield* refusedPins({ byName: { a: [{ kind: "publicKey", sha256: "ABC" }] } })).toMatchObject({
        reason: "Malformed"
      })
    })
  )

  it.effect("need no CA when they stand instead of one", () =>
    Effect.gen(function* () {
      const { good } = yield* authority
      const pins = { mode: "instead" as const, all: [yield* Pins.publicKey(good.cert)] }
      const material = yield* tlsOf(Credentials.layerPem({ ...good, pins }))
      expect(material.ca).toEqual([])
      expect(yield* Effect.flip(tlsOf(Credentials.layerPem({ ...good })))).toMatchObject({ part: "ca" })
    })
  )
})

const loopback = "peer:1"

/** The listener shows `server` and has these pins for clients; the client shows `client` and has those for servers. */
const meet = (options: {
  readonly server?: DevCa.Issued
  readonly client?: DevCa.Issued
  readonly serverPins?: Pins.PinsOptions
  readonly clientPins?: Pins.PinsOptions
  readonly nameWanted?: string
}) =>
  Effect.gen(function* () {
    const pki = yield* authority
    const make = (pins: Pins.PinsOptions | undefined) =>
      pins === undefined ? Effect.succeed(undefined) : Pins.make(pins)
    const ca = (pins: Pins.PinsOptions | undefined) => (pins?.mode === "instead" ? [] : [pki.trusted.ca])
    const there = yield* acceptor({
      ...rawMaterial(options.server ?? pki.good, ...ca(options.serverPins)),
      pins: yield* make(options.serverPins)
    })
    const material: Credentials.Tls = {
      ...rawMaterial(options.client ?? pki.client, ...ca(options.clientPins)),
      pins: yield* make(options.clientPins)
    }
    const nameWanted = options.nameWanted ?? "localhost"
    return {
      there,
      secure: secure(there.port, material, { nameWanted, peer: loopback }),
      failure: failure(there.port, material, { nameWanted, peer: loopback }),
      pki
    }
  })

const unknown: Pins.Pin = { kind: "publicKey", sha256: "00".repeat(32) }

const pki = Effect.runSync(Effect.cached(authority))

describe("a client with pins", () => {
  const accepted = (title: string, pins: (pin: Pins.Pin, certificate: Pins.Pin) => Pins.PinsOptions) =>
    it.scopedLive(`takes a server ${title}`, () =>
      Effect.gen(function* () {
        const { good } = yield* pki
        const clientPins = pins(yield* Pins.publicKey(good.cert), yield* Pins.certificate(good.cert))
        const met = yield* meet({ server: good, clientPins })
        // The CA of `meet` is another one: only in addition to a chain does it matter.
        const client = yield* met.secure
        expect(Option.isSome(client.identity)).toBe(true)
      })
    )
  accepted("whose key is pinned, instead of a chain", (key) => ({ mode: "instead", all: [unknown, key] }))
  accepted("whose certificate is pinned, instead of a chain", (_, cert) => ({ mode: "instead", all: [cert] }))
  accepted("pinned by name", (key) => ({ mode: "instead", all: [unknown], byName: { LocalHost: [key] } }))
  accepted("pinned by target", (key) => ({ mode: "instead", byName: { [loopback]: [key] } }))

  it.scopedLive("refuses another one, and says what it saw", () =>
    Effect.gen(function* () {
      const { good, selfSigned } = yield* pki
      const pin = yield* Pins.publicKey(good.cert)
      for (const clientPins of [
        { mode: "instead", all: [pin] },
        { mode: "instead", byName: { elsewhere: [yield* Pins.publicKey(selfSigned.cert)] } },
        { mode: "instead", all: [yield* Pins.publicKey(selfSigned.cert)], byName: { localhost: [pin] } }
      ] satisfies ReadonlyArray<Pins.PinsOptions>) {
        const error = yield* (yield* meet({ server: selfSigned, clientPins })).failure
        expect(reasonOf(error)).toEqual(["PinMismatch", "local"])
        const seen = yield* Pins.certificate(selfSigned.cert)
        expect(error).toMatchObject({ fingerprint: seen.sha256, peer: loopback, nameWanted: "localhost" })
        expect(error.message).toContain(Pins.format(yield* Pins.publicKey(selfSigned.cert)))
      }
    })
  )

  it.scopedLive("checks the chain and the name as well, unless told otherwise", () =>
    Effect.gen(function* () {
      const { good } = yield* pki
      const pin = yield* Pins.publicKey(good.cert)
      const foreign = yield* meet({ server: good, clientPins: { all: [pin] } })
      expect(reasonOf(yield* foreign.failure)).toEqual(["UntrustedIssuer", "local"])
      const met = yield* meet({ clientPins: { all: [unknown] } })
      expect(reasonOf(yield* met.failure)).toEqual(["PinMismatch", "local"])
      const own = yield* meet({ clientPins: { byName: { elsewhere: [unknown] } } })
      yield* own.secure
      const named = yield* meet({ clientPins: { byName: { elsewhere: [pin] } }, nameWanted: "elsewhere" })
      expect(reasonOf(yield* named.failure)).toEqual(["NameMismatch", "local"])
      const free = yield* meet({ server: good, clientPins: { mode: "instead", all: [pin] }, nameWanted: "elsewhere" })
      yield* free.secure
    })
  )

  it.scopedLive("checks the validity, always", () =>
    Effect.gen(function* () {
      const { expired, notYetValid } = yield* pki
      for (const [server, reason] of [
        [expired, "Expired"],
        [notYetValid, "NotYetValid"]
      ] as const) {
        const clientPins: Pins.PinsOptions = { mode: "instead", all: [yield* Pins.certificate(server.cert)] }
        expect(reasonOf(yield* (yield* meet({ server, clientPins })).failure)).toEqual([reason, "local"])
      }
    })
  )
})

describe("a listener with pins", () => {
  const identityAt = (there: { readonly secured: ReadonlyArray<{ readonly identity: Option.Option<unknown> }> }) =>
    Effect.map(
      eventually(() => there.secured.length === 1),
      () => there.secured[0]?.identity
    )

  it.scopedLive("lets in who is pinned, and believes names only where they are pinned too", () =>
    Effect.gen(function* () {
      const { selfSigned } = yield* pki
      const key = yield* Pins.publicKey(selfSigned.cert)
      const certificate = yield* Pins.certificate(selfSigned.cert)
      const names = ["DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1"]
      for (const [pins, subjectAltNames] of [
        [{ all: [unknown, certificate] }, names],
        [{ all: [unknown, key] }, []],
        [{ byName: { localhost: [key, unknown] } }, []],
        [{ byName: { localhost: [certificate], "::1": [key] } }, names]
      ] satisfies ReadonlyArray<readonly [Pins.PinsOptions, ReadonlyArray<string>]>) {
        const met = yield* meet({ client: selfSigned, serverPins: { mode: "instead", ...pins } })
        yield* met.secure
        expect(yield* identityAt(met.there)).toMatchObject({
          value: { fingerprint: certificate.sha256, subjectAltNames }
        })
      }
    })
  )

  it.each([
    ["LocalHost", "localhost"],
    ["node.example.", "node.example"],
    ["Bücher.example", "xn--bcher-kva.example"],
    ["Bücher.example:443", "xn--bcher-kva.example:443"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["fe80::1%eth0", "fe80::1"],
    ["::ffff:127.0.0.1", "127.0.0.1"],
    ["spiffe://Mesh/a", "spiffe://mesh/a"],
    ["unix:/run/Node.sock", "unix:/run/node.sock"]
  ])("finds the pins of %s as those of %s", (given, wanted) => {
    expect(Pins.normalName(given)).toBe(wanted)
    expect(Pins.normalName(wanted)).toBe(wanted)
  })

  it.scopedLive("refuses who is not, by whatever name", () =>
    Effect.gen(function* () {
      const { selfSigned } = yield* pki
      const own = yield* Pins.publicKey(selfSigned.cert)
      for (const serverPins of [
        { mode: "instead", all: [unknown] },
        { mode: "instead", byName: { elsewhere: [unknown] } },
        // Known by its key, it claims the name of another.
        { mode: "instead", all: [own], byName: { localhost: [unknown] } },
        { mode: "instead", byName: { localhost: [own], "::1": [unknown] } }
      ] satisfies ReadonlyArray<Pins.PinsOptions>) {
        const { secure, there } = yield* meet({ client: selfSigned, serverPins })
        yield* secure
        yield* eventually(() => there.refused.length === 1)
        expect(there.refused[0]?.error).toMatchObject({ reason: "PinMismatch", refusedBy: "local" })
        expect(there.secured).toEqual([])
      }
    })
  )

  it.scopedLive("pins in addition to the chain: by SPIFFE id, for all, and not for those it has no pin for", () =>
    Effect.gen(function* () {
      for (const [serverPins, reason] of [
        [{ byName: { "spiffe://mesh/client": [unknown] } }, "PinMismatch"],
        [{ all: [unknown] }, "PinMismatch"],
        [{ byName: { "spiffe://mesh/other": [unknown] } }, undefined]
      ] satisfies ReadonlyArray<readonly [Pins.PinsOptions, string | undefined]>) {
        const { secure, there } = yield* meet({ serverPins })
        yield* secure
        yield* eventually(() => there.refused.length + there.secured.length === 1)
        expect(there.refused[0]?.error.reason).toBe(reason)
      }
      const { selfSigned } = yield* pki
      const { secure, there } = yield* meet({
        client: selfSigned,
        serverPins: { all: [yield* Pins.certificate(selfSigned.cert)] }
      })
      yield* secure
      yield* eventually(() => there.refused.length === 1)
      expect(there.refused[0]?.error.reason).toBe("UntrustedIssuer")
    })
  )

  it.scopedLive("wants a certificate and its validity, always", () =>
    Effect.gen(function* () {
      const { expired } = yield* pki
      const serverPins: Pins.PinsOptions = { mode: "instead", all: [yield* Pins.certificate(expired.cert)] }
      const { secure, there } = yield* meet({ client: expired, serverPins })
      yield* secure
      yield* eventually(() => there.refused.length === 1)
      expect(there.refused[0]?.error.reason).toBe("Expired")
    })
  )
})
