/** `bench`: how many calls a node answers, and how fast. */
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { type Metadata, Transport } from "effect-transport"
import { EchoService } from "../gen/echo/v1/echo_pb.js"
import { Health } from "../gen/grpc/health/v1/health_pb.js"
import { Failure } from "../shared/failure.js"
import { atLeast, duration, json, metadata, target } from "../shared/options.js"
import { result } from "../shared/output.js"
import { withBar } from "../shared/progress.js"
import * as Wires from "../shared/transport.js"
import * as Load from "./bench/load.js"
import { type Report, report } from "./bench/report.js"

const call = Options.choice("call", ["health", "echo"]).pipe(
  Options.withDefault("health" as "health" | "echo"),
  Options.withDescription(
    "What to call: health (grpc.health.v1.Health/Check), or echo, as serve has it. Default: health."
  )
)

const size = Options.integer("size").pipe(
  atLeast("size", 0),
  Options.withDefault(100),
  Options.withDescription("The bytes that each echo carries, both ways. Default: 100.")
)

const concurrency = Options.integer("concurrency").pipe(
  Options.withAlias("c"),
  atLeast("concurrency", 1),
  Options.optional,
  Options.withDescription("Calls in flight at once; with --rate, at most. Default: 10, with --rate 1000.")
)

const rate = Options.float("rate").pipe(
  Options.withAlias("r"),
  atLeast("rate", 0.01),
  Options.optional,
  Options.withDescription(
    "Calls to begin in each second. Their time counts from when they are due. Default: as many as go."
  )
)

const life = duration("duration").pipe(
  Options.withAlias("d"),
  Options.withDefault(Duration.seconds(10)),
  Options.withDescription("How long to call. Default: 10s.")
)

const config = { target, call, size, concurrency, rate, duration: life, metadata, ...Wires.connection, json }

export const bench = Command.make(
  "bench",
  config,
  ({ call, concurrency, duration, json, metadata, rate, size, target, ...config }) =>
    Effect.gen(function* () {
      const once = yield* call === "health" ? health(target, metadata) : echo(target, metadata, size)
      const perSecond = Option.getOrUndefined(rate)
      const inFlight = Option.getOrElse(concurrency, () => (perSecond === undefined ? 10 : 1000))
      const millis = Duration.toMillis(duration)
      const load = Load.make({ call: once, concurrency: inFlight, rate: perSecond, millis })
      const report_ = (): Report => ({
        target,
        wire: config.wire,
        call,
        ...(perSecond === undefined ? {} : { rate: perSecond }),
        concurrency: inFlight,
        seconds: Number(load.seconds().toFixed(3)),
        calls: load.calls(),
        callsPerSecond: Number((load.histogram.summary().count / Math.max(load.seconds(), 1e-3)).toFixed(1)),
        errors: Object.fromEntries(load.errors),
        latencyMillis: load.histogram.summary(),
        histogram: load.histogram.bars()
      })
      const show = Effect.suspend(() => result(json, report_(), report))
      yield* withBar(load.run, !json, () => ({
        done: (load.seconds() * 1000) / millis,
        text: `${load.seconds().toFixed(1)}s  ${load.calls()} calls  p99 ${load.histogram.summary().p99}ms`
      })).pipe(Effect.onInterrupt(() => show))
      yield* show
      const error = load.firstError()
      if (load.histogram.summary().count === 0) {
        return yield* error ?? new Failure({ message: "no call was made", hint: "give a longer --duration" })
      }
    }).pipe(Effect.scoped, Effect.provide(Wires.layer(config)))
).pipe(
  Command.withDescription("Calls a node, at a rate or as fast as it answers, and shows how long the answers take.")
)

const health = (target: string, metadata: Metadata.Metadata) =>
  Effect.map(Transport.client(Health, target), (client) =>
    client.check({ service: "" }, { metadata: metadata.entries })
  )

const echo = (target: string, metadata: Metadata.Metadata, size: number) =>
  Effect.map(Transport.client(EchoService, target), (client) =>
    client.echo({ payload: new Uint8Array(size) }, { metadata: metadata.entries })
  )
