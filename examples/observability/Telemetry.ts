/** Where what a node measures goes: traces and metrics by OTLP to a collector, and a page that Prometheus scrapes. */
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as OtelMetrics from "@effect/opentelemetry/Metrics"
import * as OtlpMetrics from "@effect/opentelemetry/OtlpMetrics"
import * as OtlpSerialization from "@effect/opentelemetry/OtlpSerialization"
import * as OtlpTracer from "@effect/opentelemetry/OtlpTracer"
import * as Resource from "@effect/opentelemetry/Resource"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import { PrometheusExporter } from "@opentelemetry/exporter-prometheus"
import { Effect, Layer } from "effect"

/** The two that OTLP over HTTP is made of here. The exporters' own requests are in no trace. */
const otlp = Layer.merge(OtlpSerialization.layerProtobuf, FetchHttpClient.layer)

/**
 * Sends the spans of what is given this layer: those of one node. With a tracer installed, this library makes a span for each
 * call at each side, and sends its trace context along.
 */
export const traces = (collector: string, serviceName: string): Layer.Layer<never> =>
  OtlpTracer.layer({
    url: `${collector}/v1/traces`,
    resource: { serviceName },
    exportInterval: "1 second"
  }).pipe(Layer.provide(otlp))

/** Sends the metrics of this process: Effect has one registry of them, in which those of this library are. */
export const metrics = (collector: string, serviceName: string): Layer.Layer<never> =>
  OtlpMetrics.layer({
    url: `${collector}/v1/metrics`,
    resource: { serviceName },
    exportInterval: "10 seconds"
  }).pipe(Layer.provide(otlp))

/** Serves the metrics of this process to Prometheus, and says where: `http://127.0.0.1:9464/metrics`. */
export const prometheus = (serviceName: string, port: number, host = "127.0.0.1") =>
  Effect.gen(function* () {
    const exporter = new PrometheusExporter({ preventServerStart: true })
    yield* Layer.build(
      Layer.provide(
        OtelMetrics.layer(() => exporter),
        Resource.layer({ serviceName })
      )
    )
    const server = yield* Effect.acquireRelease(
      Effect.async<Http.Server, Error>((resume) => {
        const server = Http.createServer((request, response) => exporter.getMetricsRequestHandler(request, response))
        server.once("error", (error) => resume(Effect.fail(error)))
        server.listen(port, host, () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.async<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    // The address of a TCP server that listens.
    const { port: chosen } = server.address() as AddressInfo
    return `http://${host}:${chosen}/metrics`
  })
