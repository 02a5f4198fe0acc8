import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { DagService, type TxReply, type TxRequest, TxStatus } from "../../gen/dag/v1/dag_pb.js"
import * as Gossip from "./Gossip.js"
import { Ledger } from "./Ledger.js"

/** A repeated transaction is a duplicate, not an error: who calls again after a lost reply gets what it wanted. */
const submit = (transaction: TxRequest) =>
  Effect.gen(function* () {
    if (transaction.txId === "") {
      return { status: TxStatus.REJECTED, message: "a transaction needs an id" }
    }
    return (yield* Ledger.accept(transaction))
      ? { status: TxStatus.ACCEPTED, message: "will be part of a block", txId: transaction.txId }
      : { status: TxStatus.DUPLICATE, message: "is here already", txId: transaction.txId }
  })

const nothing = { accepted: 0, duplicates: 0, rejected: 0, payloadBytes: 0n }

const count = (sum: typeof nothing, status: TxReply["status"], payload: Uint8Array): typeof nothing => ({
  accepted: sum.accepted + (status === TxStatus.ACCEPTED ? 1 : 0),
  duplicates: sum.duplicates + (status === TxStatus.DUPLICATE ? 1 : 0),
  rejected: sum.rejected + (status === TxStatus.REJECTED ? 1 : 0),
  payloadBytes: sum.payloadBytes + BigInt(payload.length)
})

/** Who the peer has proved to be, where the transport asks for proof. */
const caller = ({ peer }: Transport.Call) =>
  Option.match(peer.identity, { onNone: () => peer.address, onSome: ({ subject }) => subject })

export const DagHandlers = Transport.handlers(DagService, {
  submitTransaction: submit,

  upload: (transactions) =>
    Stream.runFoldEffect(transactions, nothing, (sum, transaction) =>
      Effect.map(submit(transaction), ({ status }) => count(sum, status, transaction.payload))
    ),

  watch: ({ fromHeight }, call) =>
    Stream.unwrap(Effect.map(Ledger, (ledger) => ledger.watch(fromHeight))).pipe(Stream.interruptWhen(call.draining)),

  gossip: (messages, call) =>
    Stream.merge(Gossip.news, Stream.drain(Stream.mapEffect(messages, Gossip.receive)), { haltStrategy: "right" }).pipe(
      Stream.interruptWhen(call.draining),
      Stream.onStart(Effect.logInfo(`gossips with ${caller(call)}`))
    )
})
