/** A retry storm, in simulated time: with budgets a server at its limit goes on, without them it does next to nothing. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { MemoryLive, type Middleware, RetryBudget, RetryPolicy } from "effect-transport"
import { overload } from "../fixtures/overload.js"
import { simulate } from "../fixtures/simulation.js"

const retry = { initial: "50 millis", times: 5, on: ["Unavailable"] } as const

const run = <E>(middleware: Effect.Effect<Middleware.ClientList, E>) =>
  simulate(Effect.provide(overload({ seconds: 14, countFrom: 7 }, middleware), MemoryLive))

describe("a retry storm: ten clients, and a server at its limit that was slow for two seconds", () => {
  it.live(
    "does not end without budgets",
    () =>
      Effect.gen(function* () {
        const { goodput, load } = yield* run(Effect.succeed([RetryPolicy.client(retry)]))
        expect(goodput).toBeLessThan(0.8)
        expect(load).toBeGreaterThan(1.6)
      }),
    60_000
  )

  it.live(
    "ends with a budget for each client",
    () =>
      Effect.gen(function* () {
        const budgeted = Effect.map(RetryBudget.make(), (budget) => [
          RetryPolicy.client({ ...retry, budget }),
          RetryBudget.client(budget)
        ])
        const { goodput, load } = yield* run(budgeted)
        expect(goodput).toBeGreaterThan(0.9)
        expect(load).toBeLessThan(1.35)
        const throttled = Effect.map(RetryBudget.throttling(), (budget) => [
          RetryPolicy.client({ ...retry, budget }),
          RetryBudget.client(budget)
        ])
        const t = yield* run(throttled)
        expect(t.goodput).toBeGreaterThan(0.9)
      }),
    60_000
  )
})
