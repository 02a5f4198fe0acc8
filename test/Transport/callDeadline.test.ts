import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import * as CallDeadline from "../../src/Transport/internal/callDeadline.js"
import { soon } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const due = (deadline: number) => ({ deadline, method: "/a.B/C", peer: "node:1" })

const late = { _tag: "DeadlineExceeded", message: "the deadline passed", method: "/a.B/C", peer: "node:1" }

describe("a call's deadline", () => {
  it.effect("ends an effect and a stream by the program's clock, and not before", () =>
    Effect.gen(function* () {
      const start = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const effect = yield* follow
      const stream = yield* follow
      const calls = [
        yield* Effect.fork(Effect.flip(CallDeadline.until(effect.run(Effect.never), due(start + 1000)))),
        yield* Effect.fork(
          Effect.flip(
            Stream.runDrain(CallDeadline.untilOf(Stream.fromEffect(stream.run(Effect.never)), due(start + 1000)))
          )
        )
      ]
      yield* TestClock.adjust(999)
      for (const call of calls) {
        expect(yield* Fiber.poll(call)).toMatchObject({ _tag: "None" })
      }
      yield* TestClock.adjust(1)
      for (const call of calls) {
        expect(yield* Fiber.join(call)).toMatchObject(late)
      }
    })
  )

  it.live("interrupts what is late, and does not wait for it", () =>
    Effect.gen(function* () {
      const latch = yield* Deferred.make<void>()
      const slow = yield* follow
      const effect = slow.run(Effect.onInterrupt(Effect.never, () => Deferred.await(latch)))
      expect(yield* soon(Effect.flip(CallDeadline.until(effect, due(Date.now() + 20))))).toMatchObject(late)
      yield* Deferred.succeed(latch, undefined)
      expect(yield* slow.ended).toBe("interrupted")
    })
  )

  it.live("that never comes, or is further away than a timer holds, ends nothing", () =>
    Effect.gen(function* () {
      for (const deadline of [Number.POSITIVE_INFINITY, Number.NaN, Date.now() + 2 ** 40]) {
        expect(yield* CallDeadline.until(Effect.delay(Effect.succeed(1), 5), due(deadline))).toBe(1)
      }
    })
  )

  it.live("gives an effect its surroundings, and passes on how it ends", () =>
    Effect.gen(function* () {
      class Name extends Context.Tag("test/Name")<Name, string>() {}
      const ref = FiberRef.unsafeMake("default")
      for (const wait of [Effect.void, Effect.sleep(1)]) {
        const named = Effect.zipRight(wait, Effect.zip(Name, FiberRef.get(ref)))
        const bounded = CallDeadline.until(named, due(Date.now() + 10_000))
        expect(yield* Effect.locally(Effect.provideService(bounded, Name, "name"), ref, "local")).toEqual([
          "name",
          "local"
        ])
        for (const end of [Effect.fail("failed"), Effect.die("died"), Effect.interrupt]) {
          const expected = yield* Effect.exit(end)
          const exit = yield* Effect.exit(CallDeadline.until(Effect.zipRight(wait, end), due(Date.now() + 10_000)))
          expect(Exit.isFailure(exit) && exit.cause._tag).toBe(Exit.isFailure(expected) && expected.cause._tag)
        }
      }
    })
  )

  it.live("interrupts an effect with its caller, and waits until it has cleaned up", () =>
    Effect.gen(function* () {
      const effect = yield* follow
      const latch = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        CallDeadline.until(
          effect.run(Effect.onInterrupt(Effect.never, () => Deferred.await(latch))),
          due(Date.now() + 10_000)
        )
      )
      yield* effect.started
      const interrupting = yield* Effect.fork(Fiber.interrupt(fiber))
      yield* Effect.sleep(1)
      expect(yield* Fiber.poll(interrupting)).toMatchObject({ _tag: "None" })
      yield* Deferred.succeed(latch, undefined)
      yield* soon(Fiber.join(interrupting))
      expect(yield* effect.ended).toBe("interrupted")
    })
  )
})
