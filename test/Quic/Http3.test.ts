import * as Dgram from "node:dgram"
import { once } from "node:events"
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as FiberRef from "effect/FiberRef"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Http3, Peer, Quic, Transport } from "effect-transport"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing, soon, within } from "../suite/fixtures/expect.js"
import { captureLog, follow } from "../suite/fixtures/observe.js"

const dev = Credentials.layerDev()

const build = (options?: Quic.QuicOptions) => Layer.build(Layer.provide(Quic.layer(options), dev))

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body))

const numbered = (size: number) => Uint8Array.from({ length: size }, (_, i) => i * 31 + (i >> 8))

const sum = (bytes: Iterable<number>) => {
  let total = 0
  for (const byte of bytes) {
    total = (total * 31 + byte) >>> 0
  }
  return total
}

const size = 3_000_000

const app = HttpRouter.empty.pipe(
  HttpRouter.get(
    "/poh_ack",
    Effect.map(HttpServerRequest.ParsedSearchParams, ({ id }) => HttpServerResponse.unsafeJson({ acknowledged: id }))
  ),
  HttpRouter.post(
    "/sum",
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const bytes = new Uint8Array(yield* request.arrayBuffer)
      return yield* HttpServerResponse.json({
        length: bytes.length,
        sum: sum(bytes),
        type: request.headers["content-type"]
      })
    })
  ),
  HttpRouter.get("/large", Effect.succeed(HttpServerResponse.uint8Array(numbered(size)))),
  HttpRouter.get(
    "/stream",
    Effect.succeed(
      HttpServerResponse.stream(Stream.map(Stream.range(1, 1000), (n) => new TextEncoder().encode(`${n}\n`)))
    )
  ),
  HttpRouter.get(
    "/who",
    Effect.map(Peer.CurrentPeer, ({ identity }) =>
      HttpServerResponse.text(Option.match(identity, { onNone: () => "nobody", onSome: ({ subject }) => subject }))
    )
  ),
  HttpRouter.del("/nothing", HttpServerResponse.empty({ status: 204 }))
)

/** A node that answers HTTP beside its calls, and what runs on the same transport. */
const meet = (options?: Quic.QuicOptions) =>
  Effect.gen(function* () {
    const context = yield* build(options)
    const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
    const { target } = yield* run(Transport.listen([Transport.handlers(EchoService, echo)]))
    return { run, target }
  })

test(
  "what one part of a program mounts, the listeners of another part answer, if both are the same node",
  Effect.gen(function* () {
    const { cert, key, ca } = yield* Effect.gen(function* () {
      const ca = yield* DevCa.make()
      return { ca: ca.ca, ...(yield* ca.issue({ names: ["127.0.0.1"] })) }
    })
    const service = Effect.map(Layer.build(Credentials.layerPem({ cert, key, ca })), (context) =>
      Layer.succeed(Credentials.Credentials, Context.get(context, Credentials.Credentials))
    )
    const [one, other] = [yield* service, yield* service]
    let target = ""
    const listener = Layer.scopedDiscard(
      Effect.map(Transport.listen([Transport.handlers(EchoService, echo)]), (listener) => {
        target = listener.target
      })
    )
    const ask = Effect.scoped(Effect.suspend(() => Effect.map(Http3.get(target, "/who"), ({ status }) => status))).pipe(
      Effect.provide(Layer.provide(Quic.layer(), one))
    )
    yield* Layer.build(listener.pipe(Layer.provide(Quic.QuicLive), Layer.provide(one)))
    expect(yield* ask).toBe(404)
    const mounted = (as: typeof one) => Http3.layerMount(app).pipe(Layer.provide(Quic.QuicLive), Layer.provide(as))
    yield* Effect.scoped(
      Effect.zipRight(
        Layer.build(mounted(other)),
        Effect.map(ask, (status) => expect(status).toBe(404))
      )
    )
    yield* Effect.scoped(
      Effect.zipRight(
        Layer.build(mounted(one)),
        Effect.map(ask, (status) => expect(status).toBe(200))
      )
    )
    expect(yield* ask).toBe(404)
  })
)

