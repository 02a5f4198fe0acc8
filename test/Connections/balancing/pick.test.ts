/** Who gets a call: turns, least pending, rendezvous hashing, and who is taken out. */
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "fast-check"
import * as Outlier from "../../../src/Connections/internal/balancing/outlier.js"
import * as Pick from "../../../src/Connections/internal/balancing/pick.js"
import * as Rendezvous from "../../../src/Connections/internal/balancing/rendezvous.js"

describe("turns", () => {
  it("are shared by weight", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.array(FastCheck.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 }),
        (weights) => {
          const all = weights.map((weight) => ({ pending: 0, pass: 0, weight, calls: 0 }))
          const rounds = 20
          const total = weights.reduce((sum, weight) => sum + weight, 0)
          for (let i = 0; i < total * rounds; i++) {
            const picked = Pick.inTurn(all)
            if (picked !== undefined) {
              picked.calls += 1
              picked.pass += 1 / picked.weight
            }
          }
          for (const { calls, weight } of all) {
            expect(Math.abs(calls - weight * rounds)).toBeLessThanOrEqual(weights.length)
          }
        }
      )
    )
    expect(Pick.inTurn([])).toBeUndefined()
  })
})

describe("least pending", () => {
  const simulate = (latencies: ReadonlyArray<number>, inFlight: number, total: number) => {
    const all = latencies.map((latency) => ({ pending: 0, pass: 0, latency, calls: 0 }))
    const ends: Array<{ readonly at: number; readonly by: (typeof all)[number] }> = []
    let seed = 1
    const random = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0
      return seed / 2 ** 32
    }
    let now = 0
    let furthest = 0
    for (let begun = 0; begun < total; begun++) {
      if (ends.length >= inFlight) {
        ends.sort((a, b) => a.at - b.at)
        const end = ends.shift()
        if (end !== undefined) {
          now = end.at
          end.by.pending -= 1
        }
      }
      const picked = Pick.leastPending(all, random)
      if (picked !== undefined) {
        picked.pass = Pick.advance(picked.pass, furthest, ends.length, 1)
        furthest = Math.max(furthest, picked.pass)
        picked.pending += 1
        picked.calls += 1
        ends.push({ at: now + picked.latency, by: picked })
      }
    }
    return all.map(({ calls }) => calls)
  }

  it("is even among equals, however many calls there are at once", () => {
    for (const inFlight of [1, 2, 3, 8, 16, 64, 500]) {
      const counts = simulate([5, 5, 5], inFlight, 3000)
      for (const count of counts) {
        expect(Math.abs(count - 1000)).toBeLessThanOrEqual(100)
      }
    }
  })

  it("leaves a slow one alone", () => {
    for (const inFlight of [2, 6, 64]) {
      const [, , slow = 0] = simulate([5, 5, 100], inFlight, 3000)
      expect(slow).toBeLessThan(350)
    }
  })

  it("picks what there is", () => {
    expect(Pick.leastPending([], Math.random)).toBeUndefined()
    const one = { pending: 9, pass: 9 }
    expect(Pick.leastPending([one], Math.random)).toBe(one)
  })
})

describe("rendezvous hashing", () => {
  const nodes = (count: number, weight = 1) =>
    Array.from({ length: count }, (_, i) => ({
      name: `10.0.0.${i}:50051`,
      hash: Rendezvous.hash(`10.0.0.${i}:50051`),
      weight
    }))
  const keys = Array.from({ length: 5000 }, (_, i) => Rendezvous.hash(`key-${i}`))

  it("spreads keys evenly, and by weight", () => {
    const all = nodes(10)
    const counts = new Map<string, number>()
    for (const key of keys) {
      const { name = "" } = Rendezvous.best(all, key) ?? {}
      counts.set(name, (counts.get(name) ?? 0) + 1)
    }
    expect(counts.size).toBe(10)
    for (const count of counts.values()) {
      expect(Math.abs(count - 500)).toBeLessThan(120)
    }
    const [heavy, ...light] = nodes(3)
    const weighted = [{ ...heavy, hash: heavy?.hash ?? 0, weight: 2 }, ...light]
    const share = keys.filter((key) => Rendezvous.best(weighted, key)?.weight === 2).length / keys.length
    expect(Math.abs(share - 0.5)).toBeLessThan(0.05)
  })

  it("moves no key but those of the one that goes", () => {
    const all = nodes(10)
    const [, ...rest] = all
    for (const key of keys) {
      const before = Rendezvous.best(all, key)
      if (before !== all[0]) {
        expect(Rendezvous.best(rest, key)).toBe(before)
      }
    }
    expect(Rendezvous.rank(all, 7)[0]).toBe(Rendezvous.best(all, 7))
    expect(Rendezvous.best([], 7)).toBeUndefined()
  })
})

describe("ejection", () => {
  const settings = { consecutiveFailures: 3, latencyFactor: 10, ejectionMillis: 5000, maxEjectionMillis: 60_000 }

  it("follows failures in a row", () => {
    const record = Outlier.make()
    expect([1, 2].map(() => Outlier.failed(record, false, settings))).toEqual([false, false])
    Outlier.succeeded(record, 1)
    expect([1, 2, 3].map(() => Outlier.failed(record, false, settings))).toEqual([false, false, true])
    Outlier.ejected(record)
    Outlier.readmitted(record, settings)
    expect(Outlier.failed(record, false, settings)).toBe(true)
  })

  it("follows latencies that stay long, not a single long one", () => {
    const others = [Outlier.make(), Outlier.make()]
    const slow = Outlier.make()
    for (let i = 0; i < 64; i++) {
      for (const other of others) {
        Outlier.succeeded(other, 5)
      }
      Outlier.succeeded(slow, i === 0 ? 5000 : 5)
    }
    expect([1, 2, 3].map(() => Outlier.isSlow(slow, others, settings))).toEqual([false, false, false])
    for (let i = 0; i < 64; i++) {
      Outlier.succeeded(slow, 200)
    }
    expect([1, 2, 3].map(() => Outlier.isSlow(slow, others, settings))).toEqual([false, false, true])
    expect(Outlier.isSlow(slow, others.slice(1), settings)).toBe(false)
  })

  it("lasts longer each time, and never takes all", () => {
    const record = Outlier.make()
    const lengths = [1, 2, 3, 4, 5].map(() => {
      const length = Outlier.nextEjection(record, settings)
      Outlier.ejected(record)
      return length
    })
    expect(lengths).toEqual([5000, 10_000, 20_000, 40_000, 60_000])
    expect([1, 2, 3, 9].map((all) => Outlier.mayEject(0, all))).toEqual([false, true, true, true])
    expect(Outlier.mayEject(2, 3)).toBe(false)
    expect(Outlier.mayEject(6, 9)).toBe(false)
  })
})
