import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Idle from "../../src/Connections/Idle.js"

const started = <A, E>(effect: Effect.Effect<A, E>) => Effect.tap(Effect.fork(effect), () => Effect.yieldNow())

describe("Idle", () => {
  it.effect("is reached at once where nothing is under way", () =>
    Effect.gen(function* () {
      const idle = Idle.make(() => true)
      yield* idle.reached
      expect(idle.isAwaited()).toBe(false)
    })
  )

  it.effect("is reached with the check that finds nothing under way, and by all who wait", () =>
    Effect.gen(function* () {
      let calls = 2
      let looks = 0
      const idle = Idle.make(() => {
        looks += 1
        return calls === 0
      })
      const fibers = [yield* started(idle.reached), yield* started(idle.reached)]
      calls = 1
      idle.check()
      yield* Effect.yieldNow()
      expect(yield* Effect.forEach(fibers, Fiber.poll)).toEqual([Option.none(), Option.none()])
      expect(looks).toBe(3)
      calls = 0
      idle.check()
      yield* Fiber.joinAll(fibers)
      expect(idle.isAwaited()).toBe(false)
    })
  )

  it.effect("does not look while nobody waits, and knows when somebody begins to", () =>
    Effect.gen(function* () {
      let looks = 0
      let begun = 0
      const idle = Idle.make(
        () => {
          looks += 1
          return false
        },
        () => {
          begun += 1
        }
      )
      idle.check()
      expect([looks, begun]).toEqual([0, 0])
      const fiber = yield* started(idle.reached)
      expect([looks, begun, idle.isAwaited()]).toEqual([1, 1, true])
      yield* Fiber.interrupt(fiber)
      expect(idle.isAwaited()).toBe(false)
      idle.check()
      expect(looks).toBe(1)
    })
  )

  it.effect("wakes who waits again only with the next check", () =>
    Effect.gen(function* () {
      let calls = 1
      const idle = Idle.make(() => calls === 0)
      const twice = yield* started(
        Effect.zipRight(
          Effect.tap(idle.reached, () => {
            calls = 1
          }),
          idle.reached
        )
      )
      calls = 0
      idle.check()
      yield* Effect.yieldNow()
      yield* Effect.yieldNow()
      expect(yield* Fiber.poll(twice)).toEqual(Option.none())
      calls = 0
      idle.check()
      yield* Fiber.join(twice)
    })
  )
})
