import * as Arr from "effect/Array"
import * as Bigint from "effect/BigInt"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Random from "effect/Random"
import * as Stream from "effect/Stream"
import { Ledger } from "./Ledger.js"
import { NodeConfig } from "./NodeConfig.js"
import * as Peers from "./Peers.js"
import { Stats } from "./Stats.js"

const highest = 2n ** 64n - 1n

/** Heights that are asked for at a time when something is missing below a known block. */
const step = 32n

const below = (height: bigint) => Bigint.max(0n, height - step + 1n)

/** The cluster does not stop for who catches up with it: then the rest comes as gossip. */
const rounds = 10

/** Gossip may only be late. */
const patience = "300 millis"

/** Whom to ask: all peers, of which one that is ready answers. */
type Source = Pick<Peers.Peer, "name" | "repair">

/**
 * Streams a range of blocks from a peer into the ledger. The same peer, as long as it is there, says whether it has no more of them by
 * now.
 */
const stream = (peer: Source, fromHeight: bigint, toHeight: bigint) =>
  Effect.gen(function* () {
    const { name: requester } = yield* NodeConfig
    const stats = yield* Stats
    const range = { requester, fromHeight, toHeight }
    // Another one each time: a peer may lack the same blocks.
    const key = `${requester} ${yield* Random.nextInt}`
    yield* stats.count({ calls: 1 })
    const received = yield* stats
      .attemptStream(peer.repair.repair(range, { key }))
      .pipe(Stream.mapEffect(Ledger.add), Stream.runCollect)
    const { complete } = yield* Peers.call(
      peer,
      peer.repair.acknowledge({ ...range, received: received.length }, { key })
    )
    return { complete, repaired: Chunk.filter(received, (isNew) => isNew).length }
  })

/** Gets everything from a peer, then what the peer has got in the meantime, and so on until that is nothing. */
const copy = (peer: Source) =>
  Effect.gen(function* () {
    let { complete } = yield* stream(peer, 0n, highest)
    for (let round = 0; !complete && round < rounds; round++) {
      complete = (yield* stream(peer, below(yield* Ledger.height), highest)).complete
    }
  })

/** Gets everything from a peer that can give it. */
export const catchUp = (peers: Source) => Effect.retry(copy(peers), Peers.retryPolicy)

/** The greatest height of a block that is missing and was so before. */
const gap = (before: ReadonlyMap<string, bigint>) =>
  Effect.map(Ledger.missing, (now) =>
    Arr.match(
      [...now].flatMap(([hash, height]) => (before.has(hash) ? height : [])),
      {
        onEmpty: () => Option.none(),
        onNonEmpty: (heights) => Option.some(Arr.max(heights, Order.bigint))
      }
    )
  )

/** Asks peers for lower and lower blocks until none is missing of those that were before. */
const fill = (peer: Source, before: ReadonlyMap<string, bigint>) =>
  Effect.gen(function* () {
    let blocks = 0
    let top = yield* gap(before)
    while (Option.isSome(top)) {
      const from = below(top.value)
      blocks += (yield* stream(peer, from, top.value)).repaired
      top = from === 0n ? Option.none() : Option.map(yield* gap(before), (height) => Bigint.min(height, from - 1n))
    }
    if (blocks > 0) {
      yield* Effect.logInfo(`repaired a gap with the help of others, blocks: ${blocks}`)
    }
  })

/** Watches for gaps that do not close by themselves, and asks for what is missing. */
export const whenNeeded = (peers: Source) =>
  Effect.gen(function* () {
    const before = yield* Ledger.missing
    yield* Effect.sleep(patience)
    yield* Effect.catchAll(fill(peers, before), ({ message }) => Effect.logDebug(message))
  }).pipe(Effect.forever)
