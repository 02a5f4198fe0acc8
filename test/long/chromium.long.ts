/** Chromium fetches pages from a listener of QuicLive. */
import { createHash, X509Certificate } from "node:crypto"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { chromium } from "playwright-core"
import { describeWith } from "../fixtures/command.js"
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
})
