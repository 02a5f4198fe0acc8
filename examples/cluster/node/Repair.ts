import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Ledger } from "./Ledger.js"
import { NodeConfig } from "./NodeConfig.js"
import * as Peers from "./Peers.js"
import { Stats } from "./Stats.js"

const highest = 2n ** 64n - 1n

/** Heights that are asked for at a time when something is missing below a known block. */
const step = 32n

/** Gossip may only be late. */
const patience = "300 millis"

/** Streams a range of blocks from the peer into the ledger, again where the peer says that some did not arrive. */
const stream = (peer: Peers.Peer, fromHeight: bigint, toHeight: bigint) =>
  Effect.gen(function* () {
    const { name: requester } = yield* NodeConfig
    const stats = yield* Stats
    const range = { requester, fromHeight, toHeight }
    yield* stats.count({ calls: 1 })
    const received = yield* stats
      .attemptStream(peer.repair.repair(range))
      .pipe(Stream.mapEffect(Ledger.add), Stream.runCount)
    return yield* Peers.call(peer, peer.repair.acknowledge({ ...range, received }))
  }).pipe(Effect.repeat({ until: ({ complete }) => complete, times: 5 }))

/** Gets everything from the first peer that can give it. */
export const catchUp = (peers: ReadonlyArray<Peers.Peer>) =>
  Arr.match(peers, {
    onEmpty: () => Effect.void,
    onNonEmpty: (peers) => Effect.asVoid(Effect.firstSuccessOf(Arr.map(peers, (peer) => stream(peer, 0n, highest))))
  })

/** Asks a peer for lower and lower blocks until none is missing. */
const fill = (peer: Peers.Peer) =>
  Effect.gen(function* () {
    const before = yield* Ledger.size
    let gap = yield* Ledger.gap
    for (let to = Option.getOrElse(gap, () => -1n); to >= 0n && Option.isSome(gap); to -= step) {
      yield* stream(peer, to < step ? 0n : to - step + 1n, to)
      gap = yield* Ledger.gap
    }
    const after = yield* Ledger.size
    if (after.blocks > before.blocks) {
      yield* Effect.logInfo(`repaired a gap with the help of ${peer.name}, blocks: ${after.blocks - before.blocks}`)
    }
  })

/** Watches for gaps that do not close by themselves, and asks one peer after another for what is missing. */
export const whenNeeded = (peers: ReadonlyArray<Peers.Peer>) =>
  Effect.gen(function* () {
    if (Option.isSome(yield* Ledger.gap)) {
      yield* Effect.sleep(patience)
      yield* Effect.forEach(peers, (peer) => Effect.catchAll(fill(peer), ({ message }) => Effect.logDebug(message)))
    }
  }).pipe(Effect.repeat(Schedule.spaced(patience)))
