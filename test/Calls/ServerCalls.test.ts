/** The rules of a call on the serving side, each seen from a wire that only writes down what it is asked for. */
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as FiberId from "effect/FiberId"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Metadata, NotFound, type StatusError } from "effect-transport"
import type { ServerWire } from "../../src/Calls/CallStream.js"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as HandlerFibers from "../../src/Calls/HandlerFibers.js"
import * as ServerCalls from "../../src/Calls/ServerCalls.js"
import type { Timing } from "../../src/Calls/Timing.js"
import type { IncomingCall } from "../../src/Transport/IncomingCall.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import type * as Route from "../../src/Transport/Route.js"
import { eventually } from "../suite/fixtures/expect.js"

const bytes = (text: string) => new TextEncoder().encode(text)
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes)

/** Takes "bad" for malformed, and can't encode "odd". */
const text = {
  encode: (value: unknown) => {
    if (value === "odd") {
      throw new Error("odd")
    }
    return bytes(String(value))
  },
  decode: (bytes: Uint8Array) => {
    const value = textOf(bytes)
    if (value === "bad") {
      throw new Error("bad")
    }
    return value
  }
}

type Handle = (request: string, call: IncomingCall) => Effect.Effect<unknown, StatusError>
type HandleStream = (
  requests: Stream.Stream<unknown, StatusError>,
  call: IncomingCall
) => Stream.Stream<unknown, StatusError>

const unaryPath = "/test.Calls/Unary"
const streamPath = "/test.Calls/Stream"

/** Time that passes when a test says so. */
const makeTime = () => {
  let now = 0
  let timers: Array<{ readonly due: number; readonly f: () => void }> = []
  const timing: Timing = {
    now: () => now,
    after: (millis, f) => {
      const timer = { due: now + millis, f }
      timers.push(timer)
      return () => {
        timers = timers.filter((other) => other !== timer)
      }
    }
  }
  return {
    timing,
    pass: (millis: number) => {
      now += millis
      for (const timer of timers.filter(({ due }) => due <= now)) {
        timers = timers.filter((other) => other !== timer)
        timer.f()
      }
    },
    armed: () => timers.length
  }
}

const entries = ({ entries }: Metadata.Metadata) =>
  entries.length === 0 ? "" : ` ${entries.map((entry) => entry.join("=")).join(" ")}`

interface Options {
  readonly unary?: Handle
  readonly stream?: HandleStream
  readonly reply?: boolean
  readonly maxMetadataSize?: number
}

