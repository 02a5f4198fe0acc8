import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Api, Arrival, Timed } from "./Api.js"
import * as Echo from "./Echo.js"
import * as Experiments from "./Experiments.js"
import type { Failure } from "./Failure.js"
import * as Intruders from "./Intruders.js"
import type { EchoInput } from "./inputs.js"
import type { HealthView } from "./model.js"
import { Nodes } from "./Nodes.js"
import * as Prometheus from "./prometheus.js"
import * as Retries from "./Retries.js"
import { Closing } from "./Server.js"
import * as Streams from "./Streams.js"
import * as Tenants from "./Tenants.js"
import type { TransportName } from "./transports.js"

/** What goes on at a time; more is refused at once. */
const most = { echoes: 64, retries: 16, waiting: 64, intruders: 32, experiments: 4 }

const busy = (what: string, limit: number) =>
  Effect.fail<Failure>({ _tag: "TooBusy", message: `${limit} ${what} are under way; try again later` })

const atMost = (limit: number, what: string) =>
  Effect.map(
    Effect.makeSemaphore(limit),
    (turns) =>
      <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | Failure, R> =>
        Effect.flatMap(turns.withPermitsIfAvailable(1)(effect), (done) =>
          Option.isSome(done) ? Effect.succeed(done.value) : busy(what, limit)
        )
  )

const timed = Layer.succeed(Timed, Clock.currentTimeNanos)

/** For the network panel of a browser: what the body says too. */
const serverTiming = (timings: object) => {
  const header = Object.entries(timings).map(([name, millis]) => `${name.replace("Millis", "")};dur=${millis}`)
  return HttpApp.appendPreResponseHandler((_, response) =>
    Effect.succeed(HttpServerResponse.setHeader(response, "server-timing", header.join(", ")))
  )
}

const answer = (transport: TransportName, input: EchoInput) =>
  Effect.gen(function* () {
    const arrival = yield* Arrival
    const { callMillis, echo, handlerMillis } = yield* Echo.call(transport, input)
    const totalMillis = Echo.millisBetween(arrival, yield* Clock.currentTimeNanos)
    const timings = { totalMillis, callMillis, handlerMillis }
    yield* serverTiming(timings)
    return { echo, transport, timings }
  })

const echo = HttpApiBuilder.group(Api, "echo", (handlers) =>
  Effect.map(atMost(most.echoes, "echoes"), (limited) =>
    handlers
      .handle("getGrpcEcho", ({ urlParams }) => limited(answer("grpc", urlParams)))
      .handle("postGrpcEcho", ({ payload }) => limited(answer("grpc", payload)))
      .handle("getEcho", ({ path, urlParams }) => limited(answer(path.transport, urlParams)))
      .handle("postEcho", ({ path, payload }) => limited(answer(path.transport, payload)))
  )
).pipe(Layer.provide(timed))

const retry = HttpApiBuilder.group(Api, "retry", (handlers) =>
  Effect.map(atMost(most.retries, "retries"), (limited) =>
    handlers.handle("retryTest", ({ payload }) => limited(Retries.run(payload)))
  )
)

/** How long a request waits for news: less than proxies and browsers wait for an answer. */
const patience = "20 seconds"

const after = (since: number) =>
  Effect.gen(function* () {
    const nodes = yield* Nodes
    const { begun } = yield* Closing
    const news = Stream.runHead(Stream.filter(nodes.changes, ({ version }) => version !== since))
    yield* Effect.raceAll([news, begun, Effect.sleep(patience)])
    return yield* nodes.view
  })

const nodeView = (transport: TransportName) =>
  Effect.flatMap(Nodes, (nodes) =>
    Effect.flatMap(nodes.view, ({ nodes }) =>
      Option.match(Option.fromNullable(nodes.find((node) => node.transport === transport)), {
        onNone: () =>
          Effect.fail<Failure>({ _tag: "TransportAbsent", message: `there is no ${transport} here`, transport }),
        onSome: Effect.succeed
      })
    )
  )

const control = (transport: TransportName, what: "kill" | "restart" | "rotate" | "revoke" | "renew") =>
  Effect.flatMap(Nodes, (nodes) => nodes.get(transport)).pipe(
    Effect.flatMap((node) => node[what]),
    Effect.zipRight(nodeView(transport))
  )

const nodes = HttpApiBuilder.group(Api, "nodes", (handlers) =>
  Effect.map(atMost(most.waiting, "requests that wait"), (limited) =>
    handlers
      .handle("list", ({ urlParams: { since } }) =>
        since === undefined ? Effect.flatMap(Nodes, ({ view }) => view) : limited(after(since))
      )
      .handle("kill", ({ path }) => control(path.transport, "kill"))
      .handle("restart", ({ path }) => control(path.transport, "restart"))
      .handle("connections", () => Effect.flatMap(Nodes, ({ connections }) => connections))
      .handle("rotate", ({ path }) => control(path.transport, "rotate"))
      .handle("revoke", ({ path }) => control(path.transport, "revoke"))
      .handle("renew", ({ path }) => control(path.transport, "renew"))
  )
)

const intruders = HttpApiBuilder.group(Api, "intruders", (handlers) =>
  Effect.map(atMost(most.intruders, "intruders"), (limited) =>
    handlers.handle("attempt", ({ path }) => limited(Intruders.run(path.transport, path.intruder)))
  )
)

const experiments = HttpApiBuilder.group(Api, "experiments", (handlers) =>
  Effect.map(atMost(most.experiments, "experiments"), (limited) =>
    handlers
      .handle("load", ({ path, payload }) => limited(Experiments.load(path.transport, payload)))
      .handle("network", ({ path, payload }) => limited(Experiments.network(path.transport, payload)))
      .handle("tenants", ({ path }) => limited(Tenants.run(path.transport)))
      .handleRaw("stream", ({ path, urlParams }) => Streams.run(path.transport, urlParams))
  )
)

/** Whether a node answers, within a second. */
const check = (transport: TransportName) =>
  Effect.flatMap(Nodes, (nodes) => nodes.get(transport)).pipe(
    Effect.flatMap(({ client }) => client.echo({}, { timeout: "1 second" })),
    Effect.match({
      onSuccess: () => "up" as const,
      onFailure: ({ _tag }) => (_tag === "TransportAbsent" ? ("absent" as const) : ("down" as const))
    }),
    Effect.map((status) => [transport, status] as const)
  )

const health = Effect.gen(function* () {
  const { nodes } = yield* Effect.flatMap(Nodes, ({ view }) => view)
  const checked = yield* Effect.forEach(nodes, ({ transport }) => check(transport), { concurrency: "unbounded" })
  const transports = Object.fromEntries(checked)
  const view: typeof HealthView.Type = {
    status: checked.some(([, status]) => status === "down") ? "degraded" : "ok",
    transports
  }
  return yield* view.status === "ok" ? Effect.succeed(view) : Effect.fail(view)
})

const operations = HttpApiBuilder.group(Api, "operations", (handlers) =>
  handlers.handle("healthz", () => health).handle("metrics", () => Effect.map(Metric.snapshot, Prometheus.format))
)

/** All that the API does. */
export const layer = HttpApiBuilder.api(Api).pipe(
  Layer.provide(Layer.mergeAll(echo, retry, nodes, intruders, experiments, operations))
)
