import type * as Http2 from "node:http2"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Http2 as Plain } from "effect-transport"
import { event } from "../fixtures/tls.js"
import { closable, eventually, leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"
import { app, ask, json, meet, numbered, plaintext, size, sum } from "./mountSupport.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body))

/** A body that breaks its promise. */
const bytesOf = (chunk: unknown) => new ReadableStream({ start: (to) => to.enqueue(chunk) })

/** An app that never answers. */
const never = HttpRouter.all(HttpRouter.empty, "*", Effect.never)

/** Writes without end, as fast as the peer gives credit; `written` counts what has left. */
const flood = (stream: Http2.ClientHttp2Stream, chunk: Uint8Array) => {
  const sent = { written: 0 }
  const next = () =>
    stream.write(chunk, (error) => {
      if (error === undefined || error === null) {
        sent.written += chunk.length
        next()
      }
    })
  next()
  return sent
}

/** Waits until a count stays as it is. */
const settled = (count: () => number) =>
  Effect.gen(function* () {
    let before = -1
    while (before !== count()) {
      before = count()
      yield* Effect.sleep("100 millis")
    }
    return before
  })

const open = (session: Http2.ClientHttp2Session, headers: Http2.OutgoingHttpHeaders) => {
  const stream = session.request(headers, { endStream: false })
  stream.on("error", () => {})
  return stream
}

describe("plain HTTP/2", () => {
  test(
    "content that nobody reads leaves no trace on the connection",
    Effect.gen(function* () {
      const { session } = yield* meet(plaintext, app)
      const http = yield* session()
      const body = numbered(1_000_000)
      // More than may be unread on any connection.
      for (let n = 0; n < 20; n++) {
        const answer = yield* ask(http, "/unread", {}, (stream) => stream.end(body))
        expect([answer.headers[":status"], answer.body.toString(), answer.rstCode]).toEqual([200, "done", 0])
      }
      const posted = yield* ask(http, "/sum", {}, (stream) => stream.end(body))
      expect(json(posted)).toMatchObject({ length: body.length, sum: sum(body) })
    })
  )

  test(
    "a client that does not read holds the app up, but nobody else",
    Effect.gen(function* () {
      let produced = 0
      const followed = yield* follow
      const endless = Stream.repeatEffect(
        Effect.sync(() => {
          produced += 1
          return numbered(16_384)
        })
      ).pipe(Stream.ensuring(followed.run(Effect.void)))
      const { session } = yield* meet(
        plaintext,
        HttpRouter.get(app, "/endless", Effect.succeed(HttpServerResponse.stream(endless)))
      )
      const http = yield* session()
      const stream = open(http, { ":path": "/endless" }).end()
      yield* settled(() => produced)
      // Its window, which is 65,535 bytes at Node, and what is under way.
      expect(produced * 16_384).toBeGreaterThanOrEqual(65_535)
      expect(produced * 16_384).toBeLessThan(512 * 1024)
      expect((yield* ask(http, "/large")).body.length).toBe(size)
      expect(produced * 16_384).toBeLessThan(512 * 1024)
      let read = 0
      stream.on("data", (chunk: Buffer) => {
        read += chunk.length
      })
      yield* eventually(Effect.sync(() => expect(read).toBeGreaterThan(1024 * 1024)))
      stream.close(8)
      expect(yield* followed.ended).toBe("succeeded")
    })
  )

  test(
    "an app that does not read holds its client up, but nobody else",
    Effect.gen(function* () {
      const may = yield* follow
      const latch = yield* Effect.makeLatch(false)
      let read = 0
      const slow = Effect.gen(function* () {
        const { stream } = yield* HttpServerRequest.HttpServerRequest
        yield* may.run(latch.await)
        yield* Stream.runForEach(stream, (chunk) =>
          Effect.sync(() => {
            read += chunk.length
          })
        )
        return HttpServerResponse.text(`${read}`)
      })
      const { session } = yield* meet(plaintext, HttpRouter.post(app, "/slow", slow))
      const http = yield* session()
      const stream = open(http, { ":method": "POST", ":path": "/slow" })
      const chunk = numbered(16_384)
      const sent = flood(stream, chunk)
      yield* may.started
      const held = yield* settled(() => sent.written)
      // The window of the stream.
      expect(held).toBeLessThanOrEqual(65_535 + chunk.length)
      const body = numbered(1_000_000)
      expect(json(yield* ask(http, "/sum", {}, (stream) => stream.end(body)))).toMatchObject({ sum: sum(body) })
      expect(sent.written).toBe(held)
      yield* latch.open
      yield* eventually(Effect.sync(() => expect(read).toBeGreaterThan(8 * 1024 * 1024)))
      stream.close(8)
    })
  )

  test(
    "content that an app cancels is dropped, and its answer goes on",
    Effect.gen(function* () {
      const cancelling = Effect.gen(function* () {
        const { stream } = yield* HttpServerRequest.HttpServerRequest
        const first = yield* Stream.runHead(stream)
        const answer = Stream.concat(Stream.make("first"), Stream.fromEffect(Effect.as(latch.await, "last")))
        return HttpServerResponse.stream(Stream.encodeText(answer), {
          headers: { "x-first": String(Option.isSome(first)) }
        })
      })
      const latch = yield* Effect.makeLatch(false)
      const { session } = yield* meet(plaintext, HttpRouter.post(app, "/cancels", cancelling))
      const http = yield* session()
      const answering = yield* Effect.fork(
        ask(http, "/cancels", {}, (stream) => stream.write(numbered(2_000_000), () => Effect.runFork(latch.open)))
      )
      const answer = yield* within(Fiber.join(answering), "5 seconds")
      expect([answer.headers["x-first"], answer.body.toString(), answer.rstCode]).toEqual(["true", "firstlast", 0])
    })
  )

  test(
    "a request that its client gives up interrupts the handler",
    Effect.gen(function* () {
      const answering = yield* follow
      const reading = yield* follow
      const streaming = yield* follow
      const quiet = Stream.concat(Stream.make(numbered(10)), Stream.fromEffect(streaming.run(Effect.never)))
      const { session } = yield* meet(
        plaintext,
        HttpRouter.empty.pipe(
          HttpRouter.get("/answering", answering.run(Effect.never)),
          HttpRouter.post(
            "/reading",
            Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ stream }) =>
              reading.run(Stream.runDrain(stream))
            ).pipe(Effect.as(HttpServerResponse.empty()))
          ),
          HttpRouter.get("/streaming", Effect.succeed(HttpServerResponse.stream(quiet)))
        )
      )
      const http = yield* session()
      for (const [path, followed] of [
        ["/answering", answering],
        ["/reading", reading],
        ["/streaming", streaming]
      ] as const) {
        const stream = open(http, { ":method": path === "/reading" ? "POST" : "GET", ":path": path })
        stream.write("begun")
        yield* followed.started
        stream.close(8)
        expect(yield* followed.ended).toBe("interrupted")
      }
      // The same where the client is gone.
      const gone = yield* follow
      const other = yield* meet(plaintext, HttpRouter.get(HttpRouter.empty, "/", gone.run(Effect.never)))
      const lost = yield* other.session()
      open(lost, { ":path": "/" })
      yield* gone.started
      lost.destroy()
      expect(yield* gone.ended).toBe("interrupted")
    })
  )

  test(
    "an answer that breaks off, or that can't be sent, resets its stream alone, and is logged",
    Effect.gen(function* () {
      const broken = Stream.concat(Stream.make(numbered(10)), Stream.die(new Error("thrown\nby a test")))
      const { lines, session } = yield* meet(
        plaintext,
        app.pipe(
          HttpRouter.get("/broken", Effect.succeed(HttpServerResponse.stream(broken))),
          HttpRouter.get("/dies", Effect.die(new Error("a defect")))
        )
      )
      const http = yield* session()
      const answer = yield* soon(ask(http, "/broken"))
      expect([answer.headers[":status"], answer.body.length, answer.rstCode]).toEqual([200, 10, 2])
      expect((yield* ask(http, "/dies")).headers[":status"]).toBe(500)
      expect((yield* ask(http, "/metrics")).headers[":status"]).toBe(200)
      const line = lines.find(({ text }) => text.includes("caught at the boundary (handler)"))
      expect(line?.level).toBe("ERROR")
      expect(line?.text).toContain("thrown\\u000aby a test")
    })
  )

  test(
    "a handler that is no app may fail, and return what is no answer",
    Effect.gen(function* () {
      const { run, session } = yield* meet(plaintext, undefined)
      const handlers: ReadonlyArray<Plain.Handler> = [
        () => Promise.reject(new Error("rejected")),
        () => {
          throw new Error("thrown")
        },
        async () => Response.error(),
        async () => new Response(bytesOf("no bytes"))
      ]
      const http = yield* session()
      for (const handler of handlers) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* run(Effect.flatMap(Plain.Http2, ({ mount }) => mount(handler)))
            expect((yield* soon(ask(http, "/"))).rstCode).toBe(2)
          })
        )
      }
      expect((yield* ask(http, "/")).headers[":status"]).toBe(404)
    })
  )

  test(
    "a closing listener lets requests end within its grace period",
    Effect.gen(function* () {
      const followed = yield* follow
      const latch = yield* Effect.makeLatch(false)
      const late = followed.run(Effect.as(latch.await, HttpServerResponse.text("late")))
      const [{ session }, close] = yield* closable(meet(plaintext, late))
      const http = yield* session()
      const asking = yield* Effect.fork(ask(http, "/"))
      yield* followed.started
      const goingAway = yield* Effect.fork(
        Effect.async<void>((resume) => {
          http.once("goaway", () => resume(Effect.void))
        })
      )
      const closing = yield* Effect.fork(close)
      yield* soon(Fiber.join(goingAway))
      // Longer than a listener waits for the last bytes of answers that have ended.
      yield* Effect.sleep("1500 millis")
      yield* latch.open
      const answer = yield* soon(Fiber.join(asking))
      expect([answer.body.toString(), answer.rstCode]).toEqual(["late", 0])
      yield* within(Fiber.join(closing), "5 seconds")
    })
  )

  test(
    "a closing listener interrupts requests that take longer",
    Effect.gen(function* () {
      const followed = yield* follow
      const [{ session }, close] = yield* closable(
        meet(plaintext, HttpRouter.get(HttpRouter.empty, "/", followed.run(Effect.never)), undefined, {
          gracePeriod: "100 millis"
        })
      )
      const http = yield* session()
      const asking = yield* Effect.fork(ask(http, "/"))
      yield* followed.started
      yield* within(close, "5 seconds")
      expect(yield* followed.ended).toBe("interrupted")
      expect((yield* soon(Fiber.join(asking))).headers[":status"]).toBeUndefined()
    })
  )
})

