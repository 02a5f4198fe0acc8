/** One replica of three that is twenty times slower, in simulated time: hedging keeps the slowest calls near what they were. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Hedge, MemoryLive, RetryBudget } from "effect-transport"
import { type Call, load } from "../fixtures/replicas.js"
import { simulate } from "../fixtures/simulation.js"

const run = (slower: number, around: (call: Call) => Call = (call) => call) =>
  simulate(Effect.provide(load({ calls: 2000, inFlight: 16, slower }, around), MemoryLive))

it.live(
  "hedging at the p95 of attempts has a p99 of at most twice the quiet one, at under a tenth more calls",
  () =>
    Effect.gen(function* () {
      const quiet = yield* run(1)
      const slow = yield* run(20)
      expect(slow.p99).toBeGreaterThan(quiet.p99 * 4)
      const latencies = yield* Hedge.makeLatencies
      const budget = yield* RetryBudget.make()
      const hedged = yield* run(20, Hedge.call({ after: "p95", budget, latencies }))
      expect(hedged.p99).toBeLessThanOrEqual(quiet.p99 * 2)
      expect(hedged.load).toBeLessThan(1.1)
    }),
  60_000
)
