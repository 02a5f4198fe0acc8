import { execFile } from "node:child_process"
import { readFile } from "node:fs/promises"
import { promisify } from "node:util"
import { expect, it } from "@effect/vitest"

for (const [page, file, says] of [
  ["README.md", "examples/quickstart.ts", "slot 7 was verified by node-a: true"],
  ["docs/rpc.md", "examples/rpc.ts", "hello node-b, whose address is 127.0.0.1"]
] as const) {
  it(`the example of ${page} is ${file}, and runs`, async () => {
    const example = await readFile(file, "utf8")
    expect(await readFile(page, "utf8")).toContain(`\`\`\`ts\n${example}\`\`\``)
    const { stdout } = await promisify(execFile)("node_modules/.bin/tsx", [file], { timeout: 30_000 })
    expect(stdout).toContain(says)
  })
}
