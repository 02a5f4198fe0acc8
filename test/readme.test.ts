import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import { expect, it } from "@effect/vitest"

it("the README's example is examples/quickstart.ts, and runs", async () => {
  const example = await readFile("examples/quickstart.ts", "utf8")
  expect(await readFile("README.md", "utf8")).toContain(`\`\`\`ts\n${example}\`\`\``)
  const { stdout } = await promisify(execFile)("node_modules/.bin/tsx", ["examples/quickstart.ts"], { timeout: 15_000 })
  expect(stdout).toContain("slot 7 was verified by node-a: true")
})
