import type * as Http2 from "node:http2"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { Credentials, Grpc, Http2 as Plain, Transport } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import * as H2 from "../fixtures/http2.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"
import { app, ask, ca, json, meet, numbered, size, sum, theirs, wires } from "./mountSupport.js"

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body))

for (const wire of wires) {
  describe(`plain HTTP/2 over ${wire.name}`, () => {
    test(
      "a probe is answered on the listener of the calls, which go on beside it",
      Effect.gen(function* () {
        const { run, session, target } = yield* meet(wire, app)
        const client = yield* run(Transport.client(EchoService, target))
        const http = yield* session()
        const both = yield* Effect.all(
          Array.from({ length: 300 }, (_, i) =>
            i % 2 === 0
              ? Effect.map(client.echo({ message: "call" }), ({ message }) => message)
              : Effect.map(ask(http, "/metrics"), ({ body }) => body.toString())
          ),
          { concurrency: 50 }
        )
        expect(both.filter((each) => each === "call")).toHaveLength(150)
        expect(both.filter((each) => each === "calls_total 1\n")).toHaveLength(150)
      })
    )

    test(
      "a call and a plain request share a connection",
      Effect.gen(function* () {
        const { session } = yield* meet(wire, app)
        const http = yield* session()
        const path = "/echo.v1.EchoService/Echo"
        const [call, probe] = yield* Effect.all(
          [H2.request(http, { ":path": path }, (stream) => stream.end(H2.message(Buffer.of()))), ask(http, "/metrics")],
          { concurrency: "unbounded" }
        )
        expect([call.headers[":status"], H2.grpcStatus(call)]).toEqual([200, 0])
        expect([probe.headers[":status"], H2.grpcStatus(probe)]).toEqual([200, undefined])
      })
    )

    test(
      "an app knows who asks, and the URL with its scheme",
      Effect.gen(function* () {
        let asked = ""
        const seen = Effect.map(HttpServerRequest.HttpServerRequest, ({ source }) => {
          asked = (source as Request).url
          return HttpServerResponse.empty()
        })
        const { session, url } = yield* meet(wire, HttpRouter.get(app, "/seen", seen))
        const http = yield* session()
        const who = (yield* ask(http, "/who")).body.toString()
        expect(who).toBe(wire.scheme === "https" ? "CN=prober" : "nobody")
        yield* ask(http, "/seen?a=1")
        expect(asked).toBe(`${url}/seen?a=1`)
        expect(json(yield* ask(http, "/search?id=1%202"))).toEqual({ id: "1 2" })
        // Clients of HTTP/2 split cookies into fields of their own (RFC 9113, section 8.2.3).
        const cookies = yield* ask(http, "/cookies", { cookie: ["a=1", "b=2"] })
        expect(cookies.body.toString()).toBe("a=1; b=2")
        expect(cookies.headers["set-cookie"]).toEqual(["c=3", "d=4"])
      })
    )

    test(
      "content of every size, in both directions",
      Effect.gen(function* () {
        const { session } = yield* meet(wire, app)
        const http = yield* session()
        for (const length of [0, 1, 16_384, 65_535, 65_536, size]) {
          const body = numbered(length)
          const posted = yield* ask(http, "/sum", { "content-type": "application/x-bytes" }, (stream) =>
            stream.end(body)
          )
          expect(json(posted)).toMatchObject({ length, sum: sum(body), type: "application/x-bytes" })
        }
        const large = yield* ask(http, "/large")
        expect([large.body.length, sum(large.body)]).toEqual([size, sum(numbered(size))])
        const lines = (yield* ask(http, "/stream")).body.toString().split("\n")
        expect([lines.length, lines[999]]).toEqual([1001, "1000"])
      })
    )

    test(
      "many at a time, larger than the connection's window together",
      Effect.gen(function* () {
        const { session } = yield* meet(wire, app)
        const http = yield* session()
        const body = numbered(1_000_000)
        const answers = yield* Effect.all(
          Array.from({ length: 24 }, (_, i) =>
            i % 2 === 0
              ? Effect.map(ask(http, "/large"), ({ body }) => body.length)
              : Effect.map(
                  ask(http, "/sum", {}, (stream) => stream.end(body)),
                  (answer) => json(answer)
                )
          ),
          { concurrency: "unbounded" }
        )
        expect(answers.filter((each) => each === size)).toHaveLength(12)
        expect(answers.filter((each) => typeof each === "object")).toEqual(
          Array.from({ length: 12 }, () => expect.objectContaining({ length: body.length, sum: sum(body) }))
        )
      })
    )

    test(
      "answers without content",
      Effect.gen(function* () {
        const { session } = yield* meet(wire, app)
        const http = yield* session()
        const head = yield* ask(http, "/large", { ":method": "HEAD" })
        expect([head.headers[":status"], head.headers["content-length"], head.body.length]).toEqual([
          200,
          String(size),
          0
        ])
        const gone = yield* ask(http, "/nothing", { ":method": "DELETE" })
        expect([gone.headers[":status"], gone.body.length]).toEqual([204, 0])
        expect((yield* ask(http, "/elsewhere")).headers[":status"]).toBe(404)
      })
    )

    test(
      "without an app there is nothing, and what looks like a call is told why it is none",
      Effect.gen(function* () {
        const { run, session } = yield* meet(wire, undefined)
        const http = yield* session()
        const status = (path: string, headers?: Http2.OutgoingHttpHeaders) =>
          Effect.map(
            ask(http, path, headers, (stream) => stream.end("{}")),
            ({ headers }) => headers[":status"]
          )
        expect(yield* status("/metrics")).toBe(404)
        const method = "/echo.v1.EchoService/Echo"
        expect(yield* status(method, { "content-type": "application/json" })).toBe(415)
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* run(Plain.mount(app))
            expect(yield* status("/unread")).toBe(200)
            yield* Effect.scoped(
              Effect.gen(function* () {
                yield* run(Plain.mount(HttpServerResponse.empty({ status: 201 })))
                expect(yield* status("/unread")).toBe(201)
              })
            )
            expect(yield* status("/unread")).toBe(200)
          })
        )
        expect(yield* status("/unread")).toBe(404)
      })
    )
  })
}

test(
  "what one part of a program mounts, the listeners of another part answer, if both are the same node",
  Effect.gen(function* () {
    const node = yield* ca.issue({ names: ["127.0.0.1"] })
    const service = Effect.map(
      Layer.build(Credentials.layerPem({ cert: node.cert, key: node.key, ca: ca.ca })),
      (context) => Layer.succeed(Credentials.Credentials, Context.get(context, Credentials.Credentials))
    )
    const [one, other] = [yield* service, yield* service]
    const listening = Effect.map(Transport.listen([echoHandlers()]), ({ target }) => target)
    const built = yield* Layer.build(Layer.provide(Grpc.GrpcLive, one))
    const target = yield* Effect.provide(listening, built)
    const http = yield* H2.session(`https://${target}`, wires[0]?.client)
    const status = Effect.map(ask(http, "/metrics"), ({ headers }) => headers[":status"])
    const mounted = (as: typeof one) => Plain.layerMount(app).pipe(Layer.provide(Grpc.GrpcLive), Layer.provide(as))
    expect(yield* status).toBe(404)
    expect(yield* Effect.scoped(Effect.zipRight(Layer.build(mounted(other)), status))).toBe(404)
    expect(yield* Effect.scoped(Effect.zipRight(Layer.build(mounted(one)), status))).toBe(200)
    expect(yield* status).toBe(404)
    expect(theirs.cert).not.toBe(node.cert)
  })
)
