/** Makes calls: a number at a time, or at a rate. */
import { performance } from "node:perf_hooks"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberSet from "effect/FiberSet"
import type { TransportError } from "effect-transport"
import * as Histogram from "./histogram.js"

/** How to call. */
export interface Load {
  readonly call: Effect.Effect<unknown, TransportError.CallError>
  readonly concurrency: number
  /** Calls in a second; undefined for as many as there is time for. */
  readonly rate: number | undefined
  readonly millis: number
}

/** What has come of it so far. */
export interface Progress {
  readonly histogram: Histogram.Histogram
  readonly errors: ReadonlyMap<string, number>
  /** The first error, for what to do about it. */
  readonly firstError: () => TransportError.CallError | undefined
  readonly calls: () => number
  readonly seconds: () => number
  /** Makes the calls; done when all have ended. */
  readonly run: Effect.Effect<void>
}

export const make = ({ call, concurrency, millis, rate }: Load): Progress => {
  const histogram = Histogram.make()
  const errors = new Map<string, number>()
  let firstError: TransportError.CallError | undefined
  let calls = 0
  let begun = performance.now()
  let ended: number | undefined

  /** One call, whose time counts from when it was due: what a slow answer delays is late too. */
  const measured = (due: number): Effect.Effect<void> =>
    Effect.map(Effect.exit(call), (exit) => {
      calls += 1
      if (Exit.isSuccess(exit)) {
        return histogram.add(performance.now() - due)
      }
      if (exit.cause._tag === "Fail") {
        firstError ??= exit.cause.error
        errors.set(exit.cause.error._tag, (errors.get(exit.cause.error._tag) ?? 0) + 1)
      } else {
        errors.set("Defect", (errors.get("Defect") ?? 0) + 1)
      }
    })

  const closed = (end: number) =>
    Effect.all(
      Array.from({ length: concurrency }, () =>
        Effect.whileLoop({
          while: () => performance.now() < end,
          body: () => Effect.suspend(() => measured(performance.now())),
          step: () => {}
        })
      ),
      { concurrency: "unbounded", discard: true }
    )

  const open = (end: number, perSecond: number) =>
    Effect.gen(function* () {
      const inFlight = yield* FiberSet.make<void>()
      let next = 0
      while (performance.now() < end) {
        const due = begun + (next * 1000) / perSecond
        if (due >= end) {
          break
        }
        const early = due - performance.now()
        // A timer is late by a millisecond; what is due by then begins with it.
        if (early > 1) {
          yield* Effect.sleep(Math.min(early, end - performance.now()))
        } else if ((yield* FiberSet.size(inFlight)) >= concurrency) {
          yield* Effect.sleep(1)
        } else {
          yield* FiberSet.run(inFlight, measured(due))
          next += 1
        }
      }
      yield* FiberSet.awaitEmpty(inFlight)
    }).pipe(Effect.scoped)

  return {
    histogram,
    errors,
    firstError: () => firstError,
    calls: () => calls,
    seconds: () => ((ended ?? performance.now()) - begun) / 1000,
    run: Effect.suspend(() => {
      begun = performance.now()
      const end = begun + millis
      return rate === undefined ? closed(end) : open(end, rate)
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          ended = performance.now()
        })
      )
    )
  }
}
