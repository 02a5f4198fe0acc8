import { spawn } from "node:child_process"
import { once } from "node:events"
import { text } from "node:stream/consumers"
import { setTimeout } from "node:timers/promises"
import { create } from "@bufbuild/protobuf"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/TestClock"
import * as Blocks from "../../examples/cluster/node/Blocks.js"
import { Ledger } from "../../examples/cluster/node/Ledger.js"
import { NodeConfig } from "../../examples/cluster/node/NodeConfig.js"
import * as Verification from "../../examples/cluster/supervisor/Verification.js"
import { TxRequestSchema } from "../../examples/gen/dag/v1/dag_pb.js"

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
    { timeout: 60_000 },
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

  it("leaves no process behind when it is killed itself", { timeout: 60_000 }, async () => {
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

describe("Verification", () => {
  const transaction = { txId: "a", payload: new Uint8Array([1]) }
  const first = Blocks.seal({ transactions: [transaction], producer: "node-1" })
  const second = Blocks.seal({ parents: [first.hash], height: 1n, producer: "node-2" })
  const acknowledged = new Set(["a"])

  const problems = (one: ReadonlyArray<typeof first>, other: ReadonlyArray<typeof first>) =>
    Verification.problems(
      acknowledged,
      new Map([
        ["node-1", one],
        ["node-2", other]
      ])
    )

  it("finds nothing wrong with sound, equal and complete ledgers", () => {
    expect(problems([first, second], [second, first])).toEqual([])
  })

  it("finds a transaction that is lost", () => {
    const empty = Blocks.seal({ producer: "node-1" })
    expect(problems([empty], [empty])).toEqual([
      "node-1 lacks 1 acknowledged transactions: a",
      "node-2 lacks 1 acknowledged transactions: a"
    ])
  })

  it("finds a block that is missing", () => {
    expect(problems([first, second], [first])).toEqual([
      `node-2 lacks 1 blocks that others have: ${Blocks.toHex(second.hash)}`
    ])
  })

  it("finds a block that was tampered with, has a wrong height or no parent", () => {
    const tampered = { ...first, producer: "node-2" }
    const tooHigh = Blocks.seal({ parents: [first.hash], height: 7n })
    const orphan = Blocks.seal({ parents: [new Uint8Array(32)], height: 1n })
    for (const unsound of [tampered, tooHigh, orphan]) {
      expect(problems([first, unsound], [first, unsound])).toContain(
        `node-1 has 1 blocks that are not sound: ${Blocks.toHex(unsound.hash)}`
      )
    }
  })
})

describe("Ledger", () => {
  const config = new NodeConfig({ name: "node-1", host: "127.0.0.1", port: 0, transport: "memory" })
  const fresh = Effect.provide(Layer.provide(Ledger.Default, Layer.succeed(NodeConfig, config)))
  const transaction = (txId: string) => create(TxRequestSchema, { txId })
  const first = Blocks.seal({ producer: "node-2" })
  const second = Blocks.seal({ producer: "node-2", parents: [first.hash], height: 1n })

  it.effect("keeps a transaction once, and makes a block of it when it is due", () =>
    Effect.gen(function* () {
      expect(yield* Ledger.accept(transaction("a"), "2 seconds")).toBe(true)
      expect(yield* Ledger.accept(transaction("a"))).toBe(false)
      yield* Ledger.produce
      expect(yield* Ledger.size).toEqual({ blocks: 0, transactions: 0 })
      yield* TestClock.adjust("2 seconds")
      yield* Ledger.produce
      expect(yield* Ledger.size).toEqual({ blocks: 1, transactions: 1 })
      expect(yield* Ledger.accept(transaction("a"))).toBe(false)
    }).pipe(fresh)
  )

  it.effect("leaves a transaction alone that another node has put into a block", () =>
    Effect.gen(function* () {
      yield* Ledger.accept(transaction("a"))
      yield* Ledger.add(Blocks.seal({ producer: "node-2", transactions: [transaction("a")] }))
      yield* Ledger.produce
      expect(yield* Ledger.size).toEqual({ blocks: 1, transactions: 1 })
    }).pipe(fresh)
  )

  it.effect("builds on all blocks that are nobody's parents, in whatever order they came", () =>
    Effect.gen(function* () {
      const third = Blocks.seal({ producer: "node-3", parents: [first.hash], height: 1n })
      for (const block of [second, third, first]) {
        yield* Ledger.announce(block.hash, block.height)
        yield* Ledger.add(block)
      }
      yield* Ledger.accept(transaction("a"))
      yield* Ledger.produce
      const [made] = yield* Ledger.tips
      expect(made?.parents).toEqual([second.hash, third.hash])
      expect(made?.height).toBe(2n)
    }).pipe(fresh)
  )

  it.effect("misses what it knows by name only", () =>
    Effect.gen(function* () {
      yield* Ledger.add(second)
      expect([...(yield* Ledger.missing)]).toEqual([[Blocks.toHex(first.hash), 0n]])
      yield* Ledger.add(first)
      expect((yield* Ledger.missing).size).toBe(0)
      expect(yield* Ledger.range(0n, 9n)).toEqual([first, second])
    }).pipe(fresh)
  )

  it.effect("refuses a block that is not what its hash says", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(Ledger.add({ ...first, height: 1n }))
      expect(error._tag).toBe("InvalidArgument")
    }).pipe(fresh)
  )
})
