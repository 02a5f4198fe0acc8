/** How calls begin and end, seen from their records. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import type { ClientCall } from "../../src/Calls/CallStream.js"
import * as ClientLifecycle from "../../src/Calls/ClientLifecycle.js"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as StreamQuota from "../../src/Calls/StreamQuota.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import * as Metadata from "../../src/Transport/Metadata.js"
import { NotFound } from "../../src/Transport/TransportError.js"

const make = Effect.map(Boundary.unscoped, (boundary) => {
  const log: Array<string> = []
  const state = { permits: 1 }
  const deadlines = Deadlines.make()
  const lifecycle = ClientLifecycle.make<string>({
    wire: {
      isClosed: () => false,
      maxMetadataSize: () => 100,
      maxMessageSize: () => 20,
      maxPathLength: 10,
      open: ({ where }) => {
        state.permits -= 1
        log.push(`${where.method} open`)
        return where.method
      },
      message: constVoid,
      flush: constVoid,
      halfClose: constVoid,
      release: (stream, cost, costOnConnection) => log.push(`${stream} release ${cost} ${costOnConnection}`),
      cancel: (stream) => log.push(`${stream} cancel`),
      ended: (stream) => {
        state.permits += 1
        log.push(`${stream} ended`)
      },
      onTimeout: constVoid,
      onThrown: constVoid
    },
    peer: "peer:1",
    quota: StreamQuota.make(
      () => state.permits > 0,
      () => false,
      deadlines,
      constVoid
    ),
    deadlines,
    progress: { answered: constVoid, timedOut: constVoid },
    boundary
  })
  const call = (method: string): ClientCall<string> => ({
    where: { method, peer: "peer:1" },
    metrics: undefined,
    began: 0,
    status: undefined,
    options: {
      metadata: Metadata.empty,
      timeout: Number.POSITIVE_INFINITY,
      waitForReady: false,
      onHeaders: undefined,
      onTrailers: undefined
    },
    isUnary: true,
    isOver: false,
    headersReceived: false,
    stream: undefined,
    headersFit: true,
    deadline: undefined,
    leave: constVoid,
    request: new Uint8Array(3),
    reply: undefined,
    cost: 0,
    costOnConnection: 0,
    push: undefined,
    onEnd: (error, reply) => log.push(`${method} ${error?._tag ?? "OK"} ${reply?.length}`)
  })
  const open = (method: string) => {
    const opened = call(method)
    lifecycle.open(opened, () => log.push(`${method} opened`))
    return opened
  }
  return { ...lifecycle, open, log }
})

it.effect("the end of a call releases what it cost, tells of its reply, and returns its permit to one that waits", () =>
  Effect.gen(function* () {
    const { end, log, open } = yield* make
    const first = open("a")
    const second = open("b")
    expect(log.splice(0)).toEqual(["a open", "a opened"])
    first.reply = new Uint8Array(2)
    first.cost = 5
    first.costOnConnection = 6
    end(first, undefined)
    expect(log.splice(0)).toEqual(["a ended", "a release 5 6", "a OK 2", "b open", "b opened"])
    expect(second.stream).toBe("b")
  })
)

it.effect("the record of a call that is over holds nothing of it", () =>
  Effect.gen(function* () {
    const { cancel, open } = yield* make
    const call = open("a")
    call.reply = new Uint8Array(2)
    cancel(call, new NotFound({ message: "none" }))
    expect(call).toMatchObject({
      isOver: true,
      stream: undefined,
      deadline: undefined,
      request: undefined,
      reply: undefined,
      leave: constVoid,
      onEnd: constVoid
    })
    expect(call.options.metadata).toBe(Metadata.empty)
  })
)

it.effect("a call that is abandoned tells nobody, and one that waits leaves the queue", () =>
  Effect.gen(function* () {
    const { abandon, end, log, open } = yield* make
    const first = open("a")
    const waiting = open("b")
    const last = open("c")
    abandon(waiting)
    abandon(waiting)
    abandon(first)
    expect(log.splice(0)).toEqual(["a open", "a opened", "a cancel", "a ended", "c open", "c opened"])
    end(last, undefined)
    expect(log).toEqual(["c ended", "c OK undefined"])
  })
)

it.effect("a call ends once", () =>
  Effect.gen(function* () {
    const { abandon, cancel, log, open, timeOut } = yield* make
    const call = open("a")
    cancel(call, new NotFound({ message: "none" }))
    cancel(call, undefined)
    timeOut(call, 10)
    abandon(call)
    expect(log).toEqual(["a open", "a opened", "a cancel", "a ended", "a NotFound undefined"])
  })
)
