/** Plain HTTP requests beside calls are let in by the same rules as calls. */
import type * as HttpClient from "@effect/platform/HttpClient"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { describe, expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Admission, Credentials, Grpc, Http2, Http3, Quic, Transport } from "effect-transport"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"

const credentials = Credentials.layerDev()

/** Requests of the app that have begun, and what they wait for. */
const makeApp = Effect.gen(function* () {
  const gate = yield* Deferred.make<void>()
  const begun: Array<string> = []
  const app = HttpRouter.empty.pipe(
    HttpRouter.get("/metrics", HttpServerResponse.text("calls_total 1\n")),
    HttpRouter.get(
      "/held",
      Effect.suspend(() => {
        begun.push("held")
        return Effect.as(Deferred.await(gate), HttpServerResponse.unsafeJson("held"))
      })
    ),
    HttpRouter.get(
      "/large",
      Effect.succeed(HttpServerResponse.stream(Stream.take(Stream.repeatValue(new Uint8Array(50_000)), 8)))
    )
  )
  return { app, begun, open: Deferred.succeed(gate, undefined) }
})

type App = Effect.Effect.Success<typeof makeApp>["app"]

interface Meeting {
  readonly target: string
  readonly http: HttpClient.HttpClient
}

const wires = [
  {
    name: "GrpcLive",
    meet: (app: App, options: Transport.ListenOptions) =>
      Effect.gen(function* () {
        yield* Http2.mount(app)
        const { target } = yield* Transport.listen([], options)
        return { target, http: yield* Http2.client(target) }
      }).pipe(provided(Layer.provide(Grpc.layer(), credentials)))
  },
  {
    name: "QuicLive",
    meet: (app: App, options: Transport.ListenOptions) =>
      Effect.gen(function* () {
        yield* Http3.mount(app)
        const { target } = yield* Transport.listen([], options)
        return { target, http: yield* Http3.client(target) }
      }).pipe(provided(Layer.provide(Quic.layer(), credentials)))
  }
]

/** The layer stays until the end of the test. */
const provided =
  <I, E2>(layer: Layer.Layer<I, E2>) =>
  <E>(effect: Effect.Effect<Meeting, E, I | Scope.Scope>): Effect.Effect<Meeting, E | E2, Scope.Scope> =>
    Effect.flatMap(Layer.build(layer), (context) => Effect.provide(effect, context))

const test = (title: string, body: Effect.Effect<void, unknown, Scope.Scope>) =>
  it.live(title, () => leavesNothing(body))

for (const { meet, name } of wires) {
  describe(`plain HTTP requests on ${name}`, () => {
    const made = (options: Admission.AdmissionOptions) =>
      Effect.gen(function* () {
        const admission = yield* Admission.make(options)
        const { app, begun, open } = yield* makeApp
        const { http } = yield* meet(app, { admission, gracePeriod: 0 })
        const status = (path: string) => Effect.map(Effect.scoped(http.get(path)), ({ status }) => status)
        const running = (count: number) =>
          eventually(Effect.map(admission.inspect, ({ callsInFlight }) => expect(callsInFlight).toBe(count)))
        const queued = (count: number) =>
          eventually(Effect.map(admission.inspect, ({ identities }) => expect(identities[0]?.queued).toBe(count)))
        return { begun, http, open, queued, running, status }
      })

    test(
      "are denied by their path, whatever their query",
      Effect.gen(function* () {
        const { begun, running, status } = yield* made({
          rules: [Admission.rule({ name: "secret", match: { method: "/held" }, limits: { callsInFlight: 0 } })]
        })
        expect(yield* status("/held?not=denied")).toBe(403)
        expect(begun).toEqual([])
        expect(yield* status("/metrics?a=b")).toBe(200)
        yield* running(0)
      })
    )

    test(
      "are told when to ask again where they are too many",
      Effect.gen(function* () {
        const { http, status } = yield* made({ identities: { callsPerSecond: { rate: 0.1, burst: 2 } } })
        expect(yield* status("/metrics")).toBe(200)
        expect(yield* status("/metrics")).toBe(200)
        const refused = yield* http.get("/metrics")
        expect(refused.status).toBe(429)
        expect(Number(refused.headers["retry-after"])).toBeGreaterThanOrEqual(1)
      })
    )

    test(
      "wait for their turn, or are refused where there is no room to wait",
      Effect.gen(function* () {
        const { begun, open, queued, running, status } = yield* made({
          listener: { callsInFlight: 1, queue: 1, maxWait: "1 minute" }
        })
        const first = yield* Effect.fork(status("/held"))
        yield* eventually(Effect.sync(() => expect(begun).toEqual(["held"])))
        const second = yield* Effect.fork(status("/held"))
        yield* queued(1)
        expect(yield* status("/metrics")).toBe(503)
        expect(begun).toEqual(["held"])
        yield* open
        expect([yield* Fiber.join(first), yield* Fiber.join(second)]).toEqual([200, 200])
        yield* running(0)
      })
    )

    test(
      "are refused where they have waited for too long, and leave the queue when they are given up",
      Effect.gen(function* () {
        const { begun, open, queued, running, status } = yield* made({
          listener: { callsInFlight: 1, queue: 1, maxWait: "1 second" }
        })
        const first = yield* Effect.fork(status("/held"))
        yield* eventually(Effect.sync(() => expect(begun).toEqual(["held"])))
        expect(yield* status("/held")).toBe(503)
        const given = yield* Effect.fork(status("/held"))
        yield* queued(1)
        yield* Fiber.interrupt(given)
        yield* queued(0)
        yield* open
        expect(yield* Fiber.join(first)).toBe(200)
        yield* running(0)
        expect(begun).toEqual(["held"])
        expect(yield* status("/metrics")).toBe(200)
      })
    )

    test(
      "are paced in what they receive",
      Effect.gen(function* () {
        const { http, running } = yield* made({ identities: { bytesOutPerSecond: { rate: 500_000, burst: 50_000 } } })
        const bytes = Effect.flatMap(http.get("/large"), (response) => response.arrayBuffer)
        const [elapsed, { byteLength }] = yield* Effect.timed(within(bytes, "20 seconds"))
        expect(byteLength).toBe(400_000)
        expect(Duration.toMillis(elapsed)).toBeGreaterThan(500)
        yield* running(0)
      })
    )
  })
}
