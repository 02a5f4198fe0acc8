import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { Metadata } from "effect-transport"
import * as InFlight from "../../src/Calls/HandlerFibers.js"
import * as IncomingCall from "../../src/Transport/IncomingCall.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import { eventually } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

/** Handlers, of which one ends at once and one later, and what is told of them. */
const run = (onExit: (exit: Exit.Exit<unknown, unknown>, response: IncomingCall.Response) => void) =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const inFlight = yield* InFlight.make
    const ended: Array<unknown> = []
    const latch = yield* Deferred.make<void>()
    for (const handler of [Effect.void, Deferred.await(latch)]) {
      const call = IncomingCall.make({
        method: "/a.B/C",
        peer: { address: "peer:1", identity: Option.none() },
        metadata: Metadata.empty,
        deadline: Number.POSITIVE_INFINITY,
        draining: inFlight.draining,
        boundary,
        began: 0,
        system: "test",
        endConnection: (cause) => {
          ended.push(cause)
          throw new Error("thrown by the end of the connection")
        }
      })
      call.response.headers = Metadata.unsafeFromEntries([["a", "b"]])
      inFlight.fork(handler, Context.empty(), call, (exit) => onExit(exit, call.response))
    }
    yield* Deferred.succeed(latch, undefined)
    return ended
  })

it.scopedLive("an answer that throws is given again as Internal, without metadata", () =>
  Effect.gen(function* () {
    const log = yield* captureLog
    const seen: Array<unknown> = []
    const ended = yield* Effect.provide(
      run((exit, { headers }) => {
        if (exit._tag === "Success") {
          throw undefined
        }
        seen.push(exit.cause, headers.entries)
      }),
      log.layer
    )
    const internal = { _tag: "Fail", error: { _tag: "Internal" } }
    yield* eventually(Effect.sync(() => expect(seen).toMatchObject([internal, [], internal, []])))
    expect(ended).toEqual([])
    expect(log.lines[0]).toMatchObject({
      level: "ERROR",
      text: expect.stringContaining("caught at the boundary (handler) with /a.B/C: undefined")
    })
  })
)

it.scopedLive("one that throws again ends the connection, and what that throws ends nothing", () =>
  Effect.gen(function* () {
    const log = yield* captureLog
    const ended = yield* Effect.provide(
      run(() => {
        throw "again"
      }),
      log.layer
    )
    yield* eventually(Effect.sync(() => expect(ended).toEqual(["again", "again"])))
  })
)
