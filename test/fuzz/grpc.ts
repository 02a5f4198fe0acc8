/**
 * `npm run fuzz:grpc`: a million inputs, random, mutated and truncated, for what gRPC and `@effect/rpc` are read with:
 * metadata, header and trailer fields, refusals, timeouts, statuses and their details, length-prefixed messages, the scans
 * of protobuf and of RPC frames. Each gives a value or a typed error, and the same however it is cut; anything that is
 * thrown, takes long or makes memory grow ends this with an error.
 */
import { fuzz } from "../Grpc/grpcFuzz.js"

const runs = Number(process.argv[2] ?? 1_000_000)
const seed = Number(process.argv[3] ?? Date.now() % 1_000_000)
console.log(`${runs} inputs, seed ${seed}`)

const started = performance.now()
let heap = 0
const outcomes = fuzz(runs, seed, (run) => {
  if (run === Math.floor(runs / 10)) {
    heap = process.memoryUsage().heapUsed
  }
})
const grown = (process.memoryUsage().heapUsed - heap) / 1024 / 1024
console.log(Object.fromEntries([...outcomes].sort(([, a], [, b]) => b - a)))
console.log(
  `${Math.round((performance.now() - started) / 1000)} s, heap ${grown.toFixed(1)} MiB more than after a tenth`
)
if (grown > 100) {
  throw new Error("memory grows with the inputs")
}
