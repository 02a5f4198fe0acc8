import { describe, expect, it } from "@effect/vitest"
import * as Admission from "../../../src/Connections/Admission.js"
import * as Gradient from "../../../src/Connections/internal/admission/gradient.js"

/** A server that does `capacity` calls at a time in 10 ms each: more wait, and take longer. */
const run = (adaptive: Gradient.Adaptive, capacity: number, from: number, windows: number): number => {
  let now = from
  for (let i = 0; i < windows * 20; i++) {
    const inFlight = adaptive.limit()
    now += 10
    adaptive.sample(10 * Math.max(1, inFlight / capacity), inFlight, now)
  }
  return now
}

describe("a limit that adapts", () => {
  it("grows while calls take as long as ever, and stops where they begin to wait", () => {
    const adaptive = Gradient.make(Admission.gradient({ initial: 20, min: 5, max: 1000 }))
    run(adaptive, 100, 0, 600)
    expect(adaptive.limit()).toBeGreaterThan(90)
    expect(adaptive.limit()).toBeLessThan(400)
  })

  it("shrinks when the same calls take longer, to its minimum at the least", () => {
    const adaptive = Gradient.make(Admission.gradient({ initial: 100, min: 10 }))
    const now = run(adaptive, 200, 0, 50)
    const before = adaptive.limit()
    run(adaptive, 5, now, 30)
    expect(adaptive.limit()).toBeLessThan(before / 2)
    expect(adaptive.limit()).toBeGreaterThanOrEqual(10)
  })

  it("does not grow where nothing asks for more", () => {
    const adaptive = Gradient.make(Admission.gradient({ initial: 100 }))
    for (let i = 0; i < 2000; i++) {
      adaptive.sample(10, 3, i * 10)
    }
    expect(adaptive.limit()).toBe(100)
  })
})
