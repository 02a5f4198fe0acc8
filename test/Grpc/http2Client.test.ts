import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { Credentials, Grpc, Http2 as Plain, Transport } from "effect-transport"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { captureLog, follow } from "../suite/fixtures/observe.js"
import { app, ca, meet, mutualTls, numbered, plaintext, size, sum, wires } from "./mountSupport.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body))

for (const wire of wires) {
  describe(`a client of plain HTTP/2 over ${wire.name}`, () => {
    test(
      "get, post and the others",
      Effect.gen(function* () {
        const { run, target } = yield* meet(wire, app)
        const found = yield* run(Plain.get(target, "/search?id=1%202"))
        expect([found.status, found.headers["content-type"]]).toEqual([200, "application/json"])
        expect(yield* found.json).toEqual({ id: "1 2" })
        const body = HttpBody.uint8Array(numbered(size), "application/x-bytes")
        const posted = yield* run(Plain.post(target, "/sum", { body }))
        expect(yield* posted.json).toMatchObject({
          length: size,
          sum: sum(numbered(size)),
          type: "application/x-bytes"
        })
        const gone = yield* run(Plain.request(target, HttpClientRequest.del("/nothing")))
        expect([gone.status, yield* gone.text]).toEqual([204, ""])
        expect((yield* run(Plain.get(target, "/elsewhere"))).status).toBe(404)
        const head = yield* run(Plain.request(target, HttpClientRequest.head("/large")))
        expect([head.status, head.headers["content-length"], yield* head.text]).toEqual([200, String(size), ""])
        const who = yield* Effect.flatMap(run(Plain.get(target, "/who")), ({ text }) => text)
        expect(who.startsWith("CN=")).toBe(wire.scheme === "https")
      })
    )

    test(
      "content of every kind, as streams too",
      Effect.gen(function* () {
        const { run, target } = yield* meet(wire, app)
        const http = yield* run(Plain.client(target))
        const large = yield* http.get("/large")
        expect(sum(new Uint8Array(yield* large.arrayBuffer))).toBe(sum(numbered(size)))
        const lines = yield* Stream.runCollect(
          (yield* http.get("/stream")).stream.pipe(Stream.decodeText(), Stream.splitLines)
        )
        expect(lines.length).toBe(1000)
        const chunks = Stream.map(Stream.range(0, 300), (n) => numbered(n === 0 ? 0 : 10_000))
        const streamed = yield* http.post("/sum", { body: HttpBody.stream(chunks) })
        expect(yield* streamed.json).toMatchObject({ length: size })
        for (const empty of [HttpBody.empty, HttpBody.uint8Array(new Uint8Array(0)), HttpBody.stream(Stream.empty)]) {
          expect(yield* (yield* http.post("/sum", { body: empty })).json).toMatchObject({ length: 0 })
        }
        const form = yield* http.post("/sum", { body: HttpBody.urlParams([["a", "1"]]) })
        expect(yield* form.json).toMatchObject({ type: "application/x-www-form-urlencoded", length: 3 })
      })
    )

    test(
      "it shares the connection and the stream limit with calls, and waits for its turn",
      Effect.gen(function* () {
        const { run, target } = yield* meet(wire, app, { maxConcurrentStreams: 4 })
        const client = yield* run(Transport.client(EchoService, target))
        const http = yield* run(Plain.client(target))
        const both = yield* Effect.all(
          Array.from({ length: 200 }, (_, i) =>
            i % 2 === 0
              ? Effect.map(client.echo({ message: "call" }), ({ message }) => message)
              : Effect.flatMap(http.get("/metrics"), ({ text }) => text)
          ),
          { concurrency: "unbounded" }
        )
        expect(both.filter((each) => each === "call")).toHaveLength(100)
        expect(both.filter((each) => each === "calls_total 1\n")).toHaveLength(100)
      })
    )

    test(
      "content that nobody reads, of requests and of responses, leaves no trace on the connection",
      Effect.gen(function* () {
        const { run, target } = yield* meet(wire, app)
        const http = yield* run(Plain.client(target))
        const body = HttpBody.uint8Array(numbered(1_000_000))
        // More than may be unread on any connection.
        for (let n = 0; n < 20; n++) {
          expect(yield* (yield* http.post("/unread", { body })).text).toBe("done")
          const streamed = HttpBody.stream(Stream.rechunk(Stream.make(numbered(1_000_000)), 1))
          expect(yield* (yield* http.post("/unread", { body: streamed })).text).toBe("done")
          // The head is read and the content dropped.
          expect((yield* Effect.scoped(http.get("/large"))).status).toBe(200)
        }
        const bytes = yield* Effect.flatMap(http.get("/large"), ({ arrayBuffer }) => arrayBuffer)
        expect(bytes.byteLength).toBe(size)
      })
    )
  })
}

