import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { type Credentials, HandshakeFailed, TransportMetrics } from "effect-transport"
import * as Reverification from "../../src/Handshake/Reverification.js"
import { eventually } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const material: Credentials.Tls = { _tag: "Tls", ca: [], certificate: Option.none() }

const failed = new HandshakeFailed({ message: "no more", reason: "Revoked", refusedBy: "local", peer: "a peer" })

/** A judge of connections, on credentials that a test replaces. */
const made = Effect.gen(function* () {
  const ref = yield* SubscriptionRef.make<Credentials.Material>(material)
  const { layer, lines } = yield* captureLog
  const reverification = yield* Effect.provide(
    Reverification.make({ current: SubscriptionRef.get(ref), changes: ref.changes }),
    layer
  )
  const add = (verify: Reverification.Open["verify"], validUntil = Number.POSITIVE_INFINITY) => {
    const closed: Array<string> = []
    const release = reverification.add({
      peer: "a peer",
      material,
      validUntil,
      verify,
      leave: () => closed.push("leave"),
      close: ({ reason }) => closed.push(reason)
    })
    return { closed, release }
  }
  return { add, become: SubscriptionRef.set<Credentials.Material>(ref, { ...material }), lines }
})

const goesOn = () => Effect.succeed(Number.POSITIVE_INFINITY)

const rejected = (reason: string) =>
  Effect.map(Metric.value(Metric.tagged(TransportMetrics.connectionsRejected, "reason", reason)), ({ count }) => count)

/** The wall clock, which a test sets. */
const wallClock = Effect.acquireRelease(
  Effect.sync(() => {
    const real = Date.now.bind(Date)
    let offset = 0
    const spy = vi.spyOn(Date, "now").mockImplementation(() => real() + offset)
    const jump = (millis: number) => {
      offset += millis
    }
    return { jump, restore: () => spy.mockRestore() }
  }),
  ({ restore }) => Effect.sync(restore)
)

/** Timers that a test fires. */
const timers = Effect.acquireRelease(
  Effect.sync(() => vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })),
  () => Effect.sync(() => vi.useRealTimers())
)

/** Lets fibers and immediates run. */
const settled = Effect.promise(async () => {
  for (let turn = 0; turn < 20; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve))
  }
})

describe("the connections of a transport", () => {
  it.scopedLive("are judged again, all 10,000, while others have their turn", () =>
    Effect.gen(function* () {
      const { add, become } = yield* made
      const judgeMillis = 0.02
      let judged = 0
      let longest = 0
      let current = 0
      for (let index = 0; index < 10_000; index += 1) {
        add(() =>
          Effect.sync(() => {
            const until = performance.now() + judgeMillis
            while (performance.now() < until) {}
            judged += 1
            current += 1
            return Number.POSITIVE_INFINITY
          })
        )
      }
      // Counts what is judged in one turn of the event loop.
      let probing = true
      const probe = () => {
        longest = Math.max(longest, current)
        current = 0
        if (probing) {
          setImmediate(probe)
        }
      }
      setImmediate(probe)
      yield* become
      yield* eventually(
        Effect.sync(() => expect(judged).toBe(10_000)),
        "10 seconds"
      )
      probing = false
      // 2 ms, and the one that is under way.
      expect(longest).toBeLessThanOrEqual(2 / judgeMillis + 2)
    })
  )

  it.scopedLive("are judged again when the wall clock says so, whichever way it jumps", () =>
    Effect.gen(function* () {
      const clock = yield* wallClock
      yield* timers
      const { add } = yield* made
      const { closed } = add(() => Effect.fail(failed), Date.now() + 3600_000)
      yield* settled
      clock.jump(-7200_000)
      vi.advanceTimersByTime(3600_000)
      yield* settled
      expect(closed).toEqual([])
      // Two hours later: an hour more than it is valid for.
      clock.jump(4 * 3600_000)
      vi.advanceTimersByTime(60_000)
      yield* settled
      expect(closed).toEqual(["Revoked"])
    })
  )

  it.scopedLive("may be good for longer than a timer holds", () =>
    Effect.gen(function* () {
      yield* timers
      const { add } = yield* made
      let judged = 0
      for (const validUntil of [Date.now() + 2 ** 31, Date.now() + 2 ** 33, 8.64e15, Number.POSITIVE_INFINITY]) {
        add(() => Effect.sync(() => ++judged), validUntil)
      }
      yield* settled
      vi.advanceTimersByTime(120_000)
      yield* settled
      expect(judged).toBe(0)
    })
  )

  it.scopedLive("that have ended are judged no more, and leave no timer when all have", () =>
    Effect.gen(function* () {
      const clock = yield* wallClock
      yield* timers
      const scope = yield* Scope.make()
      const { add, become } = yield* Scope.extend(made, scope)
      const judge = vi.fn(goesOn)
      const { closed, release } = add(judge, Date.now() + 1000)
      const old = add(() => Effect.fail(new HandshakeFailed({ ...failed, reason: "Expired", message: "old" })))
      yield* settled
      release()
      yield* become
      yield* settled
      clock.jump(5000)
      // It was asked to leave, and has ended before it was closed.
      expect(old.closed).toEqual(["leave"])
      old.release()
      vi.advanceTimersByTime(120_000)
      yield* settled
      expect(judge).not.toHaveBeenCalled()
      expect([closed, old.closed]).toEqual([[], ["leave"]])
      add(goesOn, Date.now() + 1e9)
      yield* Scope.close(scope, Exit.void)
      expect(vi.getTimerCount()).toBe(0)
    })
  )

  it.scopedLive("whose judge throws are closed, those alone, with one line a second in the log", () =>
    Effect.gen(function* () {
      const { add, become, lines } = yield* made
      const before = yield* rejected("BadCertificate")
      const throwing = Array.from({ length: 50 }, () =>
        add(() => {
          throw new Error("a bug")
        })
      )
      const dying = add(() => Effect.die(new Error("a bug")))
      const good = add(goesOn)
      yield* become
      yield* eventually(
        Effect.sync(() =>
          expect([...throwing, dying].map(({ closed }) => closed)).toEqual(Array(51).fill(["BadCertificate"]))
        )
      )
      expect(good.closed).toEqual([])
      expect(yield* rejected("BadCertificate")).toBe(before + 51)
      expect(
        lines.filter(({ text }) => text.startsWith("a peer is not admitted any more, closing its connection: ")).length
      ).toBeLessThanOrEqual(2)
    })
  )
})
