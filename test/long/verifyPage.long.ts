/** The page of the verification app, in Chromium. */
import { existsSync, mkdirSync } from "node:fs"
import { describe, expect, it } from "@effect/vitest"
import AxeCore from "axe-core"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { type BrowserContextOptions, chromium, type Page } from "playwright-core"
import { launch } from "../examples/verifySupport.js"

const executablePath = "/usr/bin/chromium"

/** Where the pictures of the page are kept. Git ignores it. */
const artifacts = ".artifacts"

const transports = ["grpc", "tls", "quic", "memory"]

/** A busy machine takes its time to start a browser and to draw. */
const patience = 15_000

const args = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

/** A page in a new profile, with what it asked others for and what it complained of. */
const open = (url: string, path: string, options: BrowserContextOptions = {}) =>
  Effect.gen(function* () {
    const browser = yield* Effect.acquireRelease(
      Effect.promise(() => chromium.launch({ executablePath, args })),
      (browser) => Effect.promise(() => browser.close())
    )
    const page = yield* Effect.promise(() => browser.newPage(options))
    page.setDefaultTimeout(patience)
    const foreign: Array<string> = []
    const complaints: Array<string> = []
    page.on("request", (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(`${url}/`)) {
        foreign.push(request.url())
      }
    })
    page.on("pageerror", (error) => complaints.push(String(error)))
    page.on("console", (message) => {
      // What the app answers with an error is in the log of the browser too.
      if (["error", "warning"].includes(message.type()) && !/Failed to load resource/.test(message.text())) {
        complaints.push(message.text())
      }
    })
    yield* Effect.promise(() => page.goto(`${url}${path}`))
    return { page, foreign, complaints }
  })

const withPage = (
  test: (page: Page, url: string) => Promise<void>,
  options: BrowserContextOptions = {},
  path = "/"
): Effect.Effect<void> =>
  Effect.gen(function* () {
    const { url } = yield* launch()
    const { complaints, foreign, page } = yield* open(url, path, options)
    yield* Effect.promise(() => test(page, url))
    expect(foreign).toEqual([])
    expect(complaints).toEqual([])
  }).pipe(Effect.scoped, Effect.orDie)

const card = (page: Page, transport: string) => page.locator(`.node[data-transport=${transport}]`)

/** Waits until the latest echo over a transport has come back. */
const echoes = (page: Page, transport: string) =>
  card(page, transport)
    .locator(".last")
    .filter({ hasText: /^[\d.]+ (µs|ms)$/ })
    .waitFor()

const points = (page: Page, transport: string) =>
  page
    .locator(`[data-series=${transport}]`)
    .evaluateAll((lines) => lines.flatMap((line) => (line.getAttribute("points") ?? "").split(" ")).length)

const keep = async (page: Page, name: string) => {
  mkdirSync(artifacts, { recursive: true })
  await page.screenshot({ path: `${artifacts}/${name}.png`, fullPage: true })
}

/** What axe finds wrong, for people: nothing where all is well. */
const axe = async (page: Page) => {
  // The policy of the page lets nobody add a script to it; a debugger may.
  await page.evaluate(AxeCore.source)
  const violations = await page.evaluate<ReadonlyArray<string>>(`axe.run().then(({ violations }) =>
    violations.flatMap(({ id, nodes }) => nodes.map(({ html, failureSummary }) => id + ": " + html + ": " + failureSummary)))`)
  return violations
}

const outcomes = (page: Page) =>
  page.locator("#timeline li").evaluateAll((rows) => rows.map((row) => row.getAttribute("data-outcome")))

/** Goes on with the tab key until the element has the focus. */
const tabTo = async (page: Page, name: string) => {
  for (let i = 0; i < 60; i += 1) {
    await page.keyboard.press("Tab")
    const focused = await page.evaluate(
      "document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent"
    )
    if (focused === name) {
      return
    }
  }
  throw new Error(`the tab key does not lead to ${name}`)
}

const title = existsSync(executablePath)
  ? "the page in Chromium"
  : `the page in Chromium (SKIPPED: there is no ${executablePath}; apt-get install chromium)`

