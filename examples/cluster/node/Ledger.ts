import { timestampFromMs } from "@bufbuild/protobuf/wkt"
import * as Bigint from "effect/BigInt"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { InvalidArgument } from "effect-transport"
import type { Block, TxRequest } from "../../gen/dag/v1/dag_pb.js"
import * as Blocks from "./Blocks.js"
import * as Mempool from "./Mempool.js"
import { NodeConfig } from "./NodeConfig.js"

const byHeight = (a: Block, b: Block) => Number(a.height - b.height)

const make = Effect.gen(function* () {
  const { name } = yield* NodeConfig
  const mempool = Mempool.make()
  /** In the order of their arrival. */
  const blocks = yield* SubscriptionRef.make<ReadonlyArray<Block>>([])
  const produced = yield* PubSub.unbounded<Block>()
  const known = new Set<string>()
  /** The hashes that blocks name as their parents. */
  const parents = new Set<string>()
  /** Blocks that are nobody's parents. */
  const tips = new Map<string, Block>()
  /** Blocks that are known by name only, with the greatest height that they can have. */
  const missing = new Map<string, bigint>()

  const announce = (hash: Uint8Array, height: bigint) => {
    const key = Blocks.toHex(hash)
    if (!known.has(key)) {
      missing.set(key, height)
    }
  }

  const add = (block: Block) =>
    Effect.suspend(() => {
      const key = Blocks.toHex(block.hash)
      if (known.has(key)) {
        return Effect.succeed(false)
      }
      if (!Blocks.isSealed(block)) {
        return new InvalidArgument({ message: `block ${key} of ${block.producer} has another hash` })
      }
      known.add(key)
      missing.delete(key)
      if (!parents.has(key)) {
        tips.set(key, block)
      }
      for (const parent of block.parents) {
        parents.add(Blocks.toHex(parent))
        tips.delete(Blocks.toHex(parent))
        announce(parent, block.height - 1n)
      }
      mempool.settle(block.transactions)
      return Effect.as(
        SubscriptionRef.update(blocks, (all) => [...all, block]),
        true
      )
    }).pipe(Effect.uninterruptible)

  const produce = Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis
    const transactions = mempool.due(now)
    if (transactions.length === 0) {
      return
    }
    const below = [...tips.values()]
    const block = Blocks.seal({
      parents: below.map(({ hash }) => hash),
      height: Blocks.heightAbove(below.map(({ height }) => height)),
      transactions: [...transactions],
      producer: name,
      producedAt: timestampFromMs(now)
    })
    yield* Effect.orDie(add(block))
    yield* PubSub.publish(produced, block)
  })

  return {
    /** Keeps a transaction, and makes a block of it after the delay if none holds it by then. False if it is here already. */
    accept: (transaction: TxRequest, delay: Duration.DurationInput = 0) =>
      Effect.map(Clock.currentTimeMillis, (now) => mempool.accept(transaction, now + Duration.toMillis(delay))),
    /** Says that there is a block, which is missing from now on unless it is here. */
    announce: (hash: Uint8Array, height: bigint) => Effect.sync(() => announce(hash, height)),
    /** Adds a block. False if it is here already. */
    add,
    /** Makes a block of the transactions that are due, on top of all blocks that nobody has built on. */
    produce,
    /** The blocks that this node makes. */
    produced: Stream.fromPubSub(produced),
    /** The height of the highest block. */
    height: Effect.sync(() => [...tips.values()].reduce((height, tip) => Bigint.max(height, tip.height), 0n)),
    tips: Effect.sync(() => [...tips.values()]),
    size: Effect.sync(() => ({ blocks: known.size, transactions: mempool.settled() })),
    /** The hashes of the blocks that are known by name only, with the greatest height that they can have. */
    missing: Effect.sync((): ReadonlyMap<string, bigint> => new Map(missing)),
    /** The blocks from one height to another, both included, lowest first. */
    range: (from: bigint, to: bigint) =>
      Effect.map(blocks, (all) => all.filter(({ height }) => height >= from && height <= to).sort(byHeight)),
    /** The blocks from a height on, lowest first, then each new one. */
    watch: (from: bigint) =>
      blocks.changes.pipe(
        Stream.mapAccum(0, (seen, all) => [all.length, all.slice(seen).sort(byHeight)]),
        Stream.flattenIterables,
        Stream.filter(({ height }) => height >= from)
      )
  }
})

/** The directed acyclic graph of blocks, in memory, and the transactions that wait to be part of it. */
export class Ledger extends Effect.Service<Ledger>()("cluster/Ledger", { accessors: true, effect: make }) {}
