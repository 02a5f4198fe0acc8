import { X509Certificate } from "node:crypto"
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as tls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Credentials from "../../src/Credentials/Credentials.js"
import * as DevCa from "../../src/Credentials/DevCa.js"
import * as Crl from "../../src/Credentials/internal/crl.js"
import * as Extensions from "../../src/Credentials/internal/extensions.js"
import { contextOptions } from "../../src/Credentials/internal/secureContext.js"
import * as Steps from "../../src/Credentials/internal/steps.js"
import * as TlsAcceptor from "../../src/Handshake/TlsAcceptor.js"
import { acceptor, eventually, failure, reasonOf, secure, tlsOf } from "../fixtures/tls.js"
import { loopbackNames, rawMaterial } from "../suite/fixtures/certificates.js"
import * as Lists from "../suite/fixtures/crl.js"
import { within } from "../suite/fixtures/expect.js"
import { captureLog, heldDuring } from "../suite/fixtures/observe.js"

const derOf = (pem: string) => Buffer.from(pem.split("\n").slice(1, -2).join(""), "base64")

/** Node reads only the first list of a text. */
const listsOf = (pem: string) => pem.split(/(?<=-----END X509 CRL-----\n)/)

const directory = Effect.acquireRelease(
  Effect.promise(() => mkdtemp(join(tmpdir(), "crl-"))),
  (path) => Effect.promise(() => rm(path, { recursive: true }))
)

const party = (options?: DevCa.CaOptions) =>
  Effect.gen(function* () {
    const ca = yield* DevCa.make(options)
    const [server, client] = [yield* ca.issue({ names: loopbackNames }), yield* ca.issue({ names: ["client"] })]
    return { ca, server, client }
  })

