import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as Bucket from "../../../src/Connections/internal/admission/bucket.js"

const bucketOf = (rate: number, burst: number): Bucket.Bucket => {
  const bucket = Bucket.make({ rate, burst }, 0)
  if (bucket === undefined) {
    throw new Error("no bucket")
  }
  return bucket
}

describe("a bucket", () => {
  it("gives its burst at once, then its rate", () => {
    const bucket = bucketOf(10, 3)
    expect([0, 0, 0, 0].map((now) => Bucket.take(bucket, now))).toEqual([true, true, true, false])
    expect(Bucket.delay(bucket, 1, 0)).toBe(100)
    expect(Bucket.take(bucket, 99)).toBe(false)
    expect(Bucket.take(bucket, 100)).toBe(true)
    expect(Bucket.take(bucket, 1e9)).toBe(true)
    expect(bucket.level).toBe(2)
  })

  it("is none where nothing is limited, and gives nothing where nothing is allowed", () => {
    expect(Bucket.make(undefined, 0)).toBe(undefined)
    expect(Bucket.make(Number.POSITIVE_INFINITY, 0)).toBe(undefined)
    const closed = bucketOf(0, 0)
    expect(Bucket.take(closed, 1e12)).toBe(false)
    expect(Bucket.delay(closed, 1, 1e12)).toBe(Number.POSITIVE_INFINITY)
  })

  it("goes into debt by its burst at most", () => {
    const bucket = bucketOf(10, 5)
    expect(Bucket.spend(bucket, 7, 0)).toBe(false)
    expect(bucket.level).toBe(-2)
    expect(Bucket.spend(bucket, 1e9, 0)).toBe(true)
    expect(bucket.level).toBe(-5)
    expect(Bucket.delay(bucket, 0, 0)).toBe(500)
  })

  it("owes bytes for a minute at most, because they have come already", () => {
    const bucket = bucketOf(10, 5)
    Bucket.owe(bucket, 105, 0)
    expect(Bucket.delay(bucket, 0, 0)).toBe(10_000)
    Bucket.owe(bucket, 1e12, 10_000)
    expect(Bucket.delay(bucket, 0, 10_000)).toBe(60_000)
    const closed = bucketOf(0, 5)
    Bucket.owe(closed, 1e12, 0)
    expect(closed.level).toBe(-5)
  })

  it("keeps what was spent when its limit changes", () => {
    const bucket = bucketOf(10, 10)
    Bucket.spend(bucket, 10, 0)
    Bucket.change(bucket, { rate: 100, burst: 50 }, 0)
    expect(Bucket.take(bucket, 9)).toBe(false)
    expect(Bucket.take(bucket, 10)).toBe(true)
  })

  it("never gives more than burst and rate, whatever the clock does", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1000 }),
        fc.integer({ min: 1, max: 100 }),
        fc.array(fc.integer({ min: -50, max: 200 }), { maxLength: 300 }),
        (rate, burst, steps) => {
          const bucket = bucketOf(rate, burst)
          let now = 0
          let forward = 0
          let taken = 0
          for (const step of steps) {
            now += step
            forward += Math.max(0, step)
            taken += Bucket.take(bucket, now) ? 1 : 0
          }
          expect(taken).toBeLessThanOrEqual(burst + (forward * rate) / 1000 + 1e-6)
        }
      )
    )
  })
})