/** One connection, and the log of what its wire was asked for. */
const open = ({ maxMetadataSize = 1000, reply = true, stream, unary }: Options = {}) =>
  Effect.gen(function* () {
    const boundary = yield* Boundary.make
    // A call that a test leaves behind would be in flight for the next file of its process.
    const inFlight = yield* HandlerFibers.make
    yield* Effect.addFinalizer(() => inFlight.drain(0))
    const clock = yield* Effect.clock
    const log: Array<string> = []
    const sent: Array<() => void> = []
    const time = makeTime()
    const state = { isFull: false, isHeldUp: false, throwsOn: "" }
    const throwing = (name: string) => {
      if (state.throwsOn === name) {
        throw new Error(name)
      }
    }
    const wire: ServerWire<string> = {
      maxMessageSize: () => 20,
      maxMetadataSize: () => maxMetadataSize,
      isFull: () => state.isFull,
      headers: (stream, metadata) => log.push(`${stream} headers${entries(metadata)}`),
      message: (stream, message, onSent) => {
        throwing("message")
        log.push(`${stream} message ${textOf(message)}`)
        if (state.isHeldUp) {
          sent.push(onSent)
        } else {
          onSent()
        }
      },
      reply: (stream, message, headers, trailers) => {
        throwing("reply")
        if (reply) {
          log.push(`${stream} reply ${textOf(message)}${entries(headers)}${entries(trailers)}`)
        }
        return reply
      },
      finish: (stream, error, trailers) =>
        log.push(`${stream} ${error === undefined ? "OK" : `${error._tag}: ${error.message}`}${entries(trailers)}`),
      abort: (stream, error, trailers) =>
        log.push(`${stream} abort ${error._tag}: ${error.message}${entries(trailers)}`),
      flush: () => {},
      release: (stream, cost, costOnConnection) => log.push(`${stream} release ${cost} ${costOnConnection}`),
      ended: (stream) => log.push(`${stream} ended`),
      useless: () => log.push("useless"),
      onThrown: (cause) => log.push(`thrown ${cause}`)
    }
    const base = { context: Context.empty() }
    const method = { input: text, output: text }
    const routes = new Map<string, Route.Route>([
      [
        unaryPath,
        {
          ...base,
          _tag: "Unary",
          method: { ...method, path: unaryPath, shape: "unary" },
          handle: (request, call) => (unary ?? Effect.succeed)(String(request), call)
        }
      ],
      [
        streamPath,
        {
          ...base,
          _tag: "Stream",
          method: { ...method, path: streamPath, shape: "bidiStreaming" },
          handle: stream ?? ((requests) => requests)
        }
      ]
    ])
    const deadlines = Deadlines.make(undefined, time.timing)
    const calls = ServerCalls.make(
      wire,
      { routes, inFlight, clock, boundary },
      {
        connection: { peer: { address: "peer:1", identity: Option.none() } },
        deadlines,
        settings: {
          maxCallDuration: { unary: 60_000, streaming: Number.POSITIVE_INFINITY },
          maxMessageElements: 100,
          maxMetadataSize: 100,
          maxReceiveMessageSize: 10
        }
      }
    )
    /** A call whose request has come, up to the end of the requests where `isLast` says so. */
    const begin = (path: string, request?: string, isLast = true, timeout = Number.POSITIVE_INFINITY) => {
      const call = calls.accept("1", path, Metadata.empty, timeout)
      if (call === undefined) {
        throw new Error("the call was not accepted")
      }
      calls.begin(call, request === undefined ? undefined : bytes(request), isLast)
      return call
    }
    return { calls, begin, log, sent, time, state, inFlight, deadlines }
  })

const logs = (log: ReadonlyArray<string>, expected: ReadonlyArray<string>) =>
  eventually(Effect.sync(() => expect(log).toEqual(expected)))

const large = Metadata.make({ "x-large": "x".repeat(2000) })

/** A handler that waits, and what tells whether it was interrupted. */
const waiting = () => {
  const state = { interrupted: 0, latch: Deferred.unsafeMake<void>(FiberId.none) }
  const handle = Effect.onInterrupt(Effect.as(Deferred.await(state.latch), "late"), () =>
    Effect.sync(() => {
      state.interrupted += 1
    })
  )
  return { state, handle }
}

describe("a call is refused for its head", () => {
  const cases: ReadonlyArray<readonly [string, string, Metadata.Metadata, number, string]> = [
    [
      "of a method that is not served",
      "/test.Calls/None",
      Metadata.empty,
      1000,
      "Unimplemented: unknown method /test.Calls/None"
    ],
    [
      "with too much metadata",
      unaryPath,
      Metadata.make({ k: "x".repeat(200) }),
      1000,
      "ResourceExhausted: metadata has more than the 100 bytes allowed"
    ],
    ["with a malformed timeout", unaryPath, Metadata.empty, Number.NaN, "Internal: the timeout is malformed"],
    ["with no time left", streamPath, Metadata.empty, 0, "DeadlineExceeded: the deadline passed"],
    ["with less than no time left", unaryPath, Metadata.empty, -5, "DeadlineExceeded: the deadline passed"]
  ]
  for (const [name, path, metadata, timeout, status] of cases) {
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const { calls, log, time } = yield* open()
        expect(calls.accept("1", path, metadata, timeout)).toBeUndefined()
        expect(log).toEqual(["useless", `1 ${status}`])
        expect(time.armed()).toBe(0)
      })
    )
  }

  it.scopedLive("for a reason of the wire's, with the metadata of that", () =>
    Effect.gen(function* () {
      const { calls, log } = yield* open()
      calls.reject("1", new NotFound({ message: "no", metadata: Metadata.make({ why: "w" }) }))
      expect(log).toEqual(["useless", "1 NotFound: no why=w"])
    })
  )
})

