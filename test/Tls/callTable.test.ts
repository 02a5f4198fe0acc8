import { expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as CallTable from "../../src/Tls/callTable.js"

it("does what a Map does", () => {
  const id = FastCheck.oneof(FastCheck.integer({ min: 1, max: 40 }), FastCheck.integer({ min: 1, max: 0xffff_ffff }))
  const step = FastCheck.record({ id, add: FastCheck.boolean() })
  FastCheck.assert(
    FastCheck.property(FastCheck.array(step, { maxLength: 400, size: "max" }), (steps) => {
      const table = CallTable.make<string>()
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
      for (const id of map.keys()) {
        expect(table.get(id)).toBe(map.get(id))
      }
    })
  )
})

it("lets go of what it no longer needs, and holds as much as there is", () => {
  const table = CallTable.make<number>()
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
})
