import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import * as Inbox from "../../src/Calls/Inbox.js"

const make = (options: Partial<Inbox.Options<number, string, string>> = {}) => {
  const taken: Array<ReadonlyArray<number>> = []
  const inbox = Inbox.make<number, string, string>({
    onTaken: (messages) => {
      taken.push(messages)
    },
    decode: (n) => (n < 0 ? Either.left(`bad ${n}`) : Either.right(String(n))),
    ...options
  })
  return { inbox, taken }
}

describe("an inbox", () => {
  it.effect("gives what was pushed and then its end", () =>
    Effect.gen(function* () {
      const { inbox, taken } = make()
      inbox.push(1)
      inbox.push(2)
      inbox.end(Exit.void)
      inbox.end(Exit.fail("late"))
      expect(Array.from(yield* Stream.runCollect(inbox.stream))).toEqual(["1", "2"])
      expect(taken).toEqual([[1, 2]])
    })
  )

  it.effect("gives what came before a message that can't be read, and nothing behind it", () =>
    Effect.gen(function* () {
      const { inbox } = make()
      for (const n of [1, 2, -3, 4]) {
        inbox.push(n)
      }
      const got: Array<string> = []
      const reader = yield* Effect.fork(
        Effect.flip(Stream.runForEach(inbox.stream, (text) => Effect.sync(() => got.push(text))))
      )
      inbox.end(Exit.void)
      expect(yield* Fiber.join(reader)).toBe("bad -3")
      inbox.push(5)
      expect(got).toEqual(["1", "2"])
    })
  )

  it.effect("gives no more at a time than it is told to", () =>
    Effect.gen(function* () {
      const { inbox, taken } = make({ maxTaken: 2 })
      for (const n of [1, 2, 3, 4, 5]) {
        inbox.push(n)
      }
      inbox.end(Exit.void)
      expect(Array.from(yield* Stream.runCollect(inbox.stream))).toEqual(["1", "2", "3", "4", "5"])
      expect(taken).toEqual([[1, 2], [3, 4], [5]])
    })
  )

  it.effect("wakes a reader when it is told to, once for all that came until then", () =>
    Effect.gen(function* () {
      const wakes: Array<() => void> = []
      const waiting = yield* Deferred.make<void>()
      const { inbox, taken } = make({
        schedule: (wake) => wakes.push(wake),
        onWaiting: () => Deferred.unsafeDone(waiting, Effect.void)
      })
      const reader = yield* Effect.fork(Stream.runCollect(inbox.stream))
      yield* Deferred.await(waiting)
      yield* Effect.yieldNow()
      inbox.push(1)
      inbox.push(2)
      yield* Effect.yieldNow()
      expect(taken).toEqual([])
      expect(wakes).toHaveLength(1)
      wakes[0]?.()
      inbox.end(Exit.void)
      expect(Array.from(yield* Fiber.join(reader))).toEqual(["1", "2"])
      expect(taken).toEqual([[1, 2]])
    })
  )

  it.effect("gives what comes in the very moment in which its reader begins to wait", () =>
    Effect.gen(function* () {
      const left = [1, 2, 3]
      const { inbox } = make({
        schedule: () => {},
        onWaiting: () => {
          const next = left.shift()
          if (next === undefined) {
            inbox.end(Exit.void)
          } else {
            inbox.push(next)
          }
        }
      })
      expect(Array.from(yield* Stream.runCollect(inbox.stream))).toEqual(["1", "2", "3"])
    })
  )
})
