import { Chunk, Context, Effect, Layer, Option, Stream } from "effect"
import { Credentials, Metadata, NotFound, TlsLive, Transport } from "effect-transport"
import { DagService, TxStatus } from "../gen/dag/v1/dag_pb.js"

class Ledger extends Context.Tag("app/Ledger")<Ledger, { readonly height: Effect.Effect<bigint> }>() {}

const DagHandlers = Transport.handlers(DagService, {
  submitTransaction: ({ txId }, call) =>
    Effect.gen(function* () {
      yield* call.setHeaders({ "x-node": "node-a" })
      yield* call.setTrailers({ "x-cost": "1" })
      const tenant = Option.getOrElse(Metadata.get(call.metadata, "x-tenant"), () => "nobody")
      return { txId, status: TxStatus.ACCEPTED, message: `for ${tenant}` }
    }),
  upload: (requests) => Effect.map(Stream.runCount(requests), (accepted) => ({ accepted })),
  watch: ({ fromHeight }) =>
    Stream.unwrap(
      Effect.gen(function* () {
        const ledger = yield* Ledger
        const height = yield* ledger.height
        if (fromHeight > height) {
          return Stream.fail(new NotFound({ message: `the ledger ends at ${height}` }))
        }
        return Stream.iterate(fromHeight, (height) => height + 1n).pipe(Stream.map((height) => ({ height })))
      })
    ),
  gossip: (messages, call) => Stream.map(messages, ({ from }) => ({ from: `${from}, as ${call.peer.address} says` }))
})

const calls = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const dag = yield* Transport.client(DagService, target, { metadata: { "x-tenant": "blue" } })
  const seen: Array<string> = []
  const reply = yield* dag.submitTransaction(
    { txId: "1" },
    {
      timeout: "2 seconds",
      onHeaders: (headers) => seen.push(...Metadata.getAll(headers, "x-node")),
      onTrailers: (trailers) => seen.push(...Metadata.getAll(trailers, "x-cost"))
    }
  )
  const uploaded = yield* dag.upload(Stream.range(1, 1000).pipe(Stream.map((n) => ({ txId: String(n) }))))
  const blocks = yield* dag.watch({ fromHeight: 3n }).pipe(Stream.take(2), Stream.runCollect)
  const replies = yield* dag.gossip(Stream.make({ from: "node-b" }, { from: "node-c" })).pipe(Stream.runCount)
  const heights = Chunk.toReadonlyArray(blocks).map(({ height }) => Number(height))
  return { message: reply.message, seen, accepted: uploaded.accepted, heights, replies }
})

class Dag extends Context.Tag("app/Dag")<Dag, Transport.Client<typeof DagService>>() {}

const submit = (txId: string) => Effect.flatMap(Dag, (dag) => dag.submitTransaction({ txId }))

const byTag = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const DagLive = Transport.layerClient(Dag, DagService, target, { timeout: "2 seconds" })
  return yield* submit("2").pipe(Effect.provide(DagLive))
})

const LedgerLive = Layer.succeed(Ledger, { height: Effect.succeed(10n) })

const MainLive = Transport.serve([DagHandlers]).pipe(
  Layer.provide(LedgerLive),
  Layer.provideMerge(TlsLive),
  Layer.provide(Credentials.layerDev())
)

export const program = Effect.all([calls, byTag]).pipe(Effect.scoped, Effect.provide(MainLive))