describe("revocation lists", () => {
  it.scoped("are read as PEM and DER, from values and files", () =>
    Effect.gen(function* () {
      const { ca, client } = yield* party({ intermediate: true })
      const pem = yield* ca.crl()
      const [one = ""] = listsOf(pem)
      const dir = yield* directory
      yield* Effect.promise(() => writeFile(join(dir, "a.crl"), derOf(one)))
      for (const [crl, count] of [
        [pem, 2],
        [`text\n${pem}`, 2],
        [derOf(one), 1],
        [{ file: join(dir, "a.crl") }, 1],
        [[pem, derOf(one)], 3]
      ] satisfies ReadonlyArray<readonly [Credentials.PemOptions["crl"], number]>) {
        const material = yield* tlsOf(Credentials.layerPem({ ...client, ca: ca.ca, crl }))
        expect(material.crl?.length).toBe(count)
      }
    })
  )

  it.effect("are refused where they are none", () =>
    Effect.gen(function* () {
      const { ca, client } = yield* party()
      const crl = yield* ca.crl()
      for (const [bad, reason] of [
        [[], "NotFound"],
        ["", "Malformed"],
        ["garbage", "Malformed"],
        [ca.ca, "Malformed"],
        [crl.slice(0, -30), "Malformed"],
        [crl.slice(0, 60) + crl.slice(70), "Malformed"],
        [derOf(crl).subarray(0, -5), "Malformed"],
        [derOf(ca.ca), "Malformed"],
        ["/nowhere/a.crl", "NotFound"]
      ] satisfies ReadonlyArray<readonly [Credentials.PemOptions["crl"], string]>) {
        const error = yield* Effect.flip(tlsOf(Credentials.layerPem({ ...client, ca: ca.ca, crl: bad })))
        expect([error.part, error.reason], String(bad)).toEqual(["crl", reason])
      }
      const pins = { mode: "instead" as const, all: [`publicKey:${"00".repeat(32)}`] }
      expect(yield* Effect.flip(tlsOf(Credentials.layerPem({ ...client, crl, pins })))).toMatchObject({ part: "crl" })
    })
  )

  for (const intermediate of [false, true]) {
    const title = intermediate ? "below an intermediate CA" : "below a root"

    it.scopedLive(`keep out who is on them, on both sides, ${title}`, () =>
      Effect.gen(function* () {
        const { ca, client, server } = yield* party({ intermediate })
        const material = (issued: DevCa.Issued, crl?: string): Credentials.Tls => ({
          ...rawMaterial(issued, ca.ca),
          ...(crl === undefined ? {} : { crl: listsOf(crl) })
        })
        const free = yield* ca.crl()
        const there = yield* acceptor(material(server, free))
        yield* secure(there.port, material(client, free))
        yield* eventually(() => there.secured.length === 1)

        const serverRevoked = yield* ca.crl({ revoked: [server] })
        const error = yield* failure(there.port, material(client, serverRevoked))
        expect(reasonOf(error)).toEqual(["Revoked", "local"])

        yield* ca.revoke(client)
        there.setMaterial(material(server, yield* ca.crl()))
        yield* secure(there.port, material(client))
        yield* eventually(() =>
          there.refused.some(({ error }) => error.reason === "Revoked" && error.refusedBy === "local")
        )
        // And without lists again, nobody is.
        there.setMaterial(material(server))
        yield* secure(there.port, material(client))
        yield* eventually(() => there.secured.length >= 2)
      })
    )
  }

  it.scopedLive("of 100,000 entries are read while other work goes on, and are not read again for a context", () =>
    Effect.gen(function* () {
      const ca = yield* Lists.certificateAuthority
      const issued = yield* ca.issue("1122")
      const crl = Lists.pem(ca.list({ entries: Lists.others(100_000) }))
      const load = heldDuring(tlsOf(Credentials.layerPem({ ...issued, ca: ca.ca, crl })))
      // The best of three: garbage of other tests may have to be collected in one of them.
      const [[material, first], [, second], [, third]] = yield* Effect.all([load, load, load])
      const held = Math.min(first, second, third)
      // What this machine needs to read it in one go.
      const [, inOneGo] = yield* heldDuring(Effect.sync(() => tls.createSecureContext({ ca: [], crl })))
      expect(held).toBeLessThan(Math.max(50, 0.75 * inOneGo))
      expect(contextOptions(material)).not.toHaveProperty("crl")
    })
  )

  it.effect("count for the CA of their name and key alone, if it may sign lists", () =>
    Effect.gen(function* () {
      const [one, other] = [yield* Lists.certificateAuthority, yield* DevCa.make()]
      const of = (pem: string) => new X509Certificate(pem)
      const list = Steps.runSync(Crl.read(one.list()))
      const forged = Steps.runSync(Crl.read(one.forged()))
      expect([list.isNamed(of(one.ca)), list.isSignedBy(of(one.ca))]).toEqual([true, true])
      expect([list.isNamed(of(one.mute)), list.isSignedBy(of(one.mute))]).toEqual([true, false])
      expect([list.isNamed(of(other.ca)), list.isSignedBy(of(other.ca))]).toEqual([false, false])
      expect([forged.isNamed(of(one.ca)), forged.isSignedBy(of(one.ca))]).toEqual([true, false])
    })
  )

  it("names are equal in any encoding and case, and by their words", () => {
    const name = (tag: number, text: string, encoding: BufferEncoding = "utf8") => {
      const value = Buffer.from(text, encoding)
      const content = tag === 0x1e ? value.swap16() : value
      const tlv = (type: number, inner: Buffer) => Buffer.concat([Buffer.from([type, inner.length]), inner])
      return tlv(0x31, tlv(0x30, Buffer.concat([Buffer.from("0603550403", "hex"), tlv(tag, content)])))
    }
    const [wanted, ...others] = [
      name(0x0c, "A certificate authority"),
      name(0x13, "A certificate authority"),
      name(0x0c, " a  CERTIFICATE Authority "),
      name(0x1e, "A certificate authority", "utf16le")
    ].map(Extensions.comparableName)
    expect(new Set(others)).toEqual(new Set([wanted]))
    for (const different of [
      name(0x0c, "A certificateauthority"),
      name(0x0c, "A certificate authorit"),
      Buffer.alloc(0)
    ]) {
      expect(Extensions.comparableName(different)).not.toBe(wanted)
    }
  })

  it.scopedLive("in the name of a CA that has not signed them are warned of, with their file", () =>
    Effect.gen(function* () {
      const ca = yield* Lists.certificateAuthority
      const issued = yield* ca.issue("1122")
      const file = join(yield* directory, "forged.crl")
      yield* Effect.promise(() => writeFile(file, ca.forged()))
      const { layer, lines } = yield* captureLog
      yield* Effect.provide(tlsOf(Credentials.layerPem({ ...issued, ca: ca.ca, crl: [ca.list(), { file }] })), layer)
      expect(lines.filter(({ level }) => level === "WARN").map(({ text }) => text)).toEqual([
        expect.stringContaining(
          `ignoring revocation list 1 of 1 of crl (${file}): the CA of its name has not signed it`
        )
      ])
    })
  )

  it.scopedLive("that don't answer for a CA keep everybody out", () =>
    Effect.gen(function* () {
      const { ca, client, server } = yield* party({ intermediate: true })
      const [own = "", root = ""] = listsOf(yield* ca.crl())
      const other = yield* DevCa.make()
      const day = 24 * 3600_000
      const there = yield* acceptor(rawMaterial(server, ca.ca))
      for (const crl of [
        [own],
        [root],
        [yield* other.crl()],
        [yield* ca.crl({ notBefore: new Date(Date.now() - 2 * day), notAfter: new Date(Date.now() - day) })],
        [yield* ca.crl({ notBefore: new Date(Date.now() + day), notAfter: new Date(Date.now() + 2 * day) })]
      ]) {
        const error = yield* failure(there.port, { ...rawMaterial(client, ca.ca), crl })
        expect(reasonOf(error)).toEqual(["BadCertificate", "local"])
        expect(error.message).toContain("CRL")
      }
    })
  )

  it.scopedLive("are followed, and the listener with them", () =>
    Effect.gen(function* () {
      const { ca, client, server } = yield* party()
      const crl = join(yield* directory, "ca.crl")
      yield* Effect.flatMap(ca.crl(), (list) => Effect.promise(() => writeFile(crl, list)))
      const credentials = Context.get(
        yield* Layer.build(Credentials.layerPem({ ...server, ca: ca.ca, crl, settle: "20 millis" })),
        Credentials.Credentials
      )
      const material = yield* credentials.current
      if (material._tag !== "Tls") {
        throw new Error("no TLS")
      }
      const there = yield* acceptor(material)
      yield* TlsAcceptor.follow(there, credentials.changes)
      yield* secure(there.port, rawMaterial(client, ca.ca))
      yield* eventually(() => there.secured.length === 1)
      yield* ca.revoke(client)
      const list = yield* ca.crl()
      yield* Effect.promise(async () => {
        await writeFile(`${crl}.new`, list)
        await rename(`${crl}.new`, crl)
      })
      yield* within(
        Stream.runHead(Stream.filter(credentials.changes, (one) => one._tag === "Tls" && one.crl?.join("") === list)),
        "5 seconds"
      )
      yield* secure(there.port, rawMaterial(client, ca.ca))
      yield* eventually(() => there.refused.length === 1)
      expect(there.refused[0]?.error.reason).toBe("Revoked")
    })
  )
})
