/** The cluster of the examples, each node in a process of its own. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { text } from "node:stream/consumers"
import { setTimeout } from "node:timers/promises"
import { describe, expect, it } from "@effect/vitest"

const start = (...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, ["--import", "tsx", "examples/cluster/main.ts", ...args])
  return { child, progress: text(child.stderr), summary: text(child.stdout) }
}

/** The nodes hold the other end of stderr, so that it closes with the last of them. */
const ended = (progress: Promise<string>) =>
  Promise.race([progress, setTimeout(2_000).then(() => Promise.reject(new Error("a node goes on")))])

const run = async (...args: ReadonlyArray<string>) => {
  const { child, progress, summary } = start(...args)
  const [code] = await once(child, "exit")
  return { code, progress: await ended(progress), summary: await summary }
}

describe("npm start", () => {
  it.each(["memory", "grpc", "tls", "quic"])(
    "loses nothing when a node is killed and returns, with --transport %s",
    async (transport) => {
      const { code, progress, summary } = await run("--transport", transport, "--seconds", "3", "--json")

      const result = JSON.parse(summary)
      expect(result.problems).toEqual([])
      expect(code).toBe(0)
      expect(result).toMatchObject({ ok: true, transport })
      expect(result.acknowledged).toBeGreaterThan(50)
      expect(result.transactions).toBeGreaterThanOrEqual(result.acknowledged)
      expect(result.validProofs).toBeGreaterThan(50)
      expect(result.nodes.map(({ node }: { node: string }) => node)).toEqual(["node-1", "node-2", "node-3"])
      for (const node of result.nodes.slice(0, 2)) {
        expect(node.errors).toBeGreaterThan(0)
        expect(node.retries).toBeGreaterThan(0)
      }
      expect(progress).toMatch(/node-3 +WAS KILLED/)
      expect(progress).toMatch(/retry: caught Unavailable \(1\/5\) .*peer=node-3/)
      expect(progress).toMatch(/node-3 +IS BACK: [1-9]\d* blocks/)
    }
  )

  it("leaves no process behind when it is killed itself", async () => {
    const { child, progress } = start()
    let output = ""
    child.stdout.on("data", (data) => {
      output += data
      if (output.includes("goes to work")) {
        child.kill("SIGKILL")
      }
    })
    await once(child, "exit")
    expect(output).toContain("goes to work")
    await ended(progress)
  })

  it("says what is wrong with its arguments", async () => {
    const { code, progress } = await run("--nodes", "99")
    expect(code).toBe(1)
    expect(progress).toContain("--nodes takes 2 to 10")
  })
})
