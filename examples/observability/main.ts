/**
 * Three nodes that do a little work for ever, and show it: `node --import tsx examples/observability/main.ts`.
 *
 * `OTEL_EXPORTER_OTLP_ENDPOINT`, such as http://127.0.0.1:4318, is a collector for traces and metrics; without it there are
 * none of the first. Prometheus finds the metrics at port 9464, or at `PROMETHEUS_PORT`. dashboard.json is for Grafana.
 */
import { Config, Effect, Layer, Option, Schedule } from "effect"
import * as Nodes from "./nodes.js"
import * as Telemetry from "./Telemetry.js"

const program = Effect.gen(function* () {
  const collector = yield* Config.option(Config.string("OTEL_EXPORTER_OTLP_ENDPOINT"))
  const port = yield* Config.withDefault(Config.port("PROMETHEUS_PORT"), 9464)
  const { batch, claim } = yield* Nodes.start((node) =>
    Option.match(collector, { onNone: () => Layer.empty, onSome: (url) => Telemetry.traces(url, node) })
  )
  yield* Effect.log(`metrics at ${yield* Telemetry.prometheus("nodes", port)}`)
  if (Option.isSome(collector)) {
    yield* Layer.build(Telemetry.metrics(collector.value, "nodes"))
    yield* Effect.log(`traces and metrics to ${collector.value}`)
  }
  const work = Effect.zipRight(
    Effect.forEach([1n, 2n, 3n, 4n, 5n], (slot) => Effect.ignoreLogged(claim(slot)), { concurrency: "unbounded" }),
    Effect.ignoreLogged(batch)
  )
  yield* Effect.repeat(work, Schedule.spaced("1 second"))
})

const controller = new AbortController()
process.once("SIGINT", () => controller.abort())
process.once("SIGTERM", () => controller.abort())
await Effect.runPromiseExit(Effect.scoped(program), { signal: controller.signal })
