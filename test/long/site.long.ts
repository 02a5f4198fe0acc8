/** The site of the guide and the API reference, as `npm run docs` builds it: links, search, dark mode, narrow screens. */
import { execFile } from "node:child_process"
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join, normalize } from "node:path"
import { pathToFileURL } from "node:url"
import { promisify } from "node:util"
import { beforeAll, describe, expect, it } from "@effect/vitest"
import { type BrowserContextOptions, chromium, type Page } from "playwright-core"

const site = "site"
const executablePath = "/usr/bin/chromium"
const args = ["--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]

const pages = () =>
  readdirSync(site, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".html"))
    .map((file) => join(site, file))

const ids = new Map<string, ReadonlySet<string>>()
const idsOf = (file: string) => {
  const known =
    ids.get(file) ?? new Set([...readFileSync(file, "utf8").matchAll(/ id="([^"]+)"/g)].map(([, id = ""]) => id))
  ids.set(file, known)
  return known
}

const plain = (text: string) => text.replaceAll("&amp;", "&").replaceAll("&quot;", '"')

/** The links of a page that lead nowhere within the site. */
const broken = (page: string): ReadonlyArray<string> =>
  [...readFileSync(page, "utf8").matchAll(/<a [^>]*?href="([^"]*)"/g)].flatMap(([, found = ""]) => {
    const href = plain(found)
    if (/^[a-z]+:/.test(href)) {
      return []
    }
    const [path = "", hash = ""] = href.split("#")
    const file = path === "" ? page : normalize(join(dirname(page), decodeURIComponent(path)))
    const isThere = existsSync(file) && statSync(file).isFile()
    const hasAnchor = hash === "" || !file.endsWith(".html") || (isThere && idsOf(file).has(decodeURIComponent(hash)))
    return isThere && hasAnchor ? [] : [`${page}: ${href}`]
  })

const withPage = async (path: string, options: BrowserContextOptions, test: (page: Page) => Promise<void>) => {
  const browser = await chromium.launch({ executablePath, args })
  try {
    const page = await browser.newPage(options)
    await page.goto(String(pathToFileURL(join(site, path))))
    await test(page)
  } finally {
    await browser.close()
  }
}

describe("the site that npm run docs builds", () => {
  beforeAll(async () => {
    await promisify(execFile)("npm", ["run", "--silent", "docs"], { timeout: 280_000 })
  }, 300_000)

  it("has the guide, the wire formats and the reference of every public module", () => {
    const documents = readdirSync(join(site, "documents"))
    for (const page of [...readdirSync("docs"), ...readdirSync("docs/guide")].filter((file) => file.endsWith(".md"))) {
      expect({
        page,
        isThere: documents.length > 0 && documents.some((file) => file.includes(page.slice(0, -3)))
      }).toEqual({ page, isThere: true })
    }
    const exported = readFileSync("src/index.ts", "utf8").matchAll(/export \* as (\w+) from/g)
    for (const [, name = ""] of exported) {
      const file = readdirSync(join(site, "modules")).find((file) => file.endsWith(`${name}.html`))
      expect({ name, isThere: file !== undefined }).toEqual({ name, isThere: true })
    }
  })

  it("has no link that leads nowhere", () => {
    const all = pages()
    expect(all.length).toBeGreaterThan(200)
    expect(all.flatMap(broken)).toEqual([])
  })

  it.skipIf(!existsSync(executablePath))("finds a function and a page of the guide", () =>
    withPage("index.html", { viewport: { width: 1280, height: 900 } }, async (page) => {
      for (const [text, found] of [
        ["exponential", "exponential"],
        ["observability", "observability"]
      ] as const) {
        await page.keyboard.press("Escape")
        await page.locator("#tsd-search-trigger").click()
        await page.locator("#tsd-search-input").fill(text)
        await page
          .locator("#tsd-search-results a", { hasText: new RegExp(found, "i") })
          .first()
          .waitFor()
      }
    })
  )

  it
    .skipIf(!existsSync(executablePath))
    .each(["index.html", "modules/src.RetryPolicy.html", "documents/guide_admission.html"])(
    "%s is dark in the dark, light in the light, and fits on a phone",
    async (path) => {
      const ground = (page: Page) => page.evaluate<string>("getComputedStyle(document.body).backgroundColor")
      const brightness = (colour: string) => Math.max(...(colour.match(/\d+/g) ?? []).slice(0, 3).map(Number))
      await withPage(path, { colorScheme: "dark" }, async (page) => {
        expect(brightness(await ground(page))).toBeLessThan(80)
      })
      await withPage(path, { colorScheme: "light" }, async (page) => {
        expect(brightness(await ground(page))).toBeGreaterThan(200)
      })
      await withPage(path, { viewport: { width: 360, height: 740 } }, async (page) => {
        expect(await page.evaluate("document.documentElement.scrollWidth")).toBeLessThanOrEqual(360)
      })
    }
  )
})
