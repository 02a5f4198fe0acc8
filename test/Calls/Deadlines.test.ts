import { afterEach, beforeEach, expect, it, vi } from "@effect/vitest"
import * as Deadlines from "../../src/Calls/Deadlines.js"

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] })
})
afterEach(() => {
  vi.useRealTimers()
})

const open = () => {
  const deadlines = Deadlines.make()
  const passed: Array<string> = []
  const add = (name: string, timeout: number, pass = () => {}) =>
    deadlines.add(timeout, () => {
      passed.push(name)
      pass()
    })
  return { add, passed, remove: deadlines.remove, stop: deadlines.stop }
}

it("each passes at its time, whatever the order in which they were added", () => {
  const { add, passed } = open()
  add("c", 30)
  add("a", 10)
  add("d", 40)
  add("b", 20.5)
  vi.advanceTimersByTime(9)
  expect(passed).toEqual([])
  vi.advanceTimersByTime(11)
  expect(passed).toEqual(["a"])
  vi.advanceTimersByTime(1)
  expect(passed).toEqual(["a", "b"])
  vi.advanceTimersByTime(19)
  expect(passed).toEqual(["a", "b", "c", "d"])
  expect(vi.getTimerCount()).toBe(0)
})

it("those removed do not pass, and may be removed again when others have their place", () => {
  const { add, passed, remove } = open()
  const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => add(name, 10))
  for (const deadline of [a, d, a, d]) {
    if (deadline !== undefined) {
      remove(deadline)
    }
  }
  const e = add("e", 10)
  vi.advanceTimersByTime(10)
  expect(passed).toEqual(["c", "b", "e"])
  for (const deadline of [b, c, e]) {
    if (deadline !== undefined) {
      remove(deadline)
    }
  }
  add("f", 5)
  vi.advanceTimersByTime(5)
  expect(passed).toEqual(["c", "b", "e", "f"])
})

it("one that passes removes others and adds some", () => {
  const { add, passed, remove } = open()
  add("first", 10, () => {
    remove(other)
    add("second", 3)
  })
  const other = add("never", 10)
  add("third", 20)
  vi.advanceTimersByTime(10)
  expect(passed).toEqual(["first"])
  vi.advanceTimersByTime(3)
  expect(passed).toEqual(["first", "second"])
  vi.advanceTimersByTime(7)
  expect(passed).toEqual(["first", "second", "third"])
})

it("what is removed is not waited for longer than until its time, and many have one timer", () => {
  const { add, passed, remove } = open()
  for (let i = 0; i < 1000; i++) {
    remove(add("never", 50 + i))
  }
  expect(vi.getTimerCount()).toBe(1)
  vi.advanceTimersByTime(50)
  expect(vi.getTimerCount()).toBe(0)
  expect(passed).toEqual([])
})

it("waits for longer than a timer of Node can, and for ever", () => {
  const { add, passed } = open()
  add("never", Number.POSITIVE_INFINITY)
  expect(vi.getTimerCount()).toBe(0)
  add("a", 2 ** 31 + 1000)
  vi.advanceTimersByTime(2 ** 31)
  expect(passed).toEqual([])
  vi.advanceTimersByTime(1000)
  expect(passed).toEqual(["a"])
})

it("leaves no timer when it is stopped", () => {
  const { add, stop } = open()
  add("a", 10)
  stop()
  add("b", 5)
  expect(vi.getTimerCount()).toBe(0)
})

it("one that throws keeps none of the others from passing", () => {
  const thrown: Array<unknown> = []
  const { add } = Deadlines.make((cause) => thrown.push(cause))
  const passed: Array<string> = []
  add(10, () => {
    throw "first"
  })
  add(10, () => passed.push("second"))
  add(20, () => passed.push("third"))
  vi.advanceTimersByTime(20)
  expect(thrown).toEqual(["first"])
  expect(passed).toEqual(["second", "third"])
})
