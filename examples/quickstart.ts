import { Effect, Layer, Stream } from "effect"
import { Credentials, GrpcLive, RetryPolicy, Transport } from "effect-transport"
import { PohService } from "./gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot, iterations }) => Effect.succeed({ slot, valid: iterations > 0, verifier: "node-a" }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid, verifier: "node-a" }))
})

const NodeLive = Transport.serve([PohHandlers], { host: "127.0.0.1", port: 0 })

const program = Effect.gen(function* () {
  const node = yield* Transport.Listener
  const poh = yield* Transport.client(PohService, node.target)
  const ack = yield* poh
    .prove({ slot: 7n, iterations: 1000 }, { timeout: "2 seconds" })
    .pipe(Effect.retry(RetryPolicy.exponential({ initial: "100 millis", times: 5, on: ["Unavailable"] })))
  yield* Effect.log(`slot ${ack.slot} was verified by ${ack.verifier}: ${ack.valid}`)
})

const MainLive = NodeLive.pipe(Layer.provideMerge(GrpcLive), Layer.provide(Credentials.layerDev()))

await program.pipe(Effect.scoped, Effect.provide(MainLive), Effect.runPromise)
