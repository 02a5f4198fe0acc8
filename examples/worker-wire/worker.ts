/** The thread that main.ts starts: it proves history. */
import { threadId, workerData } from "node:worker_threads"
import { Effect, Layer, Stream } from "effect"
import { Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"
import * as WorkerWire from "./WorkerWire.js"

const verifier = `thread ${threadId}`

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot, iterations }) => Effect.succeed({ slot, valid: iterations > 0, verifier }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid, verifier }))
})

const NodeLive = Transport.serve([PohHandlers], { host: "prover", port: 1 }).pipe(Layer.provide(WorkerWire.layer()))

await WorkerWire.join("main", workerData).pipe(
  Effect.zipRight(Layer.launch(NodeLive)),
  Effect.scoped,
  Effect.runPromise
)
