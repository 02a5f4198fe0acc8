import { describe, expect, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { ClientCall } from "../../src/Calls/CallStream.js"
import * as ClientCalls from "../../src/Calls/ClientCalls.js"
import * as Deadlines from "../../src/Calls/Deadlines.js"
import * as StreamQuota from "../../src/Calls/StreamQuota.js"
import type { OutgoingCall } from "../../src/Transport/Connection.js"
import * as Boundary from "../../src/Transport/internal/boundary.js"
import * as Metadata from "../../src/Transport/Metadata.js"
import type * as Method from "../../src/Transport/Method.js"
import { NotFound } from "../../src/Transport/TransportError.js"

const text: Method.Codec<string, string> = {
  encode: (value) => {
    if (value === "unencodable") {
      throw new Error(value)
    }
    return new TextEncoder().encode(value)
  },
  decode: (bytes) => {
    const value = new TextDecoder().decode(bytes)
    if (value === "malformed") {
      throw new Error(value)
    }
    return value
  }
}
const method = <S extends Method.Shape>(shape: S): Method.Method<string, string, S, string, string> => ({
  path: "/a.B/C",
  shape,
  input: text,
  output: text
})
const unaryMethod = method("unary")
const streamMethod = method("bidiStreaming")
const where = { method: "/a.B/C", peer: "peer:1" }

const options: OutgoingCall = {
  metadata: Metadata.empty,
  timeout: Number.POSITIVE_INFINITY,
  waitForReady: false,
  onHeaders: undefined,
  onTrailers: undefined
}

const metadata = (size: number) => Metadata.unsafeFromEntries([["x-a", "a".repeat(size - 35)]])
const bytes = (value: string) => new TextEncoder().encode(value)

interface FakeStream {
  readonly call: ClientCall<FakeStream>
  readonly timeout: number
  readonly log: Array<string>
  /** What is handed over and not released. */
  charged: number
  sent: (() => void) | undefined
}

/** Calls on a wire that does nothing but remember, with a clock that stands still. */
const make = Effect.gen(function* () {
  const state = {
    room: Number.POSITIVE_INFINITY,
    isClosed: false,
    openThrows: false,
    isSlow: false,
    answered: 0,
    timedOut: [] as number[],
    thrown: [] as unknown[]
  }
  const clock = { now: 0, timers: new Set<{ readonly due: number; readonly f: () => void }>() }
  const advance = (millis: number) => {
    clock.now += millis
    for (const timer of [...clock.timers].filter(({ due }) => due <= clock.now)) {
      clock.timers.delete(timer)
      timer.f()
    }
  }
  const deadlines = Deadlines.make(undefined, {
    now: () => clock.now,
    after: (millis, f) => {
      const timer = { due: clock.now + millis, f }
      clock.timers.add(timer)
      return () => clock.timers.delete(timer)
    }
  })
  const streams: Array<FakeStream> = []
  const quota = StreamQuota.make(
    () => state.room > 0,
    () => state.isClosed,
    deadlines,
    (cause) => state.thrown.push(cause)
  )
  const calls = ClientCalls.make<FakeStream>({
    wire: {
      isClosed: () => state.isClosed,
      maxMetadataSize: () => 100,
      maxMessageSize: () => 20,
      maxPathLength: 10,
      open: (call, timeout, request) => {
        if (state.openThrows) {
          throw new Error("no")
        }
        state.room -= 1
        const first = request === undefined ? "" : ` ${new TextDecoder().decode(request)}`
        const stream: FakeStream = { call, timeout, log: [`open${first}`], charged: 0, sent: undefined }
        streams.push(stream)
        return stream
      },
      message: (stream, message, sent) => {
        stream.log.push(`message ${new TextDecoder().decode(message)}`)
        if (state.isSlow) {
          stream.sent = sent
        } else {
          sent()
        }
      },
      flush: () => {},
      halfClose: ({ log }) => log.push("halfClose"),
      release: (stream, cost, costOnConnection) => {
        expect(costOnConnection).toBe(2 * cost)
        stream.charged -= cost
      },
      cancel: ({ log }) => log.push("cancel"),
      ended: ({ log }) => {
        log.push("ended")
        state.room += 1
      },
      onTimeout: ({ log }, timeout) => log.push(`timeout ${timeout}`),
      onThrown: (cause) => state.thrown.push(cause)
    },
    peer: where.peer,
    settings: { maxMetadataSize: 100, maxReceiveMessageSize: 20, maxMessageElements: 1000 },
    quota,
    deadlines,
    progress: {
      answered: () => {
        state.answered += 1
      },
      timedOut: (timeout) => state.timedOut.push(timeout)
    },
    boundary: yield* Boundary.unscoped
  })
  const at = (index: number): FakeStream => {
    const stream = streams[index]
    if (stream === undefined) {
      throw new Error(`no stream ${index}`)
    }
    return stream
  }
  const reply = (stream: FakeStream, message: string) => {
    stream.charged += message.length
    calls.onMessage(stream.call, bytes(message), message.length, 2 * message.length)
  }
  return {
    state,
    advance,
    clock,
    quota,
    streams,
    calls,
    at,
    reply,
    ok: ({ call }: FakeStream, trailers = Metadata.empty) => calls.onTrailers(call, trailers, undefined),
    unary: (request: string, own: Partial<OutgoingCall> = {}) =>
      calls.connection.unary(unaryMethod, request, { ...options, ...own }),
    stream: <E = never>(requests: Stream.Stream<string, E>, own: Partial<OutgoingCall> = {}) =>
      calls.connection.stream(streamMethod, requests, { ...options, ...own })
  }
})

/** Runs what a fiber can do without anybody's help. */
const settle = Effect.promise(() => new Promise<void>((resolve) => setImmediate(() => setImmediate(resolve))))

const begin = <A, E>(effect: Effect.Effect<A, E>) => Effect.zipLeft(Effect.fork(Effect.exit(effect)), settle)

const failure = <A, E>(fiber: Fiber.Fiber<Exit.Exit<A, E>>) =>
  Effect.map(
    Fiber.join(fiber),
    Exit.match({ onFailure: (cause) => Cause.squash(cause), onSuccess: (value) => ({ succeeded: value }) })
  )

const value = <A, E>(fiber: Fiber.Fiber<Exit.Exit<A, E>>) => Effect.flatten(Fiber.join(fiber))

describe("a unary call", () => {
  it.effect("opens its stream with all of the request, and ends with the one message", () =>
    Effect.gen(function* () {
      const { at, ok, reply, unary } = yield* make
      const fiber = yield* begin(unary("hello"))
      reply(at(0), "you")
      ok(at(0))
      expect(yield* value(fiber)).toBe("you")
      expect(at(0).log).toEqual(["open hello", "ended"])
      expect(at(0).charged).toBe(0)
    })
  )

  it.effect("is Unimplemented without a message, and with a second one, which cancels it", () =>
    Effect.gen(function* () {
      const { at, ok, reply, unary } = yield* make
      const none = yield* begin(unary("a"))
      ok(at(0))
      expect(yield* failure(none)).toMatchObject({
        _tag: "Unimplemented",
        message: "/a.B/C takes one response message, none came",
        ...where
      })
      const more = yield* begin(unary("b"))
      reply(at(1), "1")
      reply(at(1), "2")
      expect(yield* failure(more)).toMatchObject({
        _tag: "Unimplemented",
        message: "/a.B/C takes one response message, more came",
        ...where
      })
      expect(at(0).log).toEqual(["open a", "ended"])
      expect(at(1).log).toEqual(["open b", "cancel", "ended"])
      expect(at(1).charged).toBe(0)
    })
  )

  it.effect("has the error of its status, whatever messages came", () =>
    Effect.gen(function* () {
      const { at, calls, reply, unary } = yield* make
      const fiber = yield* begin(unary("a"))
      reply(at(0), "1")
      calls.onTrailers(at(0).call, Metadata.empty, new NotFound({ message: "none", ...where }))
      expect(yield* failure(fiber)).toMatchObject({ _tag: "NotFound", message: "none" })
      expect(at(0).log).toEqual(["open a", "ended"])
    })
  )

  it.effect("fails with a reply that can't be read", () =>
    Effect.gen(function* () {
      const { at, ok, reply, unary } = yield* make
      const malformed = yield* begin(unary("a"))
      reply(at(0), "malformed")
      ok(at(0))
      expect(yield* failure(malformed)).toMatchObject({
        _tag: "Internal",
        message: "the received message is malformed"
      })
      const large = yield* begin(unary("a"))
      reply(at(1), "a".repeat(21))
      ok(at(1))
      expect(yield* failure(large)).toMatchObject({
        _tag: "ResourceExhausted",
        message: "the received message has more than the 20 bytes allowed",
        ...where
      })
    })
  )

  it.effect("that can't be made opens nothing", () =>
    Effect.gen(function* () {
      const { calls, quota, state, streams, unary } = yield* make
      expect(yield* Effect.flip(unary("a".repeat(21)))).toMatchObject({
        _tag: "ResourceExhausted",
        message: "the message to send has 21 bytes, more than the 20 allowed",
        ...where
      })
      expect(yield* Effect.flip(unary("unencodable"))).toMatchObject({ _tag: "Internal", ...where })
      expect(yield* Effect.flip(unary("a", { metadata: metadata(101) }))).toMatchObject({
        _tag: "ResourceExhausted",
        message: "metadata has more than the 100 bytes allowed",
        ...where
      })
      const long = { ...unaryMethod, path: "/a.B/Method" }
      expect(yield* Effect.flip(calls.connection.unary(long, "a", options))).toMatchObject({
        _tag: "InvalidArgument",
        message: "a method's path has at most 10 bytes"
      })
      state.isClosed = true
      expect(yield* Effect.flip(unary("a"))).toMatchObject({ _tag: "Unavailable", processed: "no", ...where })
      state.isClosed = false
      state.openThrows = true
      const notSent = { _tag: "Internal", message: "the call can't be sent", ...where }
      expect(yield* Effect.flip(unary("a"))).toMatchObject(notSent)
      state.room = 0
      const waiting = yield* begin(unary("a"))
      state.room = 1
      quota.advance()
      expect(yield* failure(waiting)).toMatchObject(notSent)
      expect(state.thrown).toHaveLength(1)
      expect(streams).toEqual([])
    })
  )

  it.effect("is cancelled by an interruption, also in the turn in which it began", () =>
    Effect.gen(function* () {
      const { at, ok, reply, unary } = yield* make
      const later = yield* begin(unary("a"))
      yield* Fiber.interrupt(later)
      expect(at(0).log).toEqual(["open a", "cancel", "ended"])
      const fiber = yield* Effect.fork(unary("b"))
      yield* Effect.yieldNow()
      yield* Fiber.interrupt(fiber)
      expect(at(1).log).toEqual(["open b", "cancel", "ended"])
      reply(at(1), "late")
      ok(at(1))
      expect(at(1).log).toEqual(["open b", "cancel", "ended"])
    })
  )

  it.effect("may run again: each run is a call", () =>
    Effect.gen(function* () {
      const { at, calls, ok, reply, unary } = yield* make
      const fiber = yield* begin(Effect.retry(unary("a"), { times: 1 }))
      calls.onTrailers(at(0).call, Metadata.empty, new NotFound({ message: "none" }))
      yield* settle
      reply(at(1), "2")
      ok(at(1))
      expect(yield* value(fiber)).toBe("2")
    })
  )
})

describe("headers and trailers", () => {
  it.effect("are reported once each, headers first, and empty where none came", () =>
    Effect.gen(function* () {
      const { at, calls, ok, reply, unary } = yield* make
      const seen: Array<string> = []
      const note = (what: string) => (metadata: Metadata.Metadata) => seen.push(`${what} ${metadata.entries.length}`)
      const own = { onHeaders: note("headers"), onTrailers: note("trailers") }
      const both = yield* begin(unary("a", own))
      calls.onHeaders(at(0).call, metadata(40))
      calls.onHeaders(at(0).call, metadata(40))
      reply(at(0), "1")
      ok(at(0), metadata(40))
      ok(at(0), metadata(40))
      yield* value(both)
      expect(seen.splice(0)).toEqual(["headers 1", "trailers 1"])
      const none = yield* begin(unary("a", own))
      reply(at(1), "1")
      expect(seen).toEqual(["headers 0"])
      ok(at(1))
      yield* value(none)
      expect(seen.splice(0)).toEqual(["headers 0", "trailers 0"])
      const alone = yield* begin(unary("a", own))
      calls.onTrailers(at(2).call, metadata(40), new NotFound({ message: "none" }))
      yield* failure(alone)
      expect(seen.splice(0)).toEqual(["headers 0", "trailers 1"])
      const reset = yield* begin(unary("a", own))
      calls.onReset(at(3).call, new NotFound({ message: "none" }))
      yield* failure(reset)
      expect(seen).toEqual([])
    })
  )

  it.effect("that are too large fail the call, whose own error arrives all the same", () =>
    Effect.gen(function* () {
      const { at, calls, ok, reply, unary } = yield* make
      const tooLarge = { _tag: "ResourceExhausted", message: "metadata has more than the 100 bytes allowed", ...where }
      const seen: Array<number> = []
      const note = ({ entries }: Metadata.Metadata) => seen.push(entries.length)
      const message = yield* begin(unary("a", { onHeaders: note }))
      calls.onHeaders(at(0).call, metadata(101))
      reply(at(0), "1")
      expect(yield* failure(message)).toMatchObject(tooLarge)
      expect(at(0).log).toEqual(["open a", "cancel", "ended"])
      expect(at(0).charged).toBe(0)
      const error = yield* begin(unary("a", { onHeaders: note }))
      calls.onHeaders(at(1).call, metadata(101))
      calls.onTrailers(at(1).call, Metadata.empty, new NotFound({ message: "none" }))
      expect(yield* failure(error)).toMatchObject({ _tag: "NotFound" })
      const trailers = yield* begin(unary("a", { onTrailers: note }))
      reply(at(2), "1")
      ok(at(2), metadata(101))
      expect(yield* failure(trailers)).toMatchObject(tooLarge)
      expect(seen).toEqual([0, 0, 0])
      expect(calls.withinLimit(metadata(101))).toBe(Metadata.empty)
      expect(calls.withinLimit(metadata(100)).entries).toHaveLength(1)
    })
  )
})

describe("the deadline", () => {
  it.effect("cancels a call that is open", () =>
    Effect.gen(function* () {
      const { advance, at, clock, ok, state, unary } = yield* make
      const fiber = yield* begin(unary("a", { timeout: 50 }))
      expect(at(0).timeout).toBe(50)
      advance(49)
      expect(at(0).log).toEqual(["open a"])
      advance(1)
      expect(yield* failure(fiber)).toMatchObject({
        _tag: "DeadlineExceeded",
        message: "the deadline passed",
        ...where
      })
      expect(at(0).log).toEqual(["open a", "timeout 50", "cancel", "ended"])
      expect(state.timedOut).toEqual([50])
      ok(at(0))
      expect(state.answered).toBe(0)
      expect(clock.timers.size).toBe(0)
    })
  )

  it.effect("ends a call that waits for the quota, and what is left of it counts once it opens", () =>
    Effect.gen(function* () {
      const { advance, at, quota, state, streams, unary } = yield* make
      state.room = 0
      const late = yield* begin(unary("late", { timeout: 50 }))
      const next = yield* begin(unary("next", { timeout: 80 }))
      advance(50)
      expect(yield* failure(late)).toMatchObject({
        _tag: "DeadlineExceeded",
        message: "the deadline passed before the peer took the call",
        ...where
      })
      expect(streams).toEqual([])
      expect(state.timedOut).toEqual([])
      state.room = 1
      const overtaking = yield* begin(unary("overtaking"))
      expect(streams).toEqual([])
      quota.advance()
      expect(at(0).log).toEqual(["open next"])
      expect(at(0).timeout).toBe(30)
      yield* Fiber.interrupt(overtaking)
      advance(30)
      expect(yield* failure(next)).toMatchObject({ message: "the deadline passed" })
      expect(streams).toHaveLength(1)
    })
  )

  it.effect("of a call that has ended passes without effect", () =>
    Effect.gen(function* () {
      const { advance, at, ok, reply, state, unary } = yield* make
      const fiber = yield* begin(unary("a", { timeout: 50 }))
      reply(at(0), "1")
      ok(at(0))
      expect(yield* value(fiber)).toBe("1")
      advance(100)
      expect(at(0).log).toEqual(["open a", "ended"])
      expect(state.timedOut).toEqual([])
    })
  )
})

describe("the stream quota", () => {
  it.effect("lets calls begin in the order they came, as others end", () =>
    Effect.gen(function* () {
      const { at, ok, reply, state, stream, streams, unary } = yield* make
      state.room = 1
      const a = yield* begin(unary("a"))
      const b = yield* begin(Stream.runCollect(stream(Stream.make("b"))))
      const c = yield* begin(unary("c"))
      const d = yield* begin(unary("d"))
      expect(streams).toHaveLength(1)
      yield* Fiber.interrupt(c)
      reply(at(0), "1")
      ok(at(0))
      expect(yield* value(a)).toBe("1")
      yield* settle
      expect(at(1).log).toEqual(["open", "message b", "halfClose"])
      ok(at(1))
      expect(Array.from(yield* value(b))).toEqual([])
      reply(at(2), "4")
      ok(at(2))
      expect(yield* value(d)).toBe("4")
      expect(at(2).log[0]).toBe("open d")
      expect(streams).toHaveLength(3)
      expect(state.room).toBe(1)
    })
  )

  it.effect("fails those that wait when the connection has ended", () =>
    Effect.gen(function* () {
      const { quota, state, stream, unary } = yield* make
      state.room = 0
      const waiting = yield* begin(unary("a"))
      const streaming = yield* begin(Stream.runDrain(stream(Stream.dieMessage("never pulled"))))
      state.isClosed = true
      quota.advance()
      const closed = { _tag: "Unavailable", message: "the connection was closed before the call", processed: "no" }
      expect(yield* failure(waiting)).toMatchObject({ ...closed, ...where })
      expect(yield* failure(streaming)).toMatchObject({ ...closed, ...where })
    })
  )
})

describe("a peer that goes away", () => {
  it.effect("has not processed what it did not take, unless it has answered it", () =>
    Effect.gen(function* () {
      const { at, calls, unary } = yield* make
      const unseen = yield* begin(unary("a"))
      calls.onUnprocessed(at(0).call)
      expect(yield* failure(unseen)).toMatchObject({
        _tag: "Unavailable",
        message: "the peer goes away",
        processed: "no",
        ...where
      })
      const seen = yield* begin(unary("a"))
      calls.onHeaders(at(1).call, Metadata.empty)
      calls.onUnprocessed(at(1).call, "Overloaded")
      expect(yield* failure(seen)).toMatchObject({
        _tag: "Unavailable",
        message: "the peer goes away: Overloaded",
        processed: "unknown"
      })
      expect(at(1).log).toEqual(["open a", "ended"])
    })
  )

  it.effect("and a client that is closed, end all calls", () =>
    Effect.gen(function* () {
      const { at, calls, stream } = yield* make
      const fiber = yield* begin(Stream.runCollect(stream(Stream.never)))
      calls.close(at(0).call)
      calls.close(at(0).call)
      expect(yield* failure(fiber)).toMatchObject({ _tag: "Cancelled", message: "the client was closed", ...where })
      expect(at(0).log).toEqual(["open", "cancel", "ended"])
    })
  )
})

describe("a call that streams", () => {
  it.effect("sends each request when there is room, ends them, and releases what is read", () =>
    Effect.gen(function* () {
      const { at, ok, reply, state, stream } = yield* make
      state.isSlow = true
      const fiber = yield* begin(Stream.runCollect(stream(Stream.make("a", "b"))))
      expect(at(0).log).toEqual(["open", "message a"])
      reply(at(0), "1")
      yield* settle
      expect(at(0).charged).toBe(0)
      at(0).sent?.()
      expect(at(0).log).toEqual(["open", "message a", "message b"])
      at(0).sent?.()
      yield* settle
      expect(at(0).log).toEqual(["open", "message a", "message b", "halfClose"])
      reply(at(0), "2")
      ok(at(0))
      expect(Array.from(yield* value(fiber))).toEqual(["1", "2"])
      expect(at(0).log).toEqual(["open", "message a", "message b", "halfClose", "ended"])
    })
  )

  it.effect("whose reader stops is cancelled, and what nobody reads is released", () =>
    Effect.gen(function* () {
      const { at, reply, stream } = yield* make
      const fiber = yield* begin(Stream.runHead(stream(Stream.never)))
      reply(at(0), "1")
      yield* value(fiber)
      expect(at(0).log).toEqual(["open", "cancel", "ended"])
      const stopped = yield* begin(Stream.runForEach(stream(Stream.never), () => Effect.never))
      reply(at(1), "1")
      yield* settle
      reply(at(1), "22")
      expect(at(1).charged).toBe(2)
      yield* Fiber.interrupt(stopped)
      expect(at(1).log).toEqual(["open", "cancel", "ended"])
      expect(at(1).charged).toBe(0)
    })
  )

  it.effect("ends with the failure of its requests, which cancels it", () =>
    Effect.gen(function* () {
      const { at, stream } = yield* make
      const failed = yield* begin(Stream.runDrain(stream(Stream.concat(Stream.make("a"), Stream.fail("mine")))))
      expect(yield* failure(failed)).toBe("mine")
      expect(at(0).log).toEqual(["open", "message a", "cancel", "ended"])
      const unencodable = yield* begin(Stream.runDrain(stream(Stream.make("unencodable"))))
      expect(yield* failure(unencodable)).toMatchObject({ _tag: "Internal", message: "the message can't be encoded" })
      expect(at(1).log).toEqual(["open", "cancel", "ended"])
    })
  )

  it.effect("has the messages before one that can't be read, and those before an error", () =>
    Effect.gen(function* () {
      const { at, calls, reply, stream } = yield* make
      const seen: Array<string> = []
      const read = Stream.runForEach(stream(Stream.never), (message) => Effect.sync(() => seen.push(message)))
      const malformed = yield* begin(read)
      for (const message of ["1", "malformed", "3"]) {
        reply(at(0), message)
      }
      expect(yield* failure(malformed)).toMatchObject({ _tag: "Internal" })
      expect(seen.splice(0)).toEqual(["1"])
      expect(at(0).log).toEqual(["open", "cancel", "ended"])
      expect(at(0).charged).toBe(0)
      const error = yield* begin(read)
      reply(at(1), "1")
      calls.fail(at(1).call, new NotFound({ message: "none" }))
      expect(yield* failure(error)).toMatchObject({ _tag: "NotFound" })
      expect(seen).toEqual(["1"])
      expect(at(1).log).toEqual(["open", "cancel", "ended"])
      expect(at(1).charged).toBe(0)
    })
  )

  it.effect("is cancelled by its deadline, and sends nothing afterwards", () =>
    Effect.gen(function* () {
      const { advance, at, state, stream } = yield* make
      state.isSlow = true
      const fiber = yield* begin(Stream.runDrain(stream(Stream.make("a", "b"), { timeout: 10 })))
      advance(10)
      at(0).sent?.()
      expect(yield* failure(fiber)).toMatchObject({ _tag: "DeadlineExceeded", message: "the deadline passed" })
      expect(at(0).log).toEqual(["open", "message a", "timeout 10", "cancel", "ended"])
    })
  )

  it.effect("that its peer ends early needs no more of its requests", () =>
    Effect.gen(function* () {
      const { at, ok, stream } = yield* make
      const fiber = yield* begin(Stream.runDrain(stream(Stream.concat(Stream.make("a"), Stream.never))))
      ok(at(0))
      yield* value(fiber)
      expect(at(0).log).toEqual(["open", "message a", "ended"])
    })
  )

  it.effect("is abandoned in the queue by an interruption", () =>
    Effect.gen(function* () {
      const { quota, state, stream, streams } = yield* make
      state.room = 0
      const fiber = yield* begin(Stream.runDrain(stream(Stream.make("a"))))
      yield* Fiber.interrupt(fiber)
      state.room = 1
      quota.advance()
      expect(streams).toEqual([])
    })
  )
})
