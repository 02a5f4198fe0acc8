/** Chromium fetches pages from listeners of QuicLive and GrpcLive. */
import { createHash, X509Certificate } from "node:crypto"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import { chromium } from "playwright-core"
import { describeWith } from "../fixtures/command.js"
import { app, meet, size, theirs, wires } from "../Grpc/mountSupport.js"
import { issued, largeSize, listener } from "../Quic/peerSupport.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"

const browser = (port: number) =>
  Effect.acquireRelease(
    Effect.promise(() => {
      const key = new X509Certificate(issued.cert).publicKey.export({ type: "spki", format: "der" })
      return chromium.launch({
        executablePath: "/usr/bin/chromium",
        args: [
          "--no-sandbox",
          "--host-resolver-rules=MAP localhost 127.0.0.1",
          `--origin-to-force-quic-on=localhost:${port}`,
          `--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`
        ]
      })
    }),
    (browser) => Effect.promise(() => browser.close())
  )

describeWith(["/usr/bin/chromium"], "Chromium", () => {
  it.live("loads a page over HTTP/3, and what its script asks for", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { port } = yield* listener({ clientCertificate: "none" })
        const page = yield* Effect.flatMap(browser(port), (browser) => Effect.promise(() => browser.newPage()))
        const answer = yield* Effect.promise(() => page.goto(`https://localhost:${port}/`))
        expect(answer?.status()).toBe(200)
        expect(yield* Effect.promise(() => page.title())).toBe("node")
        const protocols = yield* Effect.promise(() =>
          page.evaluate<ReadonlyArray<string>>(
            `performance.getEntriesByType("navigation").map(({ nextHopProtocol }) => nextHopProtocol)`
          )
        )
        expect(protocols).toEqual(["h3"])
        const fetched = yield* Effect.promise(() =>
          page.evaluate<ReadonlyArray<number | string>>(`Promise.all([
              fetch("/large").then((answer) => answer.arrayBuffer()).then(({ byteLength }) => byteLength),
              fetch("/size", { method: "POST", body: new Uint8Array(100_000) }).then((answer) => answer.text()),
              fetch("/none").then(({ status }) => status)
            ])`)
        )
        expect(fetched).toEqual([largeSize, "100000 bytes", 404])
        const resources = yield* Effect.promise(() =>
          page.evaluate<ReadonlyArray<string>>(
            `performance.getEntriesByType("resource").map(({ nextHopProtocol }) => nextHopProtocol)`
          )
        )
        expect(new Set(resources)).toEqual(new Set(["h3"]))
      }).pipe((body) => within(body, "40 seconds"))
    )
  )

  it.live("shows its certificate over HTTP/2, and loads and sends large content", () =>
    leavesNothing(
      Effect.gen(function* () {
        const [tls = yield* Effect.dieMessage("no wire")] = wires
        const { target } = yield* meet(tls, app)
        const origin = `https://${target.replace("127.0.0.1", "localhost")}`
        const cert = Buffer.from(theirs.cert)
        const key = Buffer.from(Redacted.value(theirs.key))
        const page = yield* Effect.flatMap(browser(0), (browser) =>
          Effect.promise(async () => {
            const context = await browser.newContext({
              ignoreHTTPSErrors: true,
              clientCertificates: [{ origin, cert, key }]
            })
            return await context.newPage()
          })
        )
        const answer = yield* Effect.promise(() => page.goto(`${origin}/who`))
        expect([answer?.status(), yield* Effect.promise(async () => answer?.text())]).toEqual([200, "CN=prober"])
        const fetched = yield* Effect.promise(() =>
          page.evaluate<ReadonlyArray<unknown>>(`Promise.all([
              fetch("/large").then((answer) => answer.arrayBuffer()).then(({ byteLength }) => byteLength),
              fetch("/sum", { method: "POST", body: new Uint8Array(1_000_000) }).then((answer) => answer.json()),
              fetch("/metrics", { method: "HEAD" }).then(({ status }) => status),
              fetch("/none").then(({ status }) => status)
            ])`)
        )
        expect(fetched).toEqual([size, expect.objectContaining({ length: 1_000_000, sum: 0 }), 200, 404])
        const protocols = yield* Effect.promise(() =>
          page.evaluate<ReadonlyArray<string>>(
            `performance.getEntries().map(({ nextHopProtocol }) => nextHopProtocol).filter((name) => name !== undefined)`
          )
        )
        expect(new Set(protocols)).toEqual(new Set(["h2"]))
      }).pipe((body) => within(body, "40 seconds"))
    )
  )
})
