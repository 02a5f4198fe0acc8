import { expect, it } from "@effect/vitest"
import { constVoid } from "effect/Function"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as Turnstile from "../../src/Calls/StreamQuota.js"

const where = { method: "/a.B/C", peer: "peer:1" }

/** A turnstile with so much room, and what becomes of those who enter. */
const open = (room: number) => {
  const state = { room, isClosed: false }
  const started: Array<string> = []
  const failed: Array<string> = []
  const turnstile = Turnstile.make(
    () => state.room > 0,
    () => state.isClosed,
    Deadlines.make(),
    constVoid
  )
  const enter = (name: string, timeout = Number.POSITIVE_INFINITY) =>
    turnstile.enter(
      where,
      timeout,
      () => {
        state.room -= 1
        started.push(name)
      },
      (error) => failed.push(`${name}: ${error._tag}`)
    )
  const turn = (room: number) => {
    state.room = room
    turnstile.turn()
  }
  return { state, started, failed, enter, turn }
}

it("lets calls in in the order they came, as many as may", () => {
  const { enter, started, turn } = open(1)
  for (const name of ["a", "b", "c", "d"]) {
    enter(name)
  }
  expect(started).toEqual(["a"])
  turn(2)
  expect(started).toEqual(["a", "b", "c"])
  turn(5)
  enter("e")
  expect(started).toEqual(["a", "b", "c", "d", "e"])
})

it("nobody overtakes who waits", () => {
  const { enter, started, state, turn } = open(0)
  enter("a")
  state.room = 2
  enter("b")
  expect(started).toEqual([])
  turn(1)
  expect(started).toEqual(["a"])
})

it("who leaves is not let in, wherever it stood, and may leave twice", () => {
  const { enter, failed, started, turn } = open(0)
  const leave = new Map(["a", "b", "c", "d", "e"].map((name) => [name, enter(name)]))
  for (const name of ["c", "a", "e", "c"]) {
    leave.get(name)?.()
  }
  turn(1)
  leave.get("b")?.()
  enter("f")
  turn(5)
  expect(started).toEqual(["b", "d", "f"])
  expect(failed).toEqual([])
})

it("when it is closed all that wait fail", () => {
  const { enter, failed, started, state, turn } = open(0)
  enter("a")
  enter("b")
  state.isClosed = true
  turn(0)
  expect(failed).toEqual(["a: Unavailable", "b: Unavailable"])
  expect(started).toEqual([])
})

it("who waits for too long fails, and the others go on waiting", async () => {
  const { enter, failed, started, turn } = open(0)
  enter("a")
  enter("b", 1)
  enter("c")
  await expect.poll(() => failed).toEqual(["b: DeadlineExceeded"])
  turn(3)
  expect(started).toEqual(["a", "c"])
})

it("a call that can't begin fails alone, at once or in its turn", () => {
  const failed: Array<unknown> = []
  const thrown: Array<unknown> = []
  let room = 1
  const turnstile = Turnstile.make(
    () => room > 0,
    () => false,
    Deadlines.make(),
    (cause) => thrown.push(cause)
  )
  const started: Array<string> = []
  const throwing = (cause: unknown) => () => {
    throw cause
  }
  const fail = (error: unknown) => failed.push(error)
  turnstile.enter(where, 1000, throwing("at once"), fail)
  room = 0
  turnstile.enter(where, 1000, throwing("in its turn"), fail)
  turnstile.enter(
    where,
    1000,
    () => {
      room = 0
      started.push("next")
    },
    fail
  )
  room = 1
  turnstile.turn()
  expect(failed).toMatchObject([
    { _tag: "Internal", cause: "at once", ...where },
    { _tag: "Internal", cause: "in its turn", ...where }
  ])
  expect(started).toEqual(["next"])
  expect(thrown).toEqual(["at once", "in its turn"])
})