describe("a unary call", () => {
  const cases: ReadonlyArray<readonly [string, Options, string, ReadonlyArray<string>]> = [
    ["is answered in one piece", {}, "hello", ["1 reply hello", "1 ended"]],
    [
      "is answered in pieces where the wire can't",
      { reply: false },
      "hello",
      ["1 headers", "1 message hello", "1 OK", "1 ended"]
    ],
    [
      "carries the metadata of its handler",
      {
        unary: (request, call) =>
          Effect.as(Effect.zipRight(call.setHeaders({ h: "1" }), call.setTrailers({ t: "2" })), request)
      },
      "hello",
      ["1 reply hello h=1 t=2", "1 ended"]
    ],
    [
      "that fails sends its status alone, with the trailers of both",
      {
        unary: (_, call) =>
          Effect.zipRight(
            call.setTrailers({ t: "1" }),
            Effect.fail(new NotFound({ message: "no", metadata: Metadata.make({ e: "2" }) }))
          )
      },
      "hello",
      ["1 NotFound: no t=1 e=2", "1 ended"]
    ],
    [
      "that fails sends headers only where there are some",
      {
        unary: (_, call) => Effect.zipRight(call.setHeaders({ h: "1" }), Effect.fail(new NotFound({ message: "no" })))
      },
      "hello",
      ["1 headers h=1", "1 NotFound: no", "1 ended"]
    ],
    [
      "fails where its response metadata does not fit",
      { unary: (request, call) => Effect.as(call.setTrailers(large), request) },
      "hello",
      ["1 ResourceExhausted: metadata has more than the 1000 bytes allowed", "1 ended"]
    ],
    [
      "keeps the metadata of an error before the trailers where both are too much",
      {
        unary: (_, call) =>
          Effect.zipRight(
            call.setTrailers(large),
            Effect.fail(new NotFound({ message: "no", metadata: Metadata.make({ e: "2" }) }))
          )
      },
      "hello",
      ["1 NotFound: no e=2", "1 ended"]
    ],
    [
      "fails where its answer can't be encoded",
      { unary: () => Effect.succeed("odd") },
      "hello",
      ["1 Internal: the message can't be encoded", "1 ended"]
    ],
    [
      "fails where its answer is too large for both ends",
      { unary: () => Effect.succeed("x".repeat(21)) },
      "hello",
      ["1 ResourceExhausted: the message to send has 21 bytes, more than the 20 allowed", "1 ended"]
    ],
    [
      "fails where its request can't be decoded",
      {},
      "bad",
      ["1 abort Internal: the received message is malformed", "1 ended"]
    ],
    [
      "fails where its request is too large",
      {},
      "x".repeat(11),
      ["1 abort ResourceExhausted: the received message has more than the 10 bytes allowed", "1 ended"]
    ],
    [
      "whose handler interrupts itself is cancelled",
      { unary: () => Effect.interrupt },
      "hello",
      ["1 Cancelled: the handler was interrupted", "1 ended"]
    ],
    [
      "whose handler dies tells nothing of that",
      { unary: () => Effect.die(new Error("secret")) },
      "hello",
      ["1 Internal: internal error", "1 ended"]
    ]
  ]
  for (const [name, options, request, expected] of cases) {
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const { begin, log, time } = yield* open(options)
        const call = begin(unaryPath, request)
        yield* logs(log, expected)
        expect(call.isOver).toBe(true)
        time.pass(100_000)
        expect(log).toEqual(expected)
      })
    )
  }

  it.scopedLive(
    "gives back what its request cost when it has been decoded, and what came along with its head cost nothing",
    () =>
      Effect.gen(function* () {
        const { begin, calls, log } = yield* open()
        const call = begin(unaryPath, undefined, false)
        calls.onMessage(call, bytes("hello"), 7, 6)
        expect(log).toEqual([])
        calls.onHalfClose(call)
        expect(log).toEqual(["1 release 7 6", "1 reply hello", "1 ended"])
      })
  )

  it.scopedLive("takes no second request, and no end without one", () =>
    Effect.gen(function* () {
      const { begin, calls, log } = yield* open()
      const call = begin(unaryPath, "a", false)
      calls.onMessage(call, bytes("b"), 1, 1)
      calls.onMessage(call, bytes("c"), 1, 1)
      calls.onHalfClose(call)
      expect(log.splice(0)).toEqual([
        `1 abort Unimplemented: ${unaryPath} takes one request message, more came`,
        "1 ended"
      ])
      begin(unaryPath)
      expect(log).toEqual([`1 abort Unimplemented: ${unaryPath} takes one request message, none came`, "1 ended"])
    })
  )

  it.scopedLive("waits with its answer while too much is unsent, and is not answered once it is given up", () =>
    Effect.gen(function* () {
      const { begin, calls, log, state } = yield* open()
      state.isFull = true
      const [first, second] = [begin(unaryPath, "a"), begin(unaryPath, "b")]
      calls.onRoom()
      expect(log).toEqual([])
      calls.onReset(second)
      expect(log.splice(0)).toEqual(["1 ended"])
      state.isFull = false
      calls.onRoom()
      calls.onRoom()
      expect(log).toEqual(["1 reply a", "1 ended"])
      expect(first.isOver).toBe(true)
    })
  )

  it.scopedLive("keeps its deadline until its answer has left", () =>
    Effect.gen(function* () {
      const { begin, log, sent, state, time } = yield* open({ reply: false })
      state.isHeldUp = true
      begin(unaryPath, "a", true, 1000)
      time.pass(999)
      expect(log.splice(0)).toEqual(["1 headers", "1 message a"])
      time.pass(1)
      expect(log.splice(0)).toEqual(["1 abort DeadlineExceeded: the deadline passed", "1 ended"])
      for (const onSent of sent) {
        onSent()
      }
      expect(log).toEqual([])
    })
  )

  it.scopedLive("that throws where it is answered is answered once more, without metadata", () =>
    Effect.gen(function* () {
      const { begin, calls, log, state } = yield* open({
        unary: (request, call) => Effect.as(call.setHeaders({ h: "1" }), request)
      })
      state.throwsOn = "reply"
      const call = begin(unaryPath, "a")
      expect(log).toEqual(["1 Internal: internal error", "1 ended"])
      calls.onReset(call)
      expect(log).toHaveLength(2)
    })
  )
})