describe("a request of plain HTTP/2", () => {
  test(
    "reads its content in the runtime of whoever asks: with its references and logger",
    Effect.gen(function* () {
      const { run, target } = yield* meet(plaintext, app)
      const own = FiberRef.unsafeMake("default")
      const { layer, lines } = yield* captureLog
      const content = Stream.fromEffect(
        Effect.gen(function* () {
          yield* Effect.logInfo("from the content")
          return new TextEncoder().encode(yield* FiberRef.get(own))
        })
      )
      const http = yield* run(Plain.client(target))
      const posted = yield* http
        .post("/sum", { body: HttpBody.stream(content) })
        .pipe(Effect.locally(own, "caller's"), Effect.provide(layer))
      expect(yield* posted.json).toMatchObject({ length: 8, sum: sum(new TextEncoder().encode("caller's")) })
      expect(lines).toEqual([{ level: "INFO", text: expect.stringContaining("from the content") }])
    })
  )

  test(
    "that can't be sent fails alone",
    Effect.gen(function* () {
      const { run, target } = yield* meet(plaintext, app)
      const http = yield* run(Plain.client(target))
      const encode = { _tag: "RequestError", reason: "Encode" }
      const asked = (headers: Record<string, string>) => Effect.flip(http.get("/who", { headers }))
      expect(yield* asked({ "x-lines": "one\ntwo" })).toMatchObject(encode)
      expect(yield* asked({ "x y": "name" })).toMatchObject(encode)
      expect(yield* asked({ "x-wide": "\u{1f600}" })).toMatchObject(encode)
      // More than the peer says it takes.
      expect(yield* asked({ "x-large": "x".repeat(1_000_000) })).toMatchObject(encode)
      for (const content of [Stream.fail("no more"), Stream.concat(Stream.make(numbered(9)), Stream.die("thrown"))]) {
        const failure = yield* soon(Effect.flip(http.post("/sum", { body: HttpBody.stream(content) })))
        expect(failure).toMatchObject(encode)
      }
      expect((yield* http.get("/who")).status).toBe(200)
    })
  )

  test(
    "whose answer breaks off fails alone",
    Effect.gen(function* () {
      const broken = Stream.concat(Stream.make(numbered(10)), Stream.die(new Error("thrown by a test")))
      const pages = HttpRouter.get(app, "/broken", Effect.succeed(HttpServerResponse.stream(broken)))
      const { run, target } = yield* meet(plaintext, pages)
      const http = yield* run(Plain.client(target))
      yield* soon(Effect.flip(Effect.flatMap(http.get("/broken"), ({ arrayBuffer }) => arrayBuffer)))
      expect((yield* http.get("/who")).status).toBe(200)
    })
  )

  test(
    "that is interrupted, or out of time, interrupts its handler",
    Effect.gen(function* () {
      const first = yield* follow
      const second = yield* follow
      const pages = HttpRouter.empty.pipe(
        HttpRouter.get("/first", first.run(Effect.never)),
        HttpRouter.get("/second", second.run(Effect.never))
      )
      const { run, target } = yield* meet(plaintext, pages)
      const http = yield* run(Plain.client(target))
      const asking = yield* Effect.fork(Effect.scoped(http.get("/first")))
      yield* first.started
      yield* Fiber.interrupt(asking)
      expect(yield* first.ended).toBe("interrupted")
      const late = yield* Effect.fork(Effect.timeoutOption(Effect.scoped(http.get("/second")), "1 second"))
      yield* second.started
      expect(yield* second.ended).toBe("interrupted")
      expect((yield* Fiber.join(late))._tag).toBe("None")
    })
  )

  test(
    "with a reader that stops holds the sender up, and one that leaves ends it",
    Effect.gen(function* () {
      let produced = 0
      const followed = yield* follow
      const endless = Stream.repeatEffect(
        Effect.sync(() => {
          produced += 1
          return numbered(16_384)
        })
      ).pipe(Stream.ensuring(followed.run(Effect.void)))
      const pages = HttpRouter.get(app, "/endless", Effect.succeed(HttpServerResponse.stream(endless)))
      const { run, target } = yield* meet(plaintext, pages)
      const http = yield* run(Plain.client(target))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const response = yield* http.get("/endless")
          const pull = yield* Stream.toPull(response.stream)
          yield* pull
          let before = -1
          while (before !== produced) {
            before = produced
            yield* Effect.sleep("100 millis")
          }
          expect(produced * 16_384).toBeLessThan(8 * 1024 * 1024)
          // Nobody else waits for that reader.
          const large = yield* Effect.flatMap(http.get("/large"), ({ arrayBuffer }) => arrayBuffer)
          expect(large.byteLength).toBe(size)
        })
      )
      expect(yield* followed.ended).toBe("succeeded")
    })
  )

  test(
    "of a listener that can't be reached, and of one that goes in the middle",
    Effect.gen(function* () {
      const followed = yield* follow
      const { run } = yield* meet(plaintext, HttpRouter.get(HttpRouter.empty, "/", followed.run(Effect.never)))
      expect(yield* Effect.flip(run(Plain.get("127.0.0.1:1", "/")))).toMatchObject({ _tag: "Unavailable" })
      expect(yield* Effect.flip(run(Plain.get("no target", "/")))).toMatchObject({ _tag: "InvalidArgument" })
      const cut = yield* Effect.scoped(
        Effect.gen(function* () {
          const { target } = yield* run(Transport.listen([], { gracePeriod: "0 millis" }))
          return yield* Effect.forkDaemon(run(Effect.scoped(Plain.get(target, "/")))).pipe(
            Effect.zipLeft(followed.started)
          )
        })
      )
      expect(yield* within(Effect.flip(Fiber.join(cut)), "5 seconds")).toMatchObject({ _tag: "RequestError" })
      expect(yield* followed.ended).toBe("interrupted")
    })
  )
})

