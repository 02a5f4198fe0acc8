/** The places of handshakes in progress: who makes way, and who never does. */
import { describe, expect, it } from "@effect/vitest"
import * as Places from "../../src/Handshake/internal/handshakePlaces.js"

const make = (max: number) => {
  const places = Places.make<string>(max, "too many")
  const closed: Array<string> = []
  const enter = (name: string, source = name) => places.enter(source, (reason) => closed.push(`${name}: ${reason}`))
  return { closed, enter, evict: places.evict }
}

describe("a place", () => {
  it("is taken from the oldest that has sent nothing", () => {
    const { closed, enter } = make(3)
    enter("a").speak()
    enter("b")
    enter("c")
    enter("d")
    expect(closed).toEqual(["b: too many"])
    enter("e")
    expect(closed).toEqual(["b: too many", "c: too many"])
  })

  it("is taken from the source that has the most where all have sent something, from its oldest", () => {
    const { closed, enter } = make(4)
    enter("first", "x").speak()
    for (const name of ["y1", "y2"]) {
      enter(name, "y").speak()
    }
    enter("last", "z").speak()
    enter("new")
    expect(closed).toEqual(["y1: too many"])
  })

  it("that was given up is free, and given up once whatever follows", () => {
    const { closed, enter } = make(1)
    const a = enter("a")
    a.leave()
    const b = enter("b")
    a.speak()
    a.leave()
    expect(closed).toEqual([])
    b.speak()
    enter("c")
    expect(closed).toEqual(["b: too many"])
    // It was closed: what it says now counts no more.
    b.speak()
    enter("d")
    expect(closed).toEqual(["b: too many", "c: too many"])
  })

  it("of a source that is evicted is free, whether its peer has sent something or not", () => {
    const { closed, enter, evict } = make(10)
    enter("silent", "x")
    enter("other", "y")
    enter("speaking", "x").speak()
    evict("x", "boxed")
    expect(closed).toEqual(["silent: boxed", "speaking: boxed"])
    evict("x", "boxed")
    expect(closed).toHaveLength(2)
  })

  it("may be taken again while one is closed", () => {
    const places = Places.make<string>(1, "too many")
    const closed: Array<string> = []
    places.enter("a", () => {
      closed.push("a")
      places.evict("a", "again")
    })
    places.enter("b", () => closed.push("b"))
    expect(closed).toEqual(["a"])
  })

  it("is taken from the source itself where it has as many as it may, from its oldest that has sent nothing", () => {
    const places = Places.make<string>(10, "too many")
    const closed: Array<string> = []
    const enter = (name: string, source: string) => places.enter(source, () => closed.push(name), 2)
    enter("other", "y")
    const first = enter("x1", "x")
    first.speak()
    enter("x2", "x")
    const third = enter("x3", "x")
    expect(closed).toEqual(["x2"])
    third.speak()
    const fourth = enter("x4", "x")
    expect(closed).toEqual(["x2", "x1"])
    fourth.leave()
    enter("x5", "x")
    expect(closed).toEqual(["x2", "x1"])
  })
})
