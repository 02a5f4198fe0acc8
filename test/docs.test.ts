import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import { expect, it } from "@effect/vitest"

/** Programs in processes of their own load all modules anew, for which a busy machine takes a minute: only a hang takes this. */
const timeout = 240_000

for (const [page, file, says] of [
  ["README.md", "examples/quickstart.ts", "slot 7 was verified by node-a: true"],
  ["docs/rpc.md", "examples/rpc.ts", "hello node-b, whose address is 127.0.0.1"]
] as const) {
  it(`the example of ${page} is ${file}, and runs`, { timeout }, async () => {
    const example = await readFile(file, "utf8")
    expect(await readFile(page, "utf8")).toContain(`\`\`\`ts\n${example}\`\`\``)
    const { stdout } = await promisify(execFile)("node_modules/.bin/tsx", [file], { timeout })
    expect(stdout).toContain(says)
  })
}

it("docs/guide/observability.md shows what one call leaves behind on each wire, and names every metric", {
  timeout
}, async () => {
  const page = await readFile("docs/guide/observability.md", "utf8")
  const run = promisify(execFile)("node_modules/.bin/tsx", ["examples/observability/oneCall.ts"], { timeout })
  const { stdout } = await run
  expect(stdout).toContain("# MemoryLive")
  expect(page).toContain(`\`\`\`\n${stdout}\`\`\``)
  const sources = await Promise.all(
    ["TransportMetrics.ts", "internal/metricKeys.ts"].map((file) => readFile(`src/Transport/${file}`, "utf8"))
  )
  const names = sources.flatMap((source) =>
    [...source.matchAll(/"((?:rpc\.|effect_transport_)[a-z_.]+)"/g)].map(([, name = ""]) => name)
  )
  expect(names.length).toBeGreaterThan(15)
  expect(names.filter((name) => !page.includes(`\`${name}\``))).toEqual([])
})

it("the wire of docs/guide/your-own-wire.md is the example, piece by piece, in under 150 lines, and carries calls", {
  timeout
}, async () => {
  const example = await readFile("examples/worker-wire/WorkerWire.ts", "utf8")
  const page = await readFile("docs/guide/your-own-wire.md", "utf8")
  const [pieces = ""] = page.split("\n## The tests\n")
  expect([...pieces.matchAll(/```ts\n(.*?)```\n/gs)].map(([, piece]) => piece).join("\n")).toBe(example)
  expect(example.split("\n").length).toBeLessThan(150)
  const test = await readFile("test/examples/workerWire.test.ts", "utf8")
  expect(page).toContain(`\`\`\`ts\n${test.replace("../../examples/worker-wire/", "./")}\`\`\``)
  const run = promisify(execFile)("node_modules/.bin/tsx", ["examples/worker-wire/main.ts"], { timeout })
  expect((await run).stdout).toMatch(
    /slot 7 was verified by thread \d+: true(.|\n)*1000 of a batch were verified by thread/
  )
})
