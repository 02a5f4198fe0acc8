/** The cluster of the examples, each node in a process of its own. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { text } from "node:stream/consumers"
import { setTimeout } from "node:timers/promises"
import { describe, expect, it } from "@effect/vitest"

const start = (program: string, ...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, ["--import", "tsx", `examples/${program}/main.ts`, ...args])
  return { child, progress: text(child.stderr), summary: text(child.stdout) }
}

/** The nodes hold the other end of stderr, so that it closes with the last of them. */
const ended = (progress: Promise<string>) =>
  Promise.race([progress, setTimeout(2_000).then(() => Promise.reject(new Error("a node goes on")))])

const run = async (program: string, ...args: ReadonlyArray<string>) => {
  const { child, progress, summary } = start(program, ...args)
  const [code] = await once(child, "exit")
  return { code, progress: await ended(progress), summary: await summary }
}

describe("npm start", () => {
  it.each(["memory", "grpc", "tls", "quic"])(
    "loses nothing when a node is killed and returns, with --transport %s",
    async (transport) => {
      const { code, progress, summary } = await run("cluster", "--transport", transport, "--seconds", "3", "--json")

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

      const lines = progress.trimEnd().split("\n")
      expect(lines[0]).toMatch(/^ +\d\.\d s {2}cluster +begins$/)
      expect(lines.filter((line) => line.length > 100)).toEqual([])
      // A pipe gets no colours.
      expect(progress).not.toContain("\u001b")
    }
  )

  it("leaves no process behind when it is killed itself", async () => {
    const { child, progress } = start("cluster")
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
})

const wrong: ReadonlyArray<readonly [program: string, args: ReadonlyArray<string>, message: string]> = [
  ["cluster", ["--transport", "pigeon"], '--transport takes tls, grpc, quic or memory, not "pigeon"'],
  ["cluster", ["--nodes", "99"], '--nodes takes an integer from 2 to 10, not "99"'],
  ["cluster", ["--nodes", "2.5"], '--nodes takes an integer from 2 to 10, not "2.5"'],
  ["cluster", ["--seconds", "soon"], '--seconds takes a number from 1 to 3600, not "soon"'],
  ["cluster", ["--node", "3"], "--node"],
  ["sharding", ["--transport", "memory"], '--transport takes tls, grpc or quic, not "memory"']
]

it.each(wrong)("examples/%s %j says what is wrong", async (program, args, message) => {
  const { code, progress } = await run(program, ...args)
  expect(code).toBe(1)
  expect(progress).toContain(message)
})

it.each(["cluster", "sharding"])("examples/%s --help tells the defaults", async (program) => {
  const { code, summary } = await run(program, "--help")
  expect(code).toBe(0)
  expect(summary).toContain("Default: tls")
  expect(summary).toMatch(/--nodes integer.*from 2 to 10\. Default: 3.*Default: \d+.*Default: no/s)
  expect(summary).not.toContain("begins")
})

it("npm run start:sharding takes the same options", async () => {
  const args = ["--transport", "grpc", "--nodes", "2", "--seconds", "1", "--json"]
  const { code, progress, summary } = await run("sharding", ...args)
  expect(progress).toMatch(/WAS KILLED/)
  expect(JSON.parse(summary)).toMatchObject({ ok: true, transport: "grpc", inFlight: 1000, left: 0 })
  expect(code).toBe(0)
})
