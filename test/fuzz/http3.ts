/**
 * `npm run fuzz:http3`: a million inputs for the receiving halves of HTTP/3, random, mutated and truncated: requests,
 * responses, the streams of a connection, field sections and datagrams. Each gives what it says or a `Http3Violation`,
 * and messages the same however they are cut; anything else, and memory that grows, ends this with an error.
 */
import { fuzz } from "../protocol/http3/http3Fuzz.js"

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
