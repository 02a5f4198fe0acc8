import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as TestClock from "effect/TestClock"
import { Admission, Limiter } from "effect-transport"
import * as Metadata from "../../../src/Transport/Metadata.js"
import { eventually } from "../../suite/fixtures/expect.js"

const peer = { address: "10.0.0.1:1", identity: Option.none() }

const rules = [
  Admission.rule({
    name: "shared",
    match: {},
    limits: { callsPerSecond: { rate: 100, burst: 100 } },
    across: "nodes"
  })
]

/** Enters calls until one is refused; each ends at once. */
const enterMany = (admission: Admission.AdmissionService, count: number) =>
  Effect.gen(function* () {
    const visit = admission.gate.visit(peer, () => undefined)
    if (typeof visit === "string") {
      throw new Error(visit)
    }
    let entered = 0
    for (let i = 0; i < count; i++) {
      const now = Date.now()
      const pass = visit.enter("/a.B/C", Metadata.empty, now, now + 1000, false)
      if (pass._tag === "Pass") {
        entered += 1
        pass.ended(false, 0)
      }
      yield* Effect.yieldNow()
    }
    visit.leave()
    return entered
  })

describe("a limiter", () => {
  it.scopedLive("is shared by the nodes that ask it", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.makeMemory
      const node = Effect.provideService(Admission.make({ rules }), Limiter.Limiter, limiter)
      const [one, other] = [yield* node, yield* node]
      const before = performance.now()
      const first = yield* enterMany(one, 500)
      const second = yield* enterMany(other, 500)
      const seconds = (performance.now() - before) / 1000
      // Burst and rate of all nodes together, and what each may spend ahead.
      expect(first + second).toBeGreaterThanOrEqual(80)
      expect(first + second).toBeLessThanOrEqual(100 + 100 * seconds + 2 * 10 + 1)
      expect(first).toBeGreaterThan(second)
    })
  )

  it.scopedLive("that fails leaves each node the whole rate", () =>
    Effect.gen(function* () {
      const broken = { take: () => Effect.fail("gone") }
      const admission = yield* Effect.provideService(Admission.make({ rules }), Limiter.Limiter, broken)
      yield* enterMany(admission, 20)
      yield* eventually(Effect.map(enterMany(admission, 1), (entered) => expect(entered).toBe(1)))
    })
  )

  it.effect("in memory is a bucket for each key", () =>
    Effect.gen(function* () {
      const limiter = yield* Limiter.makeMemory
      const take = (key: string, count: number) => limiter.take({ key, count, rate: 10, burst: 20 })
      expect(yield* take("a", 15)).toEqual({ granted: 15, retryAfter: 0 })
      expect(yield* take("a", 15)).toEqual({ granted: 5, retryAfter: 100 })
      expect(yield* take("b", 15)).toEqual({ granted: 15, retryAfter: 0 })
      yield* TestClock.adjust("1 second")
      expect(yield* take("a", 15)).toMatchObject({ granted: 10 })
    })
  )
})
