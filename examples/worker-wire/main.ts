/** Two threads, one of which calls the other: `npx tsx examples/worker-wire/main.ts`. */
import { MessageChannel, Worker } from "node:worker_threads"
import { Effect, Stream } from "effect"
import { Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"
import * as WorkerWire from "./WorkerWire.js"

const { port1, port2 } = new MessageChannel()

// Node 20 gives a worker no TypeScript, whatever the main thread runs under. A compiled program names the file alone.
const source = `import("tsx/esm/api").then((tsx) => (tsx.register(), import("${new URL("./worker.ts", import.meta.url)}")))`

const prover = Effect.acquireRelease(
  Effect.sync(() => new Worker(source, { eval: true, workerData: port2, transferList: [port2] })),
  (worker) => Effect.promise(() => worker.terminate())
)

const program = Effect.gen(function* () {
  yield* WorkerWire.join("prover", port1)
  yield* prover
  const poh = yield* Transport.client(PohService, "prover:1", { waitForReady: true })
  const { slot, valid, verifier } = yield* poh.prove({ slot: 7n, iterations: 1000 })
  yield* Effect.log(`slot ${slot} was verified by ${verifier}: ${valid}`)
  const slots = Stream.map(Stream.range(1, 1000), (slot) => ({ slot: BigInt(slot), iterations: 1000 }))
  const batch = yield* poh.proveBatch(slots)
  yield* Effect.log(`${batch.valid} of a batch were verified by ${batch.verifier}`)
})

await program.pipe(Effect.scoped, Effect.provide(WorkerWire.layer()), Effect.runPromise)
