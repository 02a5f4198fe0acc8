import { expect, it } from "@effect/vitest"
import * as fc from "fast-check"
import * as MemoryBudget from "../../src/Connections/MemoryBudget.js"

it("the connection that holds most makes room when all together hold too much", () => {
  const budget = MemoryBudget.make(100)
  const evicted: Array<string> = []
  const open = (name: string) => {
    const account = budget.open(() => {
      evicted.push(name)
      account.close()
    })
    return account
  }
  const [a, b, c] = [open("a"), open("b"), open("c")]
  a.set(30)
  b.set(50)
  c.set(20)
  expect(evicted).toEqual([])
  c.set(21)
  expect(evicted).toEqual(["b"])
  expect(budget.used()).toBe(51)
  // What is said of a connection that has ended counts no more.
  b.set(1000)
  expect(budget.used()).toBe(51)
  a.set(101)
  expect(evicted).toEqual(["b", "a"])
  c.close()
  c.close()
  expect(budget.used()).toBe(0)
})

it("whatever connections hold, the sum stays within the limit, and ends at nothing", () => {
  const step = fc.record({ at: fc.nat(5), bytes: fc.nat(60), closes: fc.boolean() })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const budget = MemoryBudget.make(100)
      const accounts = Array.from({ length: 6 }, () => {
        const account = budget.open(() => account.close())
        return account
      })
      for (const { at, bytes, closes } of steps) {
        accounts[at]?.set(bytes)
        expect(budget.used()).toBeLessThanOrEqual(100)
        if (closes) {
          accounts[at]?.close()
        }
      }
      for (const account of accounts) {
        account.close()
      }
      expect(budget.used()).toBe(0)
    })
  )
})
