import { expect, it } from "@effect/vitest"
import * as Nesting from "../../src/Rpc/internal/msgPackNesting.js"

const make = (maxFrameElements = 100) => Nesting.make({ maxFrameSize: 1000, maxFrameElements })

it("a frame ends with the last value of its outermost container", () => {
  const nesting = make()
  Nesting.container(nesting, 1, 2, Nesting.Kind.Values)
  Nesting.container(nesting, 1, 1, Nesting.Kind.Values)
  expect(Nesting.unwind(nesting)).toBe(false)
  Nesting.scalar(nesting, 1, 3)
  expect(Nesting.unwind(nesting)).toBe(false)
  Nesting.scalar(nesting, 2, 0)
  expect(Nesting.unwind(nesting)).toBe(true)
  expect(nesting).toMatchObject({ pos: 8, elements: 4, error: undefined })
})

it("the names of a record are followed by as many values, and are none themselves", () => {
  const nesting = make()
  Nesting.container(nesting, 1, 2, Nesting.Kind.Names)
  for (let i = 0; i < 2; i++) {
    Nesting.scalar(nesting, 1, 1)
  }
  expect(Nesting.unwind(nesting)).toBe(false)
  Nesting.container(nesting, 1, 0, Nesting.Kind.Values)
  Nesting.scalar(nesting, 1, 0)
  expect(Nesting.unwind(nesting)).toBe(true)
  expect(nesting.error).toBeUndefined()
  Nesting.reset(nesting)
  Nesting.container(nesting, 1, 1, Nesting.Kind.Names)
  Nesting.container(nesting, 1, 1, Nesting.Kind.Values)
  expect(nesting.error).toBe("a record whose names are none")
})

it("what is iterated over counts by its length", () => {
  const nesting = make(10)
  Nesting.container(nesting, 1, 1, Nesting.Kind.Iterated)
  Nesting.scalar(nesting, 1, 8)
  expect(nesting.error).toBeUndefined()
  Nesting.reset(nesting)
  Nesting.container(nesting, 1, 1, Nesting.Kind.Iterated)
  Nesting.scalar(nesting, 1, 9)
  expect(nesting.error).toBe("a frame with more elements than are allowed")
})

it("a frame is not deeper, and not longer, than is allowed", () => {
  const deep = make()
  for (let i = 0; i < 64; i++) {
    Nesting.container(deep, 1, 1, Nesting.Kind.Values)
  }
  expect(deep.error).toBeUndefined()
  Nesting.container(deep, 1, 1, Nesting.Kind.Values)
  expect(deep.error).toBe("a frame more than 64 levels deep")
  const long = make()
  Nesting.container(long, 1, 2, Nesting.Kind.Values)
  Nesting.scalar(long, 1, 998)
  expect(long.error).toBeUndefined()
  Nesting.scalar(long, 1, 0)
  expect(long.error).toBe("a frame larger than is allowed")
})
