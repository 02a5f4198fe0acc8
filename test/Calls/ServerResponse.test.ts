/** What is sent for a call, from the exit of its handler to its status. */
import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Metadata, NotFound } from "effect-transport"
import type { ServerStream } from "../../src/Calls/CallStream.js"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as HandlerFibers from "../../src/Calls/HandlerFibers.js"
import * as ServerResponse from "../../src/Calls/ServerResponse.js"
import * as IncomingCall from "../../src/Transport/IncomingCall.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"

const text = {
  encode: (value: unknown) => new TextEncoder().encode(String(value)),
  decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes)
}

const open = Effect.gen(function* () {
  const boundary = yield* Boundary.make
  const inFlight = yield* HandlerFibers.make
  const log: Array<string> = []
  const state = { isFull: false, takesReply: true }
  const peer = { address: "peer:1", identity: Option.none() }
  const response = ServerResponse.make<string>(
    {
      maxMessageSize: () => 20,
      maxMetadataSize: () => 1000,
      isFull: () => state.isFull,
      headers: (stream) => log.push(`${stream} headers`),
      message: (stream, bytes, sent) => {
        log.push(`${stream} message ${text.decode(bytes)}`)
        sent()
      },
      reply: (stream, bytes) => {
        if (state.takesReply) {
          log.push(`${stream} reply ${text.decode(bytes)}`)
        }
        return state.takesReply
      },
      finish: (stream, error) => log.push(`${stream} ${error?._tag ?? "OK"}`),
      abort: (stream, error) => log.push(`${stream} abort ${error._tag}`),
      flush: () => {},
      release: () => {},
      ended: (stream) => log.push(`${stream} ended`),
      useless: () => log.push("useless"),
      onThrown: (cause) => log.push(`thrown ${cause}`)
    },
    Deadlines.make(),
    boundary,
    () => 0
  )
  const call = (stream: string): ServerStream<string> => ({
    stream,
    route: {
      _tag: "Unary",
      method: { path: "/a.B/C", shape: "unary", input: text, output: text },
      context: Context.empty(),
      handle: Effect.succeed
    },
    inFlight,
    incoming: IncomingCall.make({
      method: "/a.B/C",
      peer,
      metadata: Metadata.empty,
      deadline: Number.POSITIVE_INFINITY,
      draining: inFlight.draining,
      boundary,
      began: 0,
      system: "test",
      endConnection: () => {}
    }),
    where: { method: "/a.B/C", peer: peer.address },
    metrics: undefined,
    wanted: Number.POSITIVE_INFINITY,
    timeout: Number.POSITIVE_INFINITY,
    inbox: undefined,
    request: undefined,
    cost: 0,
    costOnConnection: 0,
    handler: undefined,
    deadline: undefined,
    answer: undefined,
    isOver: false
  })
  return { response, call, log, state }
})

const notFound = new NotFound({ message: "none" })

it.scopedLive("answers wait for room in their order, without those whose calls have ended", () =>
  Effect.gen(function* () {
    const { call, log, response, state } = yield* open
    state.isFull = true
    const calls = ["1", "2", "3", "4"].map(call)
    for (const each of calls) {
      response.onUnaryExit(each, Exit.succeed(each.stream))
    }
    const [, second, third] = calls as [ServerStream<string>, ServerStream<string>, ServerStream<string>]
    response.abandon(second)
    response.fail(third, notFound)
    response.onRoom()
    expect(log.splice(0)).toEqual(["2 ended", "3 abort NotFound", "3 ended"])
    state.isFull = false
    response.onRoom()
    response.onRoom()
    expect(log).toEqual(["1 reply 1", "1 ended", "4 reply 4", "4 ended"])
  })
)

it.scopedLive("an error needs no room", () =>
  Effect.gen(function* () {
    const { call, log, response, state } = yield* open
    state.isFull = true
    response.onUnaryExit(call("1"), Exit.fail(notFound))
    response.reject("2", notFound)
    expect(log).toEqual(["1 NotFound", "1 ended", "useless", "2 NotFound"])
  })
)

it.scopedLive("headers go once, before whatever is sent first", () =>
  Effect.gen(function* () {
    const { call, log, response, state } = yield* open
    const streaming = call("1")
    yield* response.sendAll(streaming, Stream.make("a", "b"))
    response.onStreamExit(streaming, Exit.void)
    response.onStreamExit(call("2"), Exit.void)
    state.takesReply = false
    response.onUnaryExit(call("3"), Exit.succeed("c"))
    expect(log).toEqual([
      ...["1 headers", "1 message a", "1 message b", "1 OK", "1 ended"],
      ...["2 headers", "2 OK", "2 ended"],
      ...["3 headers", "3 message c", "3 OK", "3 ended"]
    ])
  })
)

it.scopedLive("a call ends once, and nothing is sent after that", () =>
  Effect.gen(function* () {
    const { call, log, response } = yield* open
    const ended = call("1")
    response.fail(ended, notFound)
    response.fail(ended, notFound)
    response.abandon(ended)
    yield* Effect.fork(response.sendAll(ended, Stream.make("a")))
    yield* Effect.yieldNow()
    expect(log).toEqual(["1 abort NotFound", "1 ended"])
  })
)
