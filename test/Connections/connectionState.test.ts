/** The state of a connection that is made again: who is woken by a change, and what a closed one stays. */
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as ConnectionState from "../../src/Connections/internal/connectionState.js"

const make = () => ConnectionState.make<number, string>()

/** Lets the fiber get to where it waits. */
const begun = Effect.repeatN(Effect.yieldNow(), 5)

describe("the state of a connection", () => {
  it.effect("is new when those who wait for it wake, all of them and once", () =>
    Effect.gen(function* () {
      const state = make()
      expect(state.current()).toEqual({ _tag: "Connecting" })
      const seen: Array<unknown> = []
      const wait = Effect.map(state.changed, () => seen.push(state.current()))
      const first = yield* Effect.fork(wait)
      const second = yield* Effect.fork(wait)
      yield* begun
      state.set({ _tag: "Connected", live: 1 })
      yield* Fiber.joinAll([first, second])
      expect(seen).toEqual([
        { _tag: "Connected", live: 1 },
        { _tag: "Connected", live: 1 }
      ])
    })
  )

  it.effect("wakes who waits again with the next change only", () =>
    Effect.gen(function* () {
      const state = make()
      let woken = 0
      const fiber = yield* Effect.fork(
        Effect.forever(
          Effect.map(state.changed, () => {
            woken += 1
          })
        )
      )
      yield* begun
      state.set({ _tag: "Failed", cause: Cause.fail("no") })
      yield* begun
      expect(woken).toBe(1)
      state.set({ _tag: "Connecting" })
      yield* begun
      expect(woken).toBe(2)
      yield* Fiber.interrupt(fiber)
      state.set({ _tag: "Connected", live: 2 })
      yield* begun
      expect(woken).toBe(2)
    })
  )

  it.effect("stays closed", () =>
    Effect.gen(function* () {
      const state = make()
      const fiber = yield* Effect.fork(state.changed)
      yield* begun
      state.set({ _tag: "Closed" })
      yield* Fiber.join(fiber)
      state.set({ _tag: "Connected", live: 1 })
      expect(state.current()).toEqual({ _tag: "Closed" })
    })
  )

  it.effect("is wanted when a call waits, whether it said so before or after", () =>
    Effect.gen(function* () {
      const state = make()
      const early = yield* Effect.fork(state.wanted)
      yield* begun
      expect(yield* Fiber.poll(early)).toMatchObject({ _tag: "None" })
      state.hurry()
      yield* Fiber.join(early)
      const call = yield* Effect.fork(state.changed)
      yield* begun
      yield* state.wanted
      yield* Fiber.interrupt(call)
      const late = yield* Effect.fork(state.wanted)
      yield* begun
      expect(yield* Fiber.poll(late)).toMatchObject({ _tag: "None" })
      yield* Fiber.interrupt(late)
      // Nobody listens any more.
      state.hurry()
    })
  )
})