describe("the end of a call from outside", () => {
  it.scopedLive("interrupts its handler and sends nothing when the caller gives it up", () =>
    Effect.gen(function* () {
      const { handle, state } = waiting()
      const { begin, calls, log, time } = yield* open({ unary: () => handle })
      const call = begin(unaryPath, "a")
      calls.onReset(call)
      calls.onReset(call)
      calls.onMessage(call, bytes("b"), 1, 1)
      calls.onHalfClose(call)
      calls.fail(call, new NotFound({ message: "no" }))
      yield* eventually(Effect.sync(() => expect(state.interrupted).toBe(1)))
      time.pass(100_000)
      expect(log).toEqual(["1 ended"])
    })
  )

  it.scopedLive("is told before the handler is interrupted where this side ends it, and once", () =>
    Effect.gen(function* () {
      const { handle, state } = waiting()
      const { begin, calls, log } = yield* open({ unary: () => handle })
      const call = begin(unaryPath, "a")
      calls.fail(call, new NotFound({ message: "no" }))
      expect(log).toEqual(["1 abort NotFound: no", "1 ended"])
      expect(state.interrupted).toBe(0)
      yield* eventually(Effect.sync(() => expect(state.interrupted).toBe(1)))
      expect(log).toHaveLength(2)
    })
  )

  const deadlines: ReadonlyArray<readonly [string, string, number, number, ReadonlyArray<string>]> = [
    ["the caller's time", unaryPath, 1000, 1000, ["1 abort DeadlineExceeded: the deadline passed", "1 ended"]],
    [
      "the listener's, where that is shorter",
      unaryPath,
      Number.POSITIVE_INFINITY,
      60_000,
      [
        "1 abort DeadlineExceeded: the call took longer than 1m, the limit of the node that handled it (maxCallDuration)",
        "1 ended"
      ]
    ],
    [
      "the caller's time for a stream",
      streamPath,
      90_000,
      90_000,
      ["1 abort DeadlineExceeded: the deadline passed", "1 ended"]
    ],
    [
      "a time that is too short to be of use",
      unaryPath,
      10,
      10,
      ["useless", "1 abort DeadlineExceeded: the deadline passed", "1 ended"]
    ]
  ]
  for (const [name, path, timeout, passes, expected] of deadlines) {
    it.scopedLive(`comes after ${name}`, () =>
      Effect.gen(function* () {
        const { handle, state } = waiting()
        const { begin, log, time } = yield* open({ unary: () => handle, stream: () => Stream.fromEffect(handle) })
        begin(path, "a", true, timeout)
        time.pass(passes - 1)
        expect(log).toEqual([])
        time.pass(1)
        expect(log).toEqual(expected)
        yield* eventually(Effect.sync(() => expect(state.interrupted).toBe(1)))
        expect(log).toEqual(expected)
      })
    )
  }

  it.scopedLive("is Unavailable where the listener shuts down under it", () =>
    Effect.gen(function* () {
      const { handle } = waiting()
      const { begin, inFlight, log } = yield* open({ unary: () => handle, stream: () => Stream.fromEffect(handle) })
      begin(unaryPath, "a")
      begin(streamPath, "a")
      yield* inFlight.drain("1 millis")
      const end = ["1 Unavailable: the peer shut down", "1 ended"]
      expect(log).toEqual([...end, ...end])
    })
  )
})

