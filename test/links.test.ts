/** Every relative link of the Markdown files leads to a file that is there, and to a heading where it names one. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { describe, expect, it } from "@effect/vitest"

const markdownIn = (folder: string): ReadonlyArray<string> =>
  readdirSync(folder, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory()
      ? entry.name === "node_modules"
        ? []
        : markdownIn(join(folder, entry.name))
      : entry.name.endsWith(".md")
        ? [join(folder, entry.name)]
        : []
  )

const files = ["README.md", "CHANGELOG.md", "cli/README.md", ...["bench", "docs", "examples"].flatMap(markdownIn)]

/** What is no text: blocks and spans of code. */
const withoutCode = (text: string) => text.replace(/^ *```.*?^ *```$/gms, "").replace(/`[^`\n]*`/g, "`code`")

const linksOf = (text: string) => [...withoutCode(text).matchAll(/\]\(([^()\s]+)\)/g)].map(([, link = ""]) => link)

/** The anchors of a page, as GitHub makes them of its headings. */
const anchorsOf = (text: string): ReadonlySet<string> => {
  const anchors = new Set<string>()
  for (const [, heading = ""] of text.replace(/^ *```.*?^ *```$/gms, "").matchAll(/^#{1,6} +(.*)$/gm)) {
    const anchor = heading
      .toLowerCase()
      .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .replace(/[^\p{L}\p{N}\s_-]/gu, "")
      .trim()
      .replace(/\s/g, "-")
    let name = anchor
    for (let i = 1; anchors.has(name); i++) {
      name = `${anchor}-${i}`
    }
    anchors.add(name)
  }
  return anchors
}

const problemOf = (file: string, link: string): string | undefined => {
  if (/^[a-z]+:/.test(link)) {
    return undefined
  }
  const [path = "", anchor] = link.split("#")
  const target = path === "" ? file : join(dirname(file), path)
  if (relative(".", target).startsWith("..") || !existsSync(target)) {
    return `${link}: there is no ${target}`
  }
  // The pages of the guide are copied to the site, where a folder of the sources is not.
  if (statSync(target).isDirectory() && file.startsWith("docs/")) {
    return `${link}: a folder`
  }
  return anchor === undefined || anchorsOf(readFileSync(target, "utf8")).has(anchor)
    ? undefined
    : `${link}: no such heading in ${target}`
}

describe("links", () => {
  it("finds headings as GitHub does", () => {
    const anchors = anchorsOf("# A `b`, c\n```\n# not\n```\n## What a peer may cost\n## What a peer may cost\n")
    expect([...anchors]).toEqual(["a-b-c", "what-a-peer-may-cost", "what-a-peer-may-cost-1"])
  })

  it("tells links that lead nowhere", () => {
    expect(problemOf("docs/security.md", "guide/nothing.md")).toContain("there is no")
    expect(problemOf("docs/security.md", "#nothing")).toContain("no such heading")
    expect(problemOf("docs/security.md", "../src")).toContain("a folder")
    expect(linksOf("[a](b.md), `[c](d.md)`\n```\n[e](f.md)\n```\n")).toEqual(["b.md"])
  })

  it.each(files)("of %s resolve", (file) => {
    expect(linksOf(readFileSync(file, "utf8")).flatMap((link) => problemOf(file, link) ?? [])).toEqual([])
  })
})
