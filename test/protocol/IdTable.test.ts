import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as IdTable from "../../src/protocol/IdTable.js"

it("does what a Map does", () => {
  const id = FastCheck.oneof(FastCheck.integer({ min: 0, max: 40 }), FastCheck.integer({ min: 0, max: 2 ** 53 - 1 }))
  const step = FastCheck.record({ id, add: FastCheck.boolean() })
  FastCheck.assert(
    FastCheck.property(FastCheck.array(step, { maxLength: 400, size: "max" }), (steps) => {
      const table = IdTable.make<string>()
      const map = new Map<number, string>()
      for (const [index, { add, id }] of steps.entries()) {
        if (!add) {
          expect(table.remove(id)).toBe(map.get(id))
          map.delete(id)
        } else if (!map.has(id)) {
          table.add(id, `${index}`)
          map.set(id, `${index}`)
        }
        expect(table.get(id)).toBe(map.get(id))
        expect(table.size()).toBe(map.size)
      }
      expect(new Map(table.entries())).toEqual(map)
      expect(new Set(table.ids())).toEqual(new Set(map.keys()))
      for (const id of map.keys()) {
        expect(table.get(id)).toBe(map.get(id))
      }
    })
  )
})

it("lets go of what it no longer needs, and holds as much as there is", () => {
  const table = IdTable.make<number>()
  for (let round = 0; round < 3; round++) {
    for (let id = 1; id <= 20_000; id += 2) {
      table.add(id, id)
    }
    expect(table.size()).toBe(10_000)
    for (let id = 1; id <= 20_000; id += 2) {
      expect(table.remove(id)).toBe(id)
    }
    expect(table.entries()).toEqual([])
  }
  table.add(0, 0)
  table.clear()
  expect([table.size(), table.get(0), table.ids()]).toEqual([0, undefined, []])
})