describe.skipIf(!existsSync(executablePath))(title, () => {
  it.live("sends echoes over each transport and plots them as they come", () =>
    withPage(
      async (page) => {
        for (const transport of transports) {
          await echoes(page, transport)
          await expect.poll(() => points(page, transport), { timeout: patience }).toBeGreaterThan(1)
          const cells = page.locator(`#statistics tr[data-transport=${transport}] td`)
          await expect.poll(() => cells.nth(3).textContent(), { timeout: patience }).toMatch(/^[2-9]$|^\d\d+$/)
          expect(await cells.nth(4).textContent()).toBe("0")
          expect(await cells.nth(5).locator(".hops > span").count()).toBe(4)
        }
        await page.getByLabel("Message").fill("<b>ünï & ☃</b>")
        await page.getByRole("button", { name: "Send one over each" }).click()
        for (const name of ["gRPC", "TLS", "QUIC", "Memory"]) {
          await page.locator("#answer span", { hasText: `${name}: <b>ünï & ☃</b>` }).waitFor()
        }
        await page.getByLabel("whole round trip").check()
        await page.getByRole("button", { name: "Pause" }).click()
        const done = page.locator("#statistics tr[data-transport=tls] td").nth(3)
        const paused = await done.textContent()
        await page.waitForTimeout(1500)
        expect(Number(await done.textContent())).toBeLessThanOrEqual(Number(paused) + 1)
        await page.getByRole("button", { name: "Go on" }).click()
        await expect
          .poll(async () => Number(await done.textContent()), { timeout: patience })
          .toBeGreaterThan(Number(paused) + 1)

        await page.getByLabel("Message").fill("")
        await page.getByRole("button", { name: "Send one over each" }).click()
        await page.getByRole("alert").filter({ hasText: "Message: give it at least one character." }).waitFor()
      },
      { viewport: { width: 1280, height: 900 } }
    )
  )

  it.live("shows retries on a time line", () =>
    withPage(async (page) => {
      const run = page.getByRole("button", { name: "Run" })
      await page.getByLabel("Failures").fill("2")
      await page.getByLabel("First delay, ms").fill("40")
      await page.getByLabel("Transport", { exact: true }).selectOption("tls")
      await run.click()
      await page.locator("#retry-result", { hasText: /^attempt 3 succeeded, / }).waitFor()
      expect(await outcomes(page)).toEqual(["Unavailable", "Unavailable", "Success"])
      expect(await page.locator("#timeline li").nth(2).textContent()).toMatch(/^3 waited 80\.0 ms, then Success after /)
      const bars = await page.locator("#timeline .bar:not(.wait)").evaluateAll((all) =>
        all.map((bar) => {
          const { left, width } = bar.getBoundingClientRect()
          return { left, width }
        })
      )
      expect(bars.map(({ left }) => left)).toEqual(bars.map(({ left }) => left).sort((a, b) => a - b))
      expect(bars.every(({ width }) => width >= 5)).toBe(true)

      await page.getByLabel("Attempts at most").fill("2")
      await run.click()
      await page
        .locator("#retry-result", { hasText: /^all 2 attempts failed, the last one with Unavailable, / })
        .waitFor()
      expect(await outcomes(page)).toEqual(["Unavailable", "Unavailable"])

      await page.getByLabel("Attempts at most").fill("11")
      await run.click()
      await page
        .getByRole("alert")
        .filter({ hasText: /^Attempts at most: / })
        .waitFor()
    })
  )

  it.live("shows who proved what to whom", () =>
    withPage(async (page, url) => {
      await Promise.all(transports.map((transport) => echoes(page, transport)))
      const { nodes } = await (await page.request.get(`${url}/nodes`)).json()
      for (const { certificate, caller, title, transport } of nodes.slice(0, 3)) {
        const shown = page.locator(`#certificates > [data-transport=${transport}]`)
        await shown.locator("code").nth(1).waitFor()
        const prints = await shown.locator("code").allTextContents()
        expect(prints.map((print) => print.replaceAll(" ", ""))).toEqual([certificate.fingerprint, caller.fingerprint])
        const text = await shown.textContent()
        for (const name of [title, ...certificate.names, ...caller.names, "in 24 hours"]) {
          expect(text).toContain(name)
        }
      }
      expect(await page.locator("#certificates > [data-transport=memory]").textContent()).toContain(
        "None: nothing leaves"
      )
    })
  )

  it.live("sees a node killed and started again, and recovers", () =>
    withPage(
      async (page) => {
        for (const [transport, title] of [
          ["grpc", "gRPC"],
          ["tls", "TLS"],
          ["quic", "QUIC"],
          ["memory", "Memory"]
        ] as const) {
          await echoes(page, transport)
          await page.getByRole("button", { name: `Kill the ${title} node` }).click()
          await card(page, transport).locator(".status", { hasText: "down" }).waitFor()
          await card(page, transport).locator(".last", { hasText: "Unavailable (503)" }).waitFor()
          await card(page, transport)
            .locator(".connection", { hasText: /connecting|backing off/ })
            .waitFor()
          await page.locator(`[data-failure=${transport}]`).first().waitFor({ state: "attached" })
          await page.locator(`[data-down=${transport}]`).waitFor({ state: "attached" })
          await page.locator("#summary", { hasText: "3 of 4 nodes run" }).waitFor()
          await page.getByRole("button", { name: `Restart the ${title} node` }).click()
          await card(page, transport).locator(".status", { hasText: "running" }).waitFor()
          await echoes(page, transport)
          await page.locator("#log li", { hasText: `${title}: echoes come back again, ` }).waitFor()
          await card(page, transport).locator(".connection", { hasText: "connection ready" }).waitFor()
          await page.locator("#summary", { hasText: "all 4 nodes run" }).waitFor()
        }
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#retry-result", { hasText: /^attempt 4 succeeded, / }).waitFor()
        await keep(page, "verify-desktop")
      },
      { viewport: { width: 1280, height: 900 } }
    )
  )

  it.live("works with the keyboard alone, and shows where it is", () =>
    withPage(async (page) => {
      await echoes(page, "tls")
      await page.keyboard.press("Tab")
      expect(await page.evaluate("document.activeElement.textContent")).toBe("Skip to the nodes")
      await page.keyboard.press("Enter")
      await tabTo(page, "Kill the TLS node")
      expect(await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")).toBe("solid")
      await page.keyboard.press("Enter")
      await card(page, "tls").locator(".status", { hasText: "down" }).waitFor()
      await page
        .getByRole("button", { name: "Restart the TLS node" })
        .and(page.locator(":not([aria-disabled])"))
        .waitFor()
      await page.keyboard.press("Enter")
      await card(page, "tls").locator(".status", { hasText: "running" }).waitFor()
      await tabTo(page, "Run")
      await page.keyboard.press("Space")
      await page.locator("#retry-result", { hasText: /^attempt 4 succeeded, / }).waitFor()
      await tabTo(page, "What happened")
    })
  )

  it.live("fits on a phone, in the dark, without motion", () =>
    withPage(
      async (page) => {
        await Promise.all(transports.map((transport) => echoes(page, transport)))
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#retry-result", { hasText: "succeeded" }).waitFor()
        await page.locator("#certificates summary").first().click()
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBe(360)
        expect(await page.evaluate("getComputedStyle(document.body).backgroundColor")).toBe("rgb(13, 16, 23)")
        expect(await page.evaluate("getComputedStyle(document.querySelector('.status')).transitionDuration")).toBe("0s")
        const small = await page
          .locator("button:visible:not(.small), input[name=msg], select")
          .evaluateAll((all) => all.filter((each) => each.getBoundingClientRect().height < 40).length)
        expect(small).toBe(0)
        await keep(page, "verify-phone")
      },
      { viewport: { width: 360, height: 740 }, colorScheme: "dark", reducedMotion: "reduce" }
    )
  )

  it.live("lets intruders try, and shows why each is refused", () =>
    withPage(async (page) => {
      await page.locator("#summary", { hasText: "all 4 nodes run" }).waitFor()
      await page.getByRole("button", { name: "Let them try" }).click()
      const result = page.locator("#intruders-result")
      await expect.poll(() => result.textContent(), { timeout: 4 * patience }).toBe("21 of 21 tried, and none got in")
      const reasons = {
        noCertificate: "CertificateRequired",
        otherCa: "UntrustedIssuer",
        wrongName: "NameMismatch",
        expired: "Expired",
        revoked: "Revoked",
        notAuthorized: "NotAuthorized",
        plainText: "NoCommonProtocol"
      }
      for (const [intruder, reason] of Object.entries(reasons)) {
        const cells = await page.locator(`#intruders [data-intruder=${intruder}] td b`).allTextContents()
        expect({ intruder, cells }).toEqual({ intruder, cells: [reason, reason, reason] })
      }
    })
  )

  it.live("gives the node and the app new keys, and takes the app's away", () =>
    withPage(
      async (page) => {
        await echoes(page, "tls")
        const own = page.locator("#certificates > [data-transport=tls]")
        const before = await own.locator("code").first().textContent()
        await page.getByRole("button", { name: "Give the node new keys: TLS" }).click()
        await expect.poll(() => own.locator("code").first().textContent(), { timeout: patience }).not.toBe(before)
        await page.getByRole("button", { name: "Revoke the app's certificate: TLS" }).click()
        await card(page, "tls").locator(".last", { hasText: "HandshakeFailed (502)" }).waitFor()
        await page.getByRole("button", { name: "Send one over each" }).click()
        await page.getByRole("alert").filter({ hasText: "revoked" }).waitFor()
        await page.getByRole("button", { name: "Give the app new keys: TLS" }).click()
        await echoes(page, "tls")
        // What was wrong is no longer said once it is right again.
        await page.locator("#echo-error").waitFor({ state: "hidden" })
      },
      { viewport: { width: 1280, height: 900 } }
    )
  )

  it.live("measures calls, a bad network and a stream, which can be cancelled", () =>
    withPage(async (page) => {
      await echoes(page, "quic")
      await page.getByLabel("For, ms").fill("200")
      await page.getByRole("button", { name: "Measure calls a second" }).click()
      await expect.poll(() => page.locator("#measured tbody tr").count(), { timeout: 2 * patience }).toBe(4)
      await page.getByLabel("Calls", { exact: true }).fill("4")
      await page.getByRole("button", { name: "Call over a bad network" }).click()
      await expect.poll(() => page.locator("#measured tbody tr").count(), { timeout: 2 * patience }).toBe(7)
      await page.getByRole("button", { name: "Begin" }).click()
      const result = page.locator("#stream-result")
      await result.filter({ hasText: /^[1-9]\d* of 50$/ }).waitFor()
      await page.getByRole("button", { name: "Cancel" }).click()
      await result.filter({ hasText: /^cancelled after \d+ of 50$/ }).waitFor()
      await page.getByLabel("Deadline, ms").fill("100")
      await page.getByRole("button", { name: "Begin" }).click()
      await result.filter({ hasText: /^DeadlineExceeded after \d of 50, / }).waitFor()
    })
  )

  it.live(
    "shows nothing that is no longer so: a verdict under what can't be asked, and nodes of an app that is gone",
    () =>
      withPage(async (page) => {
        await echoes(page, "tls")
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#retry-result", { hasText: "succeeded" }).waitFor()
        await page.getByLabel("Failures").fill("99")
        await page.getByRole("button", { name: "Run" }).click()
        await page
          .getByRole("alert")
          .filter({ hasText: /^Failures: / })
          .waitFor()
        expect(await page.locator("#retry-result").textContent()).toBe("")
        expect(await page.locator("#timeline li").count()).toBe(0)
      })
  )

  it.live("names the lanes, and lets no first call set the scale", () =>
    withPage(async (page) => {
      await page.route("**/echo/tls?*", async (route) => {
        const response = await route.fetch()
        const json = await response.json()
        const callMillis = first ? 9_000 : json.timings.callMillis
        first = false
        await route.fulfill({ response, json: { ...json, timings: { ...json.timings, callMillis } } })
      })
      let first = true
      await page.reload()
      await expect.poll(() => points(page, "tls"), { timeout: patience }).toBeGreaterThan(3)
      expect(await page.locator("#plot .lane-name").allTextContents()).toEqual(["gRPC", "TLS", "QUIC", "Memory"])
      const ticks = await page.locator("#plot text").allTextContents()
      expect(ticks).not.toContain("5 s")
    })
  )

  it.live.each([
    { colorScheme: "light", width: 1280 },
    { colorScheme: "dark", width: 1280 },
    { colorScheme: "light", width: 360 }
  ] as const)("has nothing that axe complains of, $colorScheme and $width wide", ({ colorScheme, width }) =>
    withPage(
      async (page) => {
        await Promise.all(transports.map((transport) => echoes(page, transport)))
        await page.getByRole("button", { name: "Run" }).click()
        await page.locator("#retry-result", { hasText: "succeeded" }).waitFor()
        expect(await axe(page)).toEqual([])
      },
      { viewport: { width, height: 900 }, colorScheme, reducedMotion: "reduce" }
    )
  )

  it.live("shows the bars that its key explains on a phone too", () =>
    withPage(
      async (page) => {
        await echoes(page, "grpc")
        const bar = page.locator("#statistics tr[data-transport=grpc] .hops")
        await bar.waitFor()
        const box = await bar.evaluate((element) => element.getBoundingClientRect().toJSON())
        expect(box.left).toBeGreaterThanOrEqual(0)
        expect(box.right).toBeLessThanOrEqual(360)
        expect(box.width).toBeGreaterThan(150)
      },
      { viewport: { width: 360, height: 740 } }
    )
  )

  it.live("asks for news only while somebody sees it", () =>
    withPage(async (page, url) => {
      const turn = (hidden: boolean) =>
        page.evaluate(`
          Object.defineProperty(document, "hidden", { value: ${hidden}, configurable: true })
          document.dispatchEvent(new Event("visibilitychange"))
        `)
      await page.locator("#summary", { hasText: "all 4 nodes run" }).waitFor()
      await turn(true)
      await page.request.post(`${url}/nodes/tls/kill`)
      await page.waitForTimeout(1000)
      expect(await page.locator("#summary").textContent()).toBe("all 4 nodes run")
      await turn(false)
      await page.locator("#summary", { hasText: "3 of 4 nodes run" }).waitFor()
    })
  )

  it.live("says that the app is gone", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { url } = yield* Scope.extend(launch(), scope)
      const { page } = yield* open(url, "/")
      yield* Effect.promise(() => page.locator("#summary", { hasText: "all 4 nodes run" }).waitFor())
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(() => page.locator("#summary", { hasText: "the app does not answer" }).waitFor())
      for (const transport of transports) {
        yield* Effect.promise(() => card(page, transport).locator(".status", { hasText: "unknown" }).waitFor())
      }
    }).pipe(Effect.scoped)
  )

  it.live("has its documentation in itself", () =>
    withPage(
      async (page) => {
        await page.locator(".opblock-summary-path", { hasText: "/retry_test" }).click()
        await page.locator(".opblock.is-open", { hasText: "initialBackoff" }).waitFor()
        expect(await page.locator(".opblock").count()).toBe(19)
        // There is nothing to authorize.
        expect(await page.locator(".scheme-container").isVisible()).toBe(false)
        const violations = await axe(page)
        expect(violations.filter((violation) => violation.startsWith("color-contrast"))).toEqual([])
        await keep(page, "verify-docs")
      },
      { viewport: { width: 1280, height: 900 } },
      "/docs"
    )
  )

  it.live("has its documentation in the dark", () =>
    withPage(
      async (page) => {
        await page.locator(".opblock").first().waitFor()
        expect(await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")).toBe(
          "rgb(20, 22, 27)"
        )
        expect(await page.evaluate("getComputedStyle(document.querySelector('.swagger-ui')).filter")).toContain(
          "invert"
        )
        await keep(page, "verify-docs-dark")
      },
      { viewport: { width: 1280, height: 900 }, colorScheme: "dark" },
      "/docs"
    )
  )
})
