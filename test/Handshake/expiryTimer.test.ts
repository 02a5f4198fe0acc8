/** One timer for many expiries: when it fires, and what it does about a wall clock that is set. */
import { afterEach, beforeEach, describe, expect, it, vi } from "@effect/vitest"
import * as ExpiryTimer from "../../src/Handshake/internal/expiryTimer.js"

const start = 1_000_000

beforeEach(() => {
  vi.useFakeTimers({ now: start })
})
afterEach(() => {
  vi.useRealTimers()
})

const make = () => {
  const all = new Set<{ validUntil: number }>()
  const expired: Array<number> = []
  const timer = ExpiryTimer.make(all, (some) => {
    for (const each of some) {
      expired.push(each.validUntil - start)
      all.delete(each)
    }
  })
  const add = (after: number) => {
    const each = { validUntil: start + after }
    all.add(each)
    timer.arm(each.validUntil)
    return each
  }
  return { all, add, expired, timer }
}

describe("a timer of expiries", () => {
  it("fires when each expires, the first first, and then stands still", () => {
    const { add, expired } = make()
    add(5000)
    add(1000)
    add(3000)
    vi.advanceTimersByTime(1000)
    expect(expired).toEqual([])
    vi.advanceTimersByTime(1)
    expect(expired).toEqual([1000])
    vi.advanceTimersByTime(4000)
    expect(expired).toEqual([1000, 3000, 5000])
    expect(vi.getTimerCount()).toBe(0)
  })

  it("has no timer for what never expires, nor for what is there no more", () => {
    const { add, all, expired } = make()
    add(Number.POSITIVE_INFINITY)
    expect(vi.getTimerCount()).toBe(0)
    all.delete(add(1000))
    vi.advanceTimersByTime(1001)
    expect([expired, vi.getTimerCount()]).toEqual([[], 0])
  })

  it("looks at the wall clock every minute, so that it may be set", () => {
    const { add, expired } = make()
    add(3_600_000)
    vi.advanceTimersByTime(60_000)
    // An hour later than it was.
    vi.setSystemTime(start + 3_600_000 + 60_000)
    vi.advanceTimersByTime(60_000)
    expect(expired).toEqual([3_600_000])
    add(7_300_000)
    vi.setSystemTime(start)
    vi.advanceTimersByTime(7_200_000)
    expect(expired).toEqual([3_600_000])
  })

  it("waits anew for what has become valid for longer", () => {
    const { add, expired, timer } = make()
    const renewed = add(1000)
    vi.advanceTimersByTime(500)
    renewed.validUntil = start + 9000
    timer.arm(renewed.validUntil)
    vi.advanceTimersByTime(8000)
    expect(expired).toEqual([])
    vi.advanceTimersByTime(501)
    expect(expired).toEqual([9000])
  })

  it("stops", () => {
    const { add, expired, timer } = make()
    add(1000)
    timer.stop()
    vi.advanceTimersByTime(10_000)
    expect([expired, vi.getTimerCount()]).toEqual([[], 0])
  })
})
