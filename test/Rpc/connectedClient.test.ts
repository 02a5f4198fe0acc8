/** A client of an RPC server, with no server behind it. */
import type { FromClientEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import * as ConnectedClient from "../../src/Rpc/internal/connectedClient.js"
import * as IncomingCall from "../../src/Transport/IncomingCall.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import * as Metadata from "../../src/Transport/Metadata.js"

const lines = (...frames: ReadonlyArray<unknown>) =>
  new TextEncoder().encode(frames.map((frame) => `${JSON.stringify(frame)}\n`).join(""))

const request = (id: string) => ({ _tag: "Request", id, tag: "Ping", payload: null, headers: [] })

const exit = (requestId: string) => ({
  _tag: "Exit" as const,
  requestId,
  exit: { _tag: "Success" as const, value: null }
})

/** What is sent to a client that sends these bytes and then stays, and what it asks for. */
const open = (...sent: ReadonlyArray<Uint8Array>) =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    const requests: Array<FromClientEncoded> = []
    const client = yield* ConnectedClient.make(
      {
        serialization: RpcSerialization.ndjson,
        boundary,
        maxRequests: 2,
        maxInterruptRate: 3,
        limits: { maxFrameSize: 10_000, maxFrameElements: 1000 }
      },
      IncomingCall.make({
        method: "/a.B/C",
        peer: { address: "peer:1", identity: Option.none() },
        metadata: Metadata.empty,
        deadline: Number.POSITIVE_INFINITY,
        draining: Effect.never,
        boundary,
        began: 0,
        system: "test",
        endConnection: () => {}
      }),
      (request) => Effect.sync(() => requests.push(request))
    )
    const messages = yield* Effect.forkScoped(Effect.either(Stream.runCollect(client.messages)))
    yield* client.receive(Stream.concat(Stream.fromIterable(sent), Stream.never))
    return { client, requests, ended: Fiber.join(messages) }
  })

it.scopedLive("has no more requests in flight than are allowed, and those that are answered leave room", () =>
  Effect.gen(function* () {
    const { client, ended, requests } = yield* open(lines(request("1"), request("2")), lines(request("3")))
    expect(yield* ended).toMatchObject({
      left: { _tag: "ResourceExhausted", message: "more than 2 requests in flight" }
    })
    expect(requests).toHaveLength(2)
    yield* client.send(exit("1"))
  })
)

it.scopedLive("ends once all requests are answered, where it is drained", () =>
  Effect.gen(function* () {
    const { client, ended, requests } = yield* open(lines(request("1"), request("2")))
    while (requests.length < 2) {
      yield* Effect.yieldNow()
    }
    yield* client.send(exit("1"))
    yield* client.drain
    yield* client.send(exit("2"))
    expect(yield* ended).toMatchObject({ _tag: "Right" })
  })
)

it.scopedLive("may interrupt so many times a second", () =>
  Effect.gen(function* () {
    const interrupt = { _tag: "Interrupt", requestId: "1", interruptors: [] }
    const { ended, requests } = yield* open(lines(...Array.from({ length: 20 }, () => interrupt)))
    expect(yield* ended).toMatchObject({
      left: { _tag: "ResourceExhausted", message: "more than 3 interrupts in a second" }
    })
    expect(requests.length).toBeGreaterThanOrEqual(3)
  })
)

it("the budget of a second comes back as time passes, and no more of it than a second's", () => {
  let now = 0
  const spend = ConnectedClient.makeBudget(2, () => now)
  expect([spend(), spend(), spend()]).toEqual([true, true, false])
  now = 1000
  expect([spend(), spend()]).toEqual([true, false])
  now = 100_000
  expect([spend(), spend(), spend()]).toEqual([true, true, false])
})