describe("the limits of plain HTTP/2", () => {
  test(
    "requests that nothing answers are useless: too many of them end the connection",
    Effect.gen(function* () {
      const { run, session } = yield* meet(plaintext, undefined, { maxUselessRate: 50 })
      const http = yield* session()
      const closed = yield* Effect.fork(event(http.socket, "close"))
      const statuses = yield* Effect.all(
        Array.from({ length: 100 }, () => Effect.map(ask(http, "/"), ({ headers }) => headers[":status"])),
        { concurrency: "unbounded" }
      )
      yield* soon(Fiber.join(closed))
      expect(statuses).toContain(undefined)
      // What an app answers, with 404 too, is of use.
      yield* run(Plain.mount(app))
      const other = yield* session()
      const answered = yield* Effect.all(
        Array.from({ length: 300 }, () => Effect.map(ask(other, "/nowhere"), ({ headers }) => headers[":status"])),
        { concurrency: 50 }
      )
      expect(new Set(answered)).toEqual(new Set([404]))
    })
  )

  test(
    "requests that their client gives up are useless too",
    Effect.gen(function* () {
      const { session } = yield* meet(plaintext, never, { maxUselessRate: 50 })
      const http = yield* session()
      const closed = yield* Effect.fork(event(http.socket, "close"))
      for (let n = 0; n < 100; n++) {
        const stream = open(http, { ":path": "/" })
        stream.end()
        setImmediate(() => stream.close(8))
      }
      yield* soon(Fiber.join(closed))
    })
  )

  test(
    "content that nobody reads counts in the budget of the listener",
    Effect.gen(function* () {
      const { lines, session } = yield* meet(plaintext, never, { maxBufferedBytes: 300_000 })
      const http = yield* session()
      const goaway = yield* Effect.fork(
        Effect.async<number>((resume) => {
          http.once("goaway", (code) => resume(Effect.succeed(code)))
        })
      )
      for (let n = 0; n < 10; n++) {
        flood(open(http, { ":method": "POST", ":path": "/" }), numbered(16_384))
      }
      expect(yield* soon(Fiber.join(goaway))).toBe(11)
      yield* eventually(
        Effect.sync(() =>
          expect(lines.map(({ text }) => text).join("\n")).toContain("the listener keeps more than it may")
        )
      )
    })
  )

  test(
    "what an app returns in one piece is not what the connection keeps",
    Effect.gen(function* () {
      const { session } = yield* meet(plaintext, app, { maxBufferedBytes: 1_000_000 })
      const http = yield* session()
      const answers = yield* Effect.all(
        Array.from({ length: 8 }, () => ask(http, "/large")),
        { concurrency: "unbounded" }
      )
      expect(answers.map(({ body }) => body.length)).toEqual(answers.map(() => size))
    })
  )
})
