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
