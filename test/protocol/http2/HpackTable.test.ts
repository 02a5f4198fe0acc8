import { setImmediate } from "node:timers/promises"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { describe, expect, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { type Field, sectionSize } from "../../../src/protocol/Fields.js"
import { hpackTable, makeDynamicTable } from "../../../src/protocol/http2/HpackTable.js"
import { arbitraryTableSize } from "./hpackSupport.js"

it("the static table", () => {
  expect(hpackTable).toHaveLength(61)
  expect([1, 2, 8, 14, 16, 31, 58, 61].map((index) => hpackTable[index - 1])).toEqual([
    [":authority", ""],
    [":method", "GET"],
    [":status", "200"],
    [":status", "500"],
    ["accept-encoding", "gzip, deflate"],
    ["content-type", ""],
    ["user-agent", ""],
    ["www-authenticate", ""]
  ])
})

describe("the dynamic table", () => {
  it("does what a list does, from which the oldest are dropped", () => {
    const change = FastCheck.oneof(
      { weight: 10, arbitrary: FastCheck.nat(80) },
      { weight: 1, arbitrary: arbitraryTableSize.map((size) => ({ size })) }
    )
    FastCheck.assert(
      FastCheck.property(FastCheck.array(change, { maxLength: 400, size: "max" }), (changes) => {
        const table = makeDynamicTable()
        let model: ReadonlyArray<Field> = []
        let capacity = 4096
        changes.forEach((change, i) => {
          if (typeof change === "number") {
            const field: Field = [`n${i}`, "x".repeat(change)]
            table.insert(field)
            model = [field, ...model]
          } else {
            capacity = change.size
            table.setCapacity(capacity)
          }
          while (sectionSize(model) > capacity) {
            model = model.slice(0, -1)
          }
          expect([table.size(), table.capacity()]).toEqual([sectionSize(model), capacity])
          expect(table.get(62 + model.length)).toBeUndefined()
        })
        expect(model.map((_, age) => table.get(62 + age))).toEqual(model)
      })
    )
  })

  it("keeps nothing that is evicted", async () => {
    setFlagsFromString("--expose-gc")
    const collect: () => void = runInNewContext("gc")
    const table = makeDynamicTable()
    const refs = Array.from({ length: 100 }, (_, i) => {
      const field: Field = ["x", `${i}`]
      table.insert(field)
      return new WeakRef(field)
    })
    table.setCapacity(5 * 35)
    // What was looked at is kept to the end of the task.
    await setImmediate()
    collect()
    expect(refs.map((ref) => ref.deref()?.[1]).filter((value) => value !== undefined)).toEqual([
      "95",
      "96",
      "97",
      "98",
      "99"
    ])
    expect(table.get(62)).toEqual(["x", "99"])
  })

  it("is emptied by a field that is larger", () => {
    const table = makeDynamicTable()
    table.insert(["a", "b"])
    table.insert(["a", "x".repeat(4096)])
    expect([table.size(), table.get(62)]).toEqual([0, undefined])
  })
})
