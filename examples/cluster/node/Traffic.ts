import { randomBytes, randomUUID } from "node:crypto"
import { create } from "@bufbuild/protobuf"
import { timestampFromMs } from "@bufbuild/protobuf/wkt"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { TxRequestSchema, TxStatus } from "../../gen/dag/v1/dag_pb.js"
import { Acknowledged } from "../protocol.js"
import { Ledger } from "./Ledger.js"
import { NodeConfig } from "./NodeConfig.js"
import * as Pace from "./Pace.js"
import * as Peers from "./Peers.js"
import { Supervisor } from "./Supervisor.js"

const timeout = "2 seconds"

/**
 * A new transaction, of which this node keeps a copy. The peer that it goes to makes the block; if no block with it
 * arrives in time, this node makes one. So it is on two nodes when the peer has answered, and stays on two.
 */
const newTransaction = Effect.gen(function* () {
  const { name } = yield* NodeConfig
  const transaction = create(TxRequestSchema, {
    txId: randomUUID(),
    payload: randomBytes(64),
    origin: name,
    submittedAt: timestampFromMs(yield* Clock.currentTimeMillis)
  })
  yield* Ledger.accept(transaction, "2 seconds")
  return transaction
})

const acknowledged = (txIds: ReadonlyArray<string>) =>
  Effect.flatMap(Supervisor, (supervisor) => supervisor.report(new Acknowledged({ txIds })))

/** One transaction in a call. */
const submit = (peer: Peers.Peer) =>
  Effect.gen(function* () {
    const transaction = yield* newTransaction
    const reply = yield* Peers.call(peer, peer.dag.submitTransaction(transaction, { timeout }))
    if (reply.status !== TxStatus.REJECTED) {
      yield* acknowledged([transaction.txId])
    }
  })

/** Ten transactions in a call. */
const upload = (peer: Peers.Peer) =>
  Effect.gen(function* () {
    const transactions = yield* Effect.replicateEffect(newTransaction, 10)
    const reply = yield* Peers.call(peer, peer.dag.upload(Stream.fromIterable(transactions), { timeout }))
    if (reply.rejected === 0) {
      yield* acknowledged(transactions.map(({ txId }) => txId))
    }
  })

/** Hands transactions to a peer all the time. */
export const withPeer = (peer: Peers.Peer, peers: number) =>
  Effect.all(
    [
      Peers.forever(peer, submit(peer), Pace.pause(100, peers)),
      Peers.forever(peer, upload(peer), Pace.pause(3, peers))
    ],
    { concurrency: "unbounded" }
  )
