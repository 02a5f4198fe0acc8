import { expect, it } from "@effect/vitest"
import { constVoid } from "effect/Function"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as StreamQuota from "../../src/Calls/StreamQuota.js"

const where = { method: "/a.B/C", peer: "peer:1" }

/** A quota with so many permits, and what becomes of the calls that want one. */
const open = (permits: number) => {
  const state = { permits, isClosed: false }
  const started: Array<string> = []
  const failed: Array<string> = []
  const quota = StreamQuota.make(
    () => state.permits > 0,
    () => state.isClosed,
    Deadlines.make(),
    constVoid
  )
  const acquire = (name: string, timeout = Number.POSITIVE_INFINITY) =>
    quota.acquire(
      where,
      timeout,
      () => {
        state.permits -= 1
        started.push(name)
      },
      (error) => failed.push(`${name}: ${error._tag}`)
    )
  const advance = (permits: number) => {
    state.permits = permits
    quota.advance()
  }
  return { state, started, failed, acquire, advance }
}

it("starts calls in the order they came, as many as there are permits", () => {
  const { acquire, advance, started } = open(1)
  for (const name of ["a", "b", "c", "d"]) {
    acquire(name)
  }
  expect(started).toEqual(["a"])
  advance(2)
  expect(started).toEqual(["a", "b", "c"])
  advance(5)
  acquire("e")
  expect(started).toEqual(["a", "b", "c", "d", "e"])
})

it("no call overtakes one that waits", () => {
  const { acquire, advance, started, state } = open(0)
  acquire("a")
  state.permits = 2
  acquire("b")
  expect(started).toEqual([])
  advance(1)
  expect(started).toEqual(["a"])
})

it("a call that gives up is not started, wherever it stood, and may give up twice", () => {
  const { acquire, advance, failed, started } = open(0)
  const leave = new Map(["a", "b", "c", "d", "e"].map((name) => [name, acquire(name)]))
  for (const name of ["c", "a", "e", "c"]) {
    leave.get(name)?.()
  }
  advance(1)
  leave.get("b")?.()
  acquire("f")
  advance(5)
  expect(started).toEqual(["b", "d", "f"])
  expect(failed).toEqual([])
})

it("when it is closed all that wait fail", () => {
  const { acquire, advance, failed, started, state } = open(0)
  acquire("a")
  acquire("b")
  state.isClosed = true
  advance(0)
  expect(failed).toEqual(["a: Unavailable", "b: Unavailable"])
  expect(started).toEqual([])
})

it("a call that waits for too long fails, and the others go on waiting", async () => {
  const { acquire, advance, failed, started } = open(0)
  acquire("a")
  acquire("b", 1)
  acquire("c")
  await expect.poll(() => failed).toEqual(["b: DeadlineExceeded"])
  advance(3)
  expect(started).toEqual(["a", "c"])
})

it("a call that can't begin fails alone, at once or after a wait", () => {
  const failed: Array<unknown> = []
  const thrown: Array<unknown> = []
  let permits = 1
  const quota = StreamQuota.make(
    () => permits > 0,
    () => false,
    Deadlines.make(),
    (cause) => thrown.push(cause)
  )
  const started: Array<string> = []
  const throwing = (cause: unknown) => () => {
    throw cause
  }
  const fail = (error: unknown) => failed.push(error)
  quota.acquire(where, 1000, throwing("at once"), fail)
  permits = 0
  quota.acquire(where, 1000, throwing("after a wait"), fail)
  quota.acquire(
    where,
    1000,
    () => {
      permits = 0
      started.push("next")
    },
    fail
  )
  permits = 1
  quota.advance()
  expect(failed).toMatchObject([
    { _tag: "Internal", cause: "at once", ...where },
    { _tag: "Internal", cause: "after a wait", ...where }
  ])
  expect(started).toEqual(["next"])
  expect(thrown).toEqual(["at once", "after a wait"])
})
