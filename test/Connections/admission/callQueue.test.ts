import { describe, expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as CallQueue from "../../../src/Connections/internal/admission/callQueue.js"

const owner = (running = 0): CallQueue.Owner => ({ running, waiting: 0 })

const entry = (priority: number, deadline: number, of: CallQueue.Owner = owner()) => ({ priority, deadline, owner: of })

describe("the calls that wait", () => {
  it("go by priority, then whoever runs fewer, then the earliest deadline", () => {
    const queue = CallQueue.make<CallQueue.Entry>(() => 10)
    const busy = owner(5)
    const idle = owner(0)
    const calls = {
      last: entry(1, 10, idle),
      busyLate: entry(2, 40, busy),
      busyEarly: entry(2, 30, busy),
      idle: entry(2, 50, idle)
    }
    for (const call of [calls.busyLate, calls.last, calls.busyEarly, calls.idle]) {
      expect(queue.add(call)).toBe(undefined)
    }
    expect([0, 0, 0, 0].map((now) => queue.next(now))).toEqual([
      calls.idle,
      calls.busyEarly,
      calls.busyLate,
      calls.last
    ])
    expect(queue.next(0)).toBe(undefined)
    expect([busy.waiting, idle.waiting]).toEqual([0, 0])
  })

  it("make way for higher priorities, and those of whoever has most for others", () => {
    const queue = CallQueue.make<CallQueue.Entry>(() => 3)
    const loud = owner()
    const quiet = owner()
    const latest = entry(2, 30, loud)
    queue.add(entry(2, 20, loud))
    queue.add(latest)
    queue.add(entry(2, 99))
    expect(queue.add(entry(2, 50, quiet))).toBe(latest)
    const low = entry(1, 1)
    expect(queue.add(low)).toBe(low)
    expect(queue.add(entry(3, 60, loud))?.priority).toBe(2)
    expect(queue.size()).toBe(3)
  })

  it("go in the order in which they came where nothing else decides, and the last to come finds no room", () => {
    const queue = CallQueue.make<CallQueue.Entry>(() => 2)
    const [first, second, third] = [entry(2, 10), entry(2, 10), entry(2, 10)]
    expect([first, second, third].map((call) => queue.add(call))).toEqual([undefined, undefined, third])
    expect([queue.next(0), queue.next(0)]).toEqual([first, second])
  })

  it("are never more than may be, and none begins whose deadline has passed", () => {
    const call = fc.record({
      priority: fc.integer({ min: 1, max: 4 }),
      deadline: fc.integer({ min: 0, max: 100 }),
      by: fc.integer({ min: 0, max: 3 })
    })
    fc.assert(
      fc.property(
        fc.array(call, { maxLength: 60 }),
        fc.integer({ min: 0, max: 8 }),
        fc.integer({ min: 0, max: 100 }),
        (all, max, now) => {
          const owners = [owner(), owner(1), owner(2), owner(3)]
          const queue = CallQueue.make<CallQueue.Entry>(() => max)
          for (const { by, deadline, priority } of all) {
            queue.add(entry(priority, deadline, owners[by]))
            expect(queue.size()).toBeLessThanOrEqual(max)
          }
          let priority = 4
          for (let next = queue.next(now); next !== undefined; next = queue.next(now)) {
            expect(next.deadline).toBeGreaterThan(now)
            expect(next.priority).toBeLessThanOrEqual(priority)
            priority = next.priority
          }
          expect(owners.reduce((sum, { waiting }) => sum + waiting, 0)).toBe(queue.size())
        }
      )
    )
  })
})
