/**
 * What one call leaves behind on each wire, as docs/guide/observability.md shows it: the metrics of both sides, and the spans.
 * What differs between runs (ports, times) is left out.
 */
import { Context, DefaultServices, Effect, Layer, Logger, Metric, MetricState, Stream, Tracer } from "effect"
import { Credentials, DevCa, GrpcLive, MemoryLive, QuicLive, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const Handlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) => Effect.succeed({ slot, valid: iterations > 0, verifier: "node-a" }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid, verifier: "node-a" }))
})

/** A value without what is different each time: the ports that the system chooses. */
const steady = (name: string, value: unknown) => (/port$/.test(name) ? "<port>" : String(value))

const pairs = (all: Iterable<readonly [string, unknown]>) =>
  Array.from(all, ([name, value]) => `${name}=${steady(name, value)}`)
    .sort()
    .join(" ")

const wanted = /^rpc\.|^effect_transport_(messages|bytes)/

/** The metrics of calls, each with how often it was measured or how much was added. */
const measured = Effect.map(Metric.snapshot, (all) => {
  const values = new Map<string, number>()
  for (const { metricKey, metricState } of all) {
    if (
      wanted.test(metricKey.name) &&
      (MetricState.isHistogramState(metricState) || MetricState.isCounterState(metricState))
    ) {
      const labels = metricKey.tags.map(({ key, value }) => [key, value] as const)
      const key = `${metricKey.name} ${pairs(labels)}`
      values.set(key, (values.get(key) ?? 0) + Number(metricState.count))
    }
  }
  return values
})

/** A tracer that keeps the spans. */
const keeping = (spans: Array<Tracer.Span>) => {
  const native = Context.get(DefaultServices.liveServices, Tracer.Tracer)
  return Layer.setTracer(
    Tracer.make({
      context: (f) => f(),
      span: (...args) => {
        const span = native.span(...args)
        spans.push(span)
        return span
      }
    })
  )
}

const oneCall = <E>(wire: string, layer: Layer.Layer<Transport.Transport, E>) =>
  Effect.gen(function* () {
    const spans: Array<Tracer.Span> = []
    const before = yield* measured
    yield* Effect.gen(function* () {
      const listener = yield* Transport.listen([Handlers])
      const client = yield* Transport.client(PohService, listener.target)
      yield* client.prove({ slot: 7n, iterations: 1000 })
    }).pipe(Effect.scoped, Effect.provide(Layer.provideMerge(layer, keeping(spans))))
    const metrics = [...(yield* measured)]
      .map(([key, value]) => [key, value - (before.get(key) ?? 0)] as const)
      .filter(([, value]) => value > 0)
      .map(([key, value]) => `${key}: ${value}`)
    const traces = spans.map(({ attributes, kind, name }) => `span ${kind} ${name} ${pairs(attributes)}`)
    return [`# ${wire}`, ...metrics.sort(), ...traces].join("\n")
  })

const program = Effect.gen(function* () {
  const certificates = Credentials.layerDev({ ca: yield* DevCa.make() })
  const wires = [
    yield* oneCall("GrpcLive", Layer.provide(GrpcLive, certificates)),
    yield* oneCall("QuicLive", Layer.provide(QuicLive, certificates)),
    yield* oneCall("TlsLive", Layer.provide(TlsLive, certificates)),
    yield* oneCall("MemoryLive", MemoryLive)
  ]
  return wires.join("\n\n")
})

console.log(await Effect.runPromise(Effect.provide(program, Logger.remove(Logger.defaultLogger))))