describe("a call that streams", () => {
  it.scopedLive("sends headers once, each message, and its status", () =>
    Effect.gen(function* () {
      const { begin, calls, log } = yield* open({
        stream: (requests, call) =>
          Stream.fromEffect(call.setHeaders({ h: "1" })).pipe(
            Stream.drain,
            Stream.concat(requests),
            Stream.concat(Stream.drain(Stream.fromEffect(call.setTrailers({ t: "2" }))))
          )
      })
      const call = begin(streamPath, undefined, false)
      calls.onMessage(call, bytes("a"), 2, 1)
      calls.onMessage(call, bytes("b"), 3, 1)
      calls.onHalfClose(call)
      yield* eventually(Effect.sync(() => expect(call.isOver).toBe(true)))
      const released = log
        .filter((line) => line.includes("release"))
        .map((line) => line.split(" ").slice(2).map(Number))
      expect(released.reduce(([a = 0, b = 0], [c = 0, d = 0]) => [a + c, b + d], [0, 0])).toEqual([5, 2])
      expect(log.filter((line) => !line.includes("release"))).toEqual([
        "1 headers h=1",
        "1 message a",
        "1 message b",
        "1 OK t=2",
        "1 ended"
      ])
    })
  )

  it.scopedLive("without answers sends headers and status", () =>
    Effect.gen(function* () {
      const { begin, log } = yield* open()
      begin(streamPath)
      yield* logs(log, ["1 headers", "1 OK", "1 ended"])
    })
  )

  it.scopedLive("gives its handler what came before a request that can't be decoded, and fails with that", () =>
    Effect.gen(function* () {
      const { begin, calls, log } = yield* open()
      const call = begin(streamPath, "a", false)
      calls.onMessage(call, bytes("bad"), 1, 1)
      yield* eventually(Effect.sync(() => expect(call.isOver).toBe(true)))
      expect(log.filter((line) => !line.includes("release"))).toEqual([
        "1 headers",
        "1 message a",
        "1 Internal: the received message is malformed",
        "1 ended"
      ])
    })
  )

  it.scopedLive("sends a message when the one before has left, and waits while too much is unsent", () =>
    Effect.gen(function* () {
      const { begin, calls, log, sent, state } = yield* open({ stream: () => Stream.make("a", "b", "c") })
      state.isHeldUp = true
      begin(streamPath)
      yield* logs(log, ["1 headers", "1 message a"])
      sent.shift()?.()
      yield* logs(log, ["1 headers", "1 message a", "1 message b"])
      state.isFull = true
      sent.shift()?.()
      calls.onRoom()
      expect(log).toHaveLength(3)
      state.isFull = false
      state.isHeldUp = false
      calls.onRoom()
      yield* logs(log, ["1 headers", "1 message a", "1 message b", "1 message c", "1 OK", "1 ended"])
    })
  )

  it.scopedLive("sends nothing more once it is over, whatever is still on its way", () =>
    Effect.gen(function* () {
      const { begin, calls, log, sent, state } = yield* open({ stream: () => Stream.make("a", "b") })
      state.isHeldUp = true
      const call = begin(streamPath, undefined, false)
      yield* logs(log, ["1 headers", "1 message a"])
      calls.fail(call, new NotFound({ message: "no" }))
      sent.shift()?.()
      calls.onRoom()
      expect(log).toEqual(["1 headers", "1 message a", "1 abort NotFound: no", "1 ended"])
    })
  )

  const failures: ReadonlyArray<readonly [string, HandleStream, ReadonlyArray<string>]> = [
    [
      "fails where its headers do not fit, before a message",
      (_, call) => Stream.as(Stream.fromEffect(call.setHeaders(large)), "a"),
      ["1 ResourceExhausted: metadata has more than the 1000 bytes allowed", "1 ended"]
    ],
    [
      "fails where its trailers do not fit, after its messages",
      (_, call) => Stream.concat(Stream.make("a"), Stream.drain(Stream.fromEffect(call.setTrailers(large)))),
      ["1 headers", "1 message a", "1 ResourceExhausted: metadata has more than the 1000 bytes allowed", "1 ended"]
    ],
    [
      "fails where a message can't be encoded",
      () => Stream.make("a", "odd", "b"),
      ["1 headers", "1 message a", "1 Internal: the message can't be encoded", "1 ended"]
    ],
    [
      "fails as its handler does",
      () => Stream.concat(Stream.make("a"), Stream.fail(new NotFound({ message: "no" }))),
      ["1 headers", "1 message a", "1 NotFound: no", "1 ended"]
    ]
  ]
  for (const [name, stream, expected] of failures) {
    it.scopedLive(name, () =>
      Effect.gen(function* () {
        const { begin, log } = yield* open({ stream })
        begin(streamPath)
        yield* logs(log, expected)
      })
    )
  }

  it.scopedLive("ends its connection for what the wire throws where nobody waits for it", () =>
    Effect.gen(function* () {
      const { begin, log, state } = yield* open({ stream: () => Stream.make("a") })
      state.throwsOn = "message"
      begin(streamPath, undefined, false)
      yield* logs(log, ["1 headers", "thrown Error: message"])
    })
  )
})

it.scopedLive("a handler is interrupted whose connection ends while it begins", () =>
  Effect.gen(function* () {
    const { handle, state } = waiting()
    let end = () => {}
    const { calls, log } = yield* open({
      unary: () =>
        Effect.zipRight(
          Effect.sync(() => end()),
          handle
        )
    })
    const call = calls.accept("1", unaryPath, Metadata.empty, Number.POSITIVE_INFINITY)
    if (call === undefined) {
      throw new Error("the call was not accepted")
    }
    end = () => calls.onReset(call)
    calls.begin(call, bytes("a"), true)
    yield* eventually(Effect.sync(() => expect(state.interrupted).toBe(1)))
    expect(log).toEqual(["1 ended"])
  })
)