test(
  "new credentials are in force for the next request, and what has begun before goes on to its end",
  Effect.gen(function* () {
    const finish = yield* Deferred.make<void>()
    const slow = Stream.concat(
      Stream.make(numbered(10)),
      Stream.fromEffect(Effect.as(Deferred.await(finish), numbered(20)))
    )
    const pages = HttpRouter.get(app, "/slow", Effect.succeed(HttpServerResponse.stream(slow)))
    const { target } = yield* meet(mutualTls, pages)
    const issue = (commonName: string) =>
      Effect.map(ca.issue({ names: ["localhost"], commonName }), (issued) => rawMaterial(issued, ca.ca))
    const material = yield* SubscriptionRef.make<Credentials.Material>(yield* issue("before"))
    const context = yield* Layer.build(
      Layer.provide(
        Grpc.layer({ rehandshakeWithin: "3 seconds" }),
        Layer.succeed(Credentials.Credentials, {
          current: SubscriptionRef.get(material),
          changes: material.changes
        })
      )
    )
    const http = yield* Effect.provide(Plain.client(target), context)
    const who = Effect.flatMap(http.get("/who"), ({ text }) => text)
    expect(yield* who).toBe("CN=before")
    const response = yield* http.get("/slow")
    const loading = yield* Effect.fork(response.arrayBuffer)
    yield* SubscriptionRef.set(material, yield* issue("after"))
    yield* within(Effect.repeat(who, { until: (name) => name === "CN=after" }), "10 seconds")
    // Were the old connection closed at once, it would be by now.
    yield* Effect.repeatN(who, 20)
    yield* Deferred.succeed(finish, undefined)
    expect((yield* soon(Fiber.join(loading))).byteLength).toBe(30)
  })
)
