import * as Chunk from "effect/Chunk"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { RetryPolicy, Transport } from "effect-transport"
import { DagService } from "../../gen/dag/v1/dag_pb.js"
import { RepairService } from "../../gen/repair/v1/repair_pb.js"
import type { PeerAddress } from "../protocol.js"
import * as Verification from "./Verification.js"

const retryPolicy = RetryPolicy.exponential({ initial: "200 millis", on: ["Unavailable", "DeadlineExceeded"] })

const highest = 2n ** 64n - 1n

/** All blocks of a node, as any peer would get them. */
const readLedger = ({ name, target }: PeerAddress) =>
  Effect.gen(function* () {
    const repair = yield* Transport.client(RepairService, target)
    const blocks = yield* Stream.runCollect(repair.repair({ fromHeight: 0n, toHeight: highest, requester: "observer" }))
    return [name, Chunk.toReadonlyArray(blocks)] as const
  }).pipe(Effect.scoped, Effect.retry(retryPolicy))

/** Each new block of a node. */
export const watch = ({ target }: PeerAddress) =>
  Stream.unwrapScoped(
    Effect.map(Transport.client(DagService, target), (dag) =>
      dag.watch({ fromHeight: 0n }, { timeout: Duration.infinity })
    )
  )

/** Compares the ledgers of all nodes with each other and with the acknowledged transactions. */
const compare = (addresses: ReadonlyArray<PeerAddress>, acknowledged: ReadonlySet<string>) =>
  Effect.gen(function* () {
    const ledgers = new Map(yield* Effect.forEach(addresses, readLedger, { concurrency: "unbounded" }))
    return { ledgers, problems: Verification.problems(acknowledged, ledgers) }
  })

/** The same, with ten seconds for the last blocks that may still be on their way. */
export const verify = (addresses: ReadonlyArray<PeerAddress>, acknowledged: ReadonlySet<string>) =>
  Effect.delay(compare(addresses, acknowledged), "250 millis").pipe(
    Effect.repeat({ until: ({ problems }) => problems.length === 0, times: 40 })
  )
