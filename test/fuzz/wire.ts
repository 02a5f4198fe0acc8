/**
 * `npm run fuzz`: a million inputs for the receiving half of TlsLive's wire, random, mutated and truncated. Each gives
 * events or a `Violation`; anything else that is thrown, and memory that grows, ends this with an error.
 */
import { constVoid } from "effect/Function"
import type { Entries } from "../../src/protocol/Entries.js"
import { carry, makeEnd, reasonFor, request } from "../protocol/wire/wireSupport.js"

const runs = Number(process.argv[2] ?? 1_000_000)
let seed = Number(process.argv[3] ?? Date.now() % 1_000_000)
console.log(`${runs} inputs, seed ${seed}`)

/** Mulberry32: small, fast, and the same for the same seed. */
const random = (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}
const below = (n: number) => Math.floor(random() * n)

/** What an honest client writes in a short life. */
const transcript = (): Buffer => {
  const client = makeEnd("client")
  carry(makeEnd("server"), client)
  const metadata: Entries = [
    ["x-a", "b"],
    ["x-b-bin", Uint8Array.of(1, 2)]
  ]
  for (let i = 0; i < 3; i++) {
    client.wire.open(request("/a.B/C", 100, metadata), new Uint8Array(below(40)), true)
    const call = client.wire.open(request(), undefined, false)
    client.wire.sendMessage(call, new Uint8Array(below(3) === 0 ? 20_000 : below(60)), false, constVoid)
    if (below(2) === 0) {
      client.wire.halfClose(call)
    } else {
      client.wire.cancel(call)
    }
    client.wire.ping(1n)
  }
  return Buffer.concat(client.wire.output(64 * 1024))
}

const honest = Array.from({ length: 50 }, transcript)

const input = (): Buffer => {
  const bytes = Buffer.from(honest[below(honest.length)] ?? [])
  switch (below(3)) {
    case 0:
      return Buffer.from(Array.from({ length: below(120) }, () => below(256)))
    case 1:
      for (let i = 0; i <= below(6); i++) {
        bytes[below(bytes.length)] = below(256)
      }
      return bytes
    default:
      return bytes.subarray(0, below(bytes.length))
  }
}

const reasons = new Map<string, number>()
const started = performance.now()
let heap = 0
for (let run = 1; run <= runs; run++) {
  const end = makeEnd(below(2) === 0 ? "server" : "client")
  const bytes = input()
  const reason = reasonFor(() => {
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + below(bytes.length)
      end.wire.receive(bytes.subarray(at, at + size), run)
      at += size
    }
  })
  reasons.set(reason ?? "accepted", (reasons.get(reason ?? "accepted") ?? 0) + 1)
  end.wire.output(1024)
  if (run === Math.floor(runs / 10)) {
    heap = process.memoryUsage().heapUsed
  }
}
const grown = (process.memoryUsage().heapUsed - heap) / 1024 / 1024
console.log(Object.fromEntries(reasons))
console.log(
  `${Math.round((performance.now() - started) / 1000)} s, heap ${grown.toFixed(1)} MiB more than after a tenth`
)
if (grown > 100) {
  throw new Error("memory grows with the inputs")
}
