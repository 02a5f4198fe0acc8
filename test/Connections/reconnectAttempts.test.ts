/** Attempts to connect: when another begins beside one that takes long, which one wins, and that no other stays open. */
import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as Reconnect from "../../src/Connections/Reconnect.js"

interface Attempt {
  readonly number: number
  readonly done: Deferred.Deferred<void, string>
  readonly ended: Deferred.Deferred<void>
  state: "connecting" | "open" | "closed"
}

/** Lets every fiber run that can. */
const settle = TestClock.adjust(0)

const at = (attempts: ReadonlyArray<Attempt>, index: number): Attempt => {
  const attempt = attempts[index]
  if (attempt === undefined) {
    throw new Error(`no attempt ${index}`)
  }
  return attempt
}

/** Connections that the test answers by hand. `mayInterrupt` says whether an attempt stops when it is no longer wanted. */
const make = (mayInterrupt = true) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Effect.addFinalizer(() => Scope.close(scope, Exit.void))
    const attempts: Array<Attempt> = []
    const connect = Effect.gen(function* () {
      const attempt: Attempt = {
        number: attempts.length,
        done: yield* Deferred.make<void, string>(),
        ended: yield* Deferred.make<void>(),
        state: "connecting"
      }
      attempts.push(attempt)
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          attempt.state = "closed"
        })
      )
      const done = Deferred.await(attempt.done)
      yield* mayInterrupt ? done : Effect.uninterruptible(done)
      attempt.state = "open"
      return {
        number: attempt.number,
        lost: Deferred.await(attempt.ended),
        stalled: Effect.never,
        ended: Deferred.await(attempt.ended),
        hasServed: () => true,
        leave: () => {}
      }
    })
    const backoff = { initial: Duration.seconds(1), max: Duration.minutes(2) }
    const reconnecting = yield* Reconnect.make(connect, backoff, { error: () => "lost", tell: () => {} }).pipe(
      Scope.extend(scope)
    )
    /** Waits as a call does. */
    const wait = Effect.zipRight(
      Effect.forkScoped(
        Effect.gen(function* () {
          while (reconnecting.current()._tag !== "Connected") {
            reconnecting.hurry()
            yield* reconnecting.changed
          }
        })
      ),
      settle
    )
    return {
      attempts,
      reconnecting,
      wait,
      states: () => attempts.map(({ state }) => state),
      succeed: (index: number) => Effect.zipRight(Deferred.succeed(at(attempts, index).done, undefined), settle),
      fail: (index: number) => Effect.zipRight(Deferred.fail(at(attempts, index).done, `failed ${index}`), settle),
      end: (index: number) => Effect.zipRight(Deferred.succeed(at(attempts, index).ended, undefined), settle),
      close: Scope.close(scope, Exit.void)
    }
  })

describe("attempts to connect", () => {
  it.scoped("are one at a time where nobody waits", () =>
    Effect.gen(function* () {
      const { fail, states } = yield* make()
      yield* TestClock.adjust("1 minute")
      expect(states()).toEqual(["connecting"])
      yield* fail(0)
      yield* TestClock.adjust("1300 millis")
      expect(states()).toEqual(["closed", "connecting"])
    })
  )

  it.scoped("begin beside one that takes long where somebody waits, three at most", () =>
    Effect.gen(function* () {
      const { states, wait } = yield* make()
      yield* wait
      expect(states()).toEqual(["connecting"])
      yield* TestClock.adjust("1500 millis")
      expect(states()).toEqual(["connecting", "connecting"])
      yield* TestClock.adjust("1 minute")
      expect(states()).toEqual(["connecting", "connecting", "connecting"])
    })
  )

  it.scoped("end when one of them succeeds", () =>
    Effect.gen(function* () {
      const { close, reconnecting, states, succeed, wait } = yield* make()
      yield* wait
      yield* TestClock.adjust("1 minute")
      yield* succeed(1)
      expect(reconnecting.current()).toMatchObject({ _tag: "Connected", live: { number: 1 } })
      expect(states()).toEqual(["closed", "open", "closed"])
      yield* close
      expect(states()).toEqual(["closed", "closed", "closed"])
      expect(reconnecting.current()).toEqual({ _tag: "Closed" })
    })
  )

  it.scoped("that succeed too late are closed at once, and the first stays", () =>
    Effect.gen(function* () {
      const { reconnecting, states, succeed, wait } = yield* make(false)
      yield* wait
      yield* TestClock.adjust("1500 millis")
      yield* succeed(1)
      expect(states()).toEqual(["connecting", "open"])
      yield* succeed(0)
      expect(states()).toEqual(["closed", "open"])
      expect(reconnecting.current()).toMatchObject({ _tag: "Connected", live: { number: 1 } })
    })
  )

  it.scoped("tell that one has failed while others go on, and another follows", () =>
    Effect.gen(function* () {
      const { fail, reconnecting, states, succeed, wait } = yield* make()
      yield* wait
      yield* TestClock.adjust("1 minute")
      yield* fail(0)
      expect(reconnecting.current()).toEqual({ _tag: "Failed", cause: Cause.fail("failed 0") })
      yield* TestClock.adjust("1500 millis")
      expect(states()).toEqual(["closed", "connecting", "connecting", "connecting"])
      yield* fail(2)
      yield* succeed(3)
      expect(reconnecting.current()).toMatchObject({ _tag: "Connected", live: { number: 3 } })
      expect(states()).toEqual(["closed", "closed", "closed", "open"])
    })
  )

  it.scoped("begin anew when the winner is lost", () =>
    Effect.gen(function* () {
      const { end, reconnecting, states, succeed } = yield* make()
      yield* settle
      yield* succeed(0)
      yield* end(0)
      expect(reconnecting.current()).toEqual({ _tag: "Connecting" })
      expect(states()).toEqual(["closed", "connecting"])
      yield* succeed(1)
      expect(reconnecting.current()).toMatchObject({ _tag: "Connected", live: { number: 1 } })
    })
  )

  it.scoped("that are under way end with the scope", () =>
    Effect.gen(function* () {
      const { close, states, wait } = yield* make()
      yield* wait
      yield* TestClock.adjust("1 minute")
      yield* close
      expect(states()).toEqual(["closed", "closed", "closed"])
    })
  )
})