describe("plain HTTP/3", () => {
  test(
    "content that nobody reads, of requests and of responses, leaves no trace on the connection",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(
        Http3.mount(
          HttpRouter.empty.pipe(
            HttpRouter.post("/unread", HttpServerResponse.text("done")),
            HttpRouter.get("/large", HttpServerResponse.uint8Array(numbered(size))),
            Effect.orDie
          )
        )
      )
      const http = yield* run(Http3.client(target))
      const body = HttpBody.uint8Array(numbered(1_000_000))
      // More than may be unread on any connection.
      for (let n = 0; n < 20; n++) {
        const response = yield* http.post("/unread", { body })
        expect(yield* response.text).toBe("done")
        // The head is read and the content dropped.
        expect((yield* Effect.scoped(http.get("/large"))).status).toBe(200)
      }
      const bytes = yield* Effect.flatMap(http.get("/large"), ({ arrayBuffer }) => arrayBuffer)
      expect(bytes.byteLength).toBe(size)
    })
  )

  test(
    "content is read in the runtime of whoever asks: with its references and logger",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(Http3.mount(app))
      const own = FiberRef.unsafeMake("default")
      const { layer, lines } = yield* captureLog
      const content = Stream.fromEffect(
        Effect.gen(function* () {
          yield* Effect.logInfo("from the content")
          return new TextEncoder().encode(yield* FiberRef.get(own))
        })
      )
      const posted = yield* run(Http3.post(target, "/sum", { body: HttpBody.stream(content) })).pipe(
        Effect.locally(own, "caller's"),
        Effect.provide(layer)
      )
      const expected = new TextEncoder().encode("caller's")
      expect(yield* posted.json).toMatchObject({ length: expected.length, sum: sum(expected) })
      expect(lines).toEqual([{ level: "INFO", text: expect.stringContaining("from the content") }])
    })
  )

  test(
    "get, post and the others",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(Http3.mount(app))
      const ack = yield* run(Http3.get(target, "/poh_ack?id=123"))
      expect(ack.status).toBe(200)
      expect(ack.headers["content-type"]).toBe("application/json")
      expect(yield* ack.json).toEqual({ acknowledged: "123" })

      const body = numbered(size)
      const posted = yield* run(Http3.post(target, "/sum", { body: HttpBody.uint8Array(body, "application/x-bytes") }))
      expect(yield* posted.json).toEqual({ length: size, sum: sum(body), type: "application/x-bytes" })

      const gone = yield* run(Http3.request(target, HttpClientRequest.del("/nothing")))
      expect([gone.status, yield* gone.text]).toEqual([204, ""])
      const missing = yield* run(Http3.get(target, "/elsewhere"))
      expect(missing.status).toBe(404)
      const head = yield* run(Http3.request(target, HttpClientRequest.head("/large")))
      expect([head.status, head.headers["content-length"], yield* head.text]).toEqual([200, String(size), ""])
    })
  )

  test(
    "content of every kind, as streams too",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(Http3.mount(app))
      const http = yield* run(Http3.client(target))
      const large = yield* http.get("/large")
      expect(sum(new Uint8Array(yield* large.arrayBuffer))).toBe(sum(numbered(size)))
      const lines = yield* Stream.runCollect(
        (yield* http.get("/stream")).stream.pipe(Stream.decodeText(), Stream.splitLines)
      )
      expect(lines.length).toBe(1000)
      const chunks = Stream.map(Stream.range(1, 300), () => numbered(10_000))
      const streamed = yield* http.post("/sum", { body: HttpBody.stream(chunks) })
      expect(yield* streamed.json).toMatchObject({ length: size })
      const form = yield* http.post("/sum", { body: HttpBody.urlParams([["a", "1"]]) })
      expect(yield* form.json).toMatchObject({ type: "application/x-www-form-urlencoded", length: 3 })
    })
  )

  test(
    "calls go on beside it, and whoever asks is known",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(Http3.mount(app))
      const client = yield* run(Transport.client(EchoService, target))
      const http = yield* run(Http3.client(target))
      const both = yield* Effect.all(
        Array.from({ length: 300 }, (_, i) =>
          i % 2 === 0
            ? Effect.map(client.echo({ message: "call" }), ({ message }) => message)
            : Effect.flatMap(http.get("/who"), ({ text }) => text)
        ),
        { concurrency: "unbounded" }
      )
      expect(new Set(both)).toEqual(new Set(["call", "CN=localhost"]))
    })
  )

  test(
    "without an app there is nothing, and what looks like a call is told why it is none",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      expect((yield* run(Http3.get(target, "/"))).status).toBe(404)
      const json = { body: HttpBody.unsafeJson({ message: "hello" }) }
      expect((yield* run(Http3.post(target, "/echo.v1.EchoService/Echo", json))).status).toBe(415)
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* run(Http3.mount(app))
          expect((yield* run(Http3.get(target, "/poh_ack?id=1"))).status).toBe(200)
        })
      )
      expect((yield* run(Http3.get(target, "/poh_ack?id=1"))).status).toBe(404)
    })
  )

  test(
    "a header that can't be sent fails its request alone",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(Http3.mount(app))
      const http = yield* run(Http3.client(target))
      const failure = yield* Effect.flip(http.get("/who", { headers: { "x-lines": "one\ntwo" } }))
      expect(failure).toMatchObject({ _tag: "RequestError", reason: "Encode", description: "a header can't be sent" })
      expect((yield* http.get("/who")).status).toBe(200)
    })
  )

  test(
    "an answer that breaks off fails its request alone, and is logged",
    Effect.gen(function* () {
      const { layer, lines } = yield* captureLog
      const { run, target } = yield* Effect.provide(meet(), layer)
      const broken = Stream.concat(Stream.make(numbered(10)), Stream.die(new Error("thrown\nby a test")))
      const both = HttpRouter.get(app, "/broken", Effect.succeed(HttpServerResponse.stream(broken)))
      yield* run(Http3.mount(both))
      const http = yield* run(Http3.client(target))
      yield* soon(Effect.flip(Effect.flatMap(http.get("/broken"), ({ arrayBuffer }) => arrayBuffer)))
      expect((yield* http.get("/who")).status).toBe(200)
      const line = lines.find(({ text }) => text.includes("caught at the boundary (handler)"))
      expect(line?.level).toBe("ERROR")
      expect(line?.text).toContain("thrown\\u000aby a test")
    })
  )

  test(
    "interrupting a request interrupts its handler",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      const followed = yield* follow
      yield* run(Http3.mount(HttpRouter.get(HttpRouter.empty, "/", followed.run(Effect.never))))
      const asking = yield* Effect.fork(run(Effect.scoped(Http3.get(target, "/"))))
      yield* followed.started
      yield* Fiber.interrupt(asking)
      expect(yield* followed.ended).toBe("interrupted")
    })
  )

  test(
    "a reader that stops holds the sender up, and one that leaves ends it",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      let produced = 0
      const followed = yield* follow
      const endless = Stream.repeatEffect(
        Effect.sync(() => {
          produced += 1
          return numbered(16_384)
        })
      ).pipe(Stream.ensuring(followed.run(Effect.void)))
      yield* run(Http3.mount(Effect.succeed(HttpServerResponse.stream(endless))))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const response = yield* run(Http3.get(target, "/"))
          const pull = yield* Stream.toPull(response.stream)
          yield* pull
          let before = -1
          while (before !== produced) {
            before = produced
            yield* Effect.sleep("100 millis")
          }
          expect(produced * 16_384).toBeLessThan(8 * 1024 * 1024)
        })
      )
      expect(yield* followed.ended).toBe("succeeded")
    })
  )

  test(
    "a reader that leaves ends an answer that has no more to say for now",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      const followed = yield* follow
      const quiet = Stream.concat(Stream.make(numbered(10)), Stream.fromEffect(followed.run(Effect.never)))
      yield* run(Http3.mount(Effect.succeed(HttpServerResponse.stream(quiet))))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const response = yield* run(Http3.get(target, "/"))
          const pull = yield* Stream.toPull(response.stream)
          yield* pull
          yield* followed.started
        })
      )
      expect(yield* followed.ended).toBe("interrupted")
    })
  )

  test(
    "a closing listener lets requests end within its grace period",
    Effect.gen(function* () {
      const context = yield* build()
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
      const followed = yield* follow
      yield* run(Http3.mount(followed.run(Effect.as(Effect.sleep("300 millis"), HttpServerResponse.text("late")))))
      const asking = yield* Effect.scoped(
        Effect.gen(function* () {
          const { target } = yield* run(Transport.listen([Transport.handlers(EchoService, echo)]))
          const text = Effect.flatMap(Http3.get(target, "/"), ({ text }) => text)
          return yield* Effect.forkDaemon(run(Effect.scoped(text))).pipe(Effect.zipLeft(followed.started))
        })
      )
      expect(yield* soon(Fiber.join(asking))).toBe("late")
    })
  )

  test(
    "a listener that can't be reached, and one that goes in the middle",
    Effect.gen(function* () {
      const context = yield* build()
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
      expect(yield* Effect.flip(run(Http3.get("127.0.0.1:1", "/")))).toMatchObject({ _tag: "Unavailable" })
      const followed = yield* follow
      yield* run(Http3.mount(HttpRouter.get(HttpRouter.empty, "/", followed.run(Effect.never))))
      const cut = yield* Effect.scoped(
        Effect.gen(function* () {
          const { target } = yield* run(
            Transport.listen([Transport.handlers(EchoService, echo)], { gracePeriod: "0 millis" })
          )
          return yield* Effect.forkDaemon(run(Effect.scoped(Http3.get(target, "/")))).pipe(
            Effect.zipLeft(followed.started)
          )
        })
      )
      expect(yield* within(Effect.flip(Fiber.join(cut)), "5 seconds")).toMatchObject({ _tag: "RequestError" })
      expect(yield* followed.ended).toBe("interrupted")
    })
  )

  test(
    "requests and answers whose ends come late arrive whole where packets are lost",
    Effect.gen(function* () {
      const { run, target } = yield* meet()
      yield* run(Http3.mount(app))
      const relay = Dgram.createSocket("udp4").bind(0, "127.0.0.1")
      yield* Effect.addFinalizer(() => Effect.sync(() => relay.close()))
      yield* Effect.promise(() => once(relay, "listening"))
      const port = Number(target.split(":").at(-1))
      let client = 0
      let count = 0
      relay.on("message", (packet, from) => {
        count += 1
        client = from.port === port ? client : from.port
        // After the handshake, every fourth.
        if (count < 20 || count % 4 !== 0) {
          relay.send(packet, from.port === port ? client : port, "127.0.0.1")
        }
      })
      const http = yield* run(Http3.client(`127.0.0.1:${relay.address().port}`))
      const body = Stream.fromIterable([numbered(1000), numbered(2000)]).pipe(
        Stream.tap(() => Effect.sleep("2 millis"))
      )
      const both = yield* within(
        Effect.forEach(
          Array.from({ length: 60 }),
          () =>
            Effect.flatMap(http.post("/sum", { body: HttpBody.stream(body) }), ({ json }) => json).pipe(
              Effect.zip(Effect.flatMap(http.get("/stream"), ({ text }) => text))
            ),
          { concurrency: 20 }
        ),
        "15 seconds"
      )
      expect(
        both.every(([sum, text]) => (sum as { length: number }).length === 3000 && text.endsWith("\n1000\n"))
      ).toBe(true)
    })
  )
})
