import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import { Discovery, RetryPolicy, Transport } from "effect-transport"
import { DagService } from "../../gen/dag/v1/dag_pb.js"
import { PohService } from "../../gen/poh/v1/poh_pb.js"
import { RepairService } from "../../gen/repair/v1/repair_pb.js"
import type { PeerAddress } from "../protocol.js"
import { Stats } from "./Stats.js"

/** Another node, as this one sees it. */
export interface Peer {
  readonly name: string
  readonly dag: Transport.Client<typeof DagService>
  readonly poh: Transport.Client<typeof PohService>
  readonly repair: Transport.Client<typeof RepairService>
}

/** Every call may be repeated: transactions and blocks are known by their ids, and proofs change nothing. */
export const retryPolicy = RetryPolicy.exponential({
  initial: "200 millis",
  times: 5,
  on: ["Unavailable", "DeadlineExceeded"]
})

/** The three clients share one connection, which is kept until the scope closes. */
export const connect = ({ name, target }: PeerAddress) =>
  Effect.gen(function* () {
    const { metered } = yield* Stats
    return {
      name,
      dag: yield* Transport.client(metered(DagService), target),
      poh: yield* Transport.client(metered(PohService), target),
      repair: yield* Transport.client(metered(RepairService), target)
    }
  }).pipe(Effect.retry(retryPolicy), Effect.annotateLogs("peer", name))

/** All other nodes, whichever is ready. Those that still catch up are asked too: when a cluster begins, all of them do. */
export const anyOf = (peers: ReadonlyArray<PeerAddress>) =>
  Effect.gen(function* () {
    const { metered } = yield* Stats
    const discovery = Discovery.static(peers.map(({ name, target }) => ({ address: target, attributes: { name } })))
    const repair = yield* Transport.client(metered(RepairService), discovery, { health: false, connect: "lazy" })
    return { name: "any", repair }
  })

/** A call to a peer, repeated while the peer is away. */
export const call = <A, E>(peer: Pick<Peer, "name">, attempt: Effect.Effect<A, E>) =>
  Effect.gen(function* () {
    const stats = yield* Stats
    yield* stats.count({ calls: 1 })
    return yield* Effect.retry(stats.attempt(attempt), retryPolicy)
  }).pipe(Effect.annotateLogs("peer", peer.name))

/**
 * Does the same with a peer over and over, beginning some time in the first pause so that not all do it at once. What
 * fails even after its retries is logged and left behind.
 */
export const forever = <A, E extends { readonly _tag: string; readonly message: string }, R>(
  peer: Peer,
  step: Effect.Effect<A, E, R>,
  pause: Duration.DurationInput
) =>
  Effect.gen(function* () {
    yield* Effect.sleep(Duration.times(pause, yield* Random.next))
    const bravely = Effect.catchAll(step, (error) => Effect.logWarning(`gave up: ${error._tag}: ${error.message}`))
    yield* Effect.repeat(bravely, Schedule.spaced(pause))
  }).pipe(Effect.annotateLogs("peer", peer.name))
