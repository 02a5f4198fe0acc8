import { Effect, Layer, Stream } from "effect"
import { Credentials, GrpcLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) => Effect.succeed({ slot, valid: iterations > 0, verifier: "node-a" }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid, verifier: "node-a" }))
})

const NodeLive = Transport.serve([PohHandlers], { host: "127.0.0.1", port: 0 })

const calls = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const poh = yield* Transport.client(PohService, target)
  const one = yield* poh.prove({ slot: 7n, iterations: 1000 }, { timeout: "2 seconds" })
  const many = yield* poh.proveBatch(Stream.range(1, 100).pipe(Stream.map((n) => ({ slot: BigInt(n), iterations: n }))))
  return `slot ${one.slot}: ${one.valid}, and ${many.valid} more`
})

const MainLive = NodeLive.pipe(Layer.provideMerge(GrpcLive), Layer.provide(Credentials.layerDev()))

export const program = calls.pipe(Effect.scoped, Effect.provide(MainLive))
