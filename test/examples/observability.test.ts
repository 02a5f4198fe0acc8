/** examples/observability: what it posts is OTLP, Prometheus scrapes what it shows, and its three nodes are in one trace. */
import { spawn, spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { describe, expect, it } from "@effect/vitest"
// OTLP's own schema, as compiled from its .proto files. Its types say no more than that it is one.
import schema from "@opentelemetry/otlp-transformer/build/src/generated/root.js"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import type * as Scope from "effect/Scope"
import { Authorizer, Credentials, TlsLive, Transport } from "effect-transport"
import { PohService } from "../../examples/gen/poh/v1/poh_pb.js"
import * as Nodes from "../../examples/observability/nodes.js"
import * as Telemetry from "../../examples/observability/Telemetry.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: string; readonly doubleValue?: number }
}

interface Span {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: string
  readonly attributes?: ReadonlyArray<Attribute>
  readonly status?: { readonly code?: string }
}

interface DataPoint {
  readonly attributes?: ReadonlyArray<Attribute>
  readonly count?: string
  readonly bucketCounts?: ReadonlyArray<string>
  readonly explicitBounds?: ReadonlyArray<number>
}

interface Posted {
  readonly resourceSpans?: ReadonlyArray<{
    readonly resource: { readonly attributes: ReadonlyArray<Attribute> }
    readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<Span> }>
  }>
  readonly resourceMetrics?: ReadonlyArray<{
    readonly scopeMetrics: ReadonlyArray<{
      readonly metrics: ReadonlyArray<{
        readonly name: string
        readonly unit?: string
        readonly histogram?: { readonly dataPoints: ReadonlyArray<DataPoint> }
      }>
    }>
  }>
}

/** Decodes by OTLP's schema. What is of another type fails, and so does what it does not know, in a trace. */
const decode = (path: string, body: Uint8Array): Posted => {
  const requests = schema as unknown as {
    readonly opentelemetry: {
      readonly proto: {
        readonly collector: {
          readonly trace: { readonly v1: { readonly ExportTraceServiceRequest: MessageType } }
          readonly metrics: { readonly v1: { readonly ExportMetricsServiceRequest: MessageType } }
        }
      }
    }
  }
  const { metrics, trace } = requests.opentelemetry.proto.collector
  const type = path === "/v1/traces" ? trace.v1.ExportTraceServiceRequest : metrics.v1.ExportMetricsServiceRequest
  const message = type.decode(body)
  if (path === "/v1/traces") {
    // Of metrics the exporter does not pack the numbers, which proto3 leaves to it.
    expect(Buffer.from(type.encode(message).finish()).equals(body)).toBe(true)
  }
  return type.toObject(message, { longs: String, enums: String, bytes: String })
}

interface MessageType {
  readonly decode: (bytes: Uint8Array) => object
  readonly encode: (message: object) => { readonly finish: () => Uint8Array }
  readonly toObject: (message: object, options: object) => Posted
}

/** A collector: keeps what is posted to it. */
const collector = Effect.gen(function* () {
  const posted: Array<Posted> = []
  const server = yield* Effect.acquireRelease(
    Effect.async<Http.Server>((resume) => {
      const server = Http.createServer((request, response) => {
        const chunks: Array<Buffer> = []
        request.on("data", (chunk) => chunks.push(chunk))
        request.on("end", () => {
          try {
            expect(request.headers["content-type"]).toBe("application/x-protobuf")
            posted.push(decode(request.url ?? "", Buffer.concat(chunks)))
            response.writeHead(200).end()
          } catch (cause) {
            failures.push(cause)
            response.writeHead(400).end()
          }
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  const failures: Array<unknown> = []
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}`, posted, failures }
})

const quiet = Logger.remove(Logger.defaultLogger)

const textOf = (attributes: ReadonlyArray<Attribute> | undefined, key: string) =>
  attributes?.find((each) => each.key === key)?.value.stringValue

const spansOf = (posted: ReadonlyArray<Posted>) =>
  posted.flatMap(({ resourceSpans = [] }) =>
    resourceSpans.flatMap(({ resource, scopeSpans }) =>
      scopeSpans.flatMap(({ spans }) =>
        spans.map((span) => ({ ...span, node: textOf(resource.attributes, "service.name") }))
      )
    )
  )

/** A trace as text, each span with its node under its parent. */
const treeOf = (spans: ReturnType<typeof spansOf>, parent: string | undefined, depth = 0): ReadonlyArray<string> =>
  spans
    .filter(({ parentSpanId }) => (parentSpanId === "" ? undefined : parentSpanId) === parent)
    .flatMap(({ attributes, kind, name, node, spanId }) => [
      `${"  ".repeat(depth)}${node}: ${kind.replace("SPAN_KIND_", "").toLowerCase()} ${name} ${textOf(attributes, "rpc.system.name") ?? ""}`.trimEnd(),
      ...treeOf(spans, spanId, depth + 1)
    ])

const live = (title: string, body: () => Effect.Effect<void, unknown, Scope.Scope>, isOn = true) =>
  it.live.runIf(isOn)(title, () => leavesNothing(Effect.provide(Effect.scoped(body()), quiet)), 120_000)

const names = (text: string) => new Set([...text.matchAll(/^([a-z_0-9]+)(?:\{| )/gm)].map(([, name]) => name))

interface Dashboard {
  readonly panels: ReadonlyArray<{ readonly title: string; readonly targets: ReadonlyArray<{ readonly expr: string }> }>
}

const dashboard = () => JSON.parse(readFileSync("examples/observability/dashboard.json", "utf8")) as Dashboard

/** What the dashboard shows beside calls: a handshake and a call that are refused, a callback that throws, a wait. */
const trouble = (prover: string) =>
  Effect.gen(function* () {
    const stranger = yield* Layer.build(Layer.provide(TlsLive, Credentials.layerDev()))
    yield* Effect.flip(Effect.provide(Transport.client(PohService, prover), stranger))
    const own = yield* Layer.build(Layer.provide(TlsLive, Credentials.layerDev()))
    yield* Effect.gen(function* () {
      const handlers = (authorize: Authorizer.Authorizer) =>
        Transport.handlers(
          PohService,
          { prove: () => Effect.succeed({}), proveBatch: () => Effect.succeed({}) },
          { authorize }
        )
      const closed = yield* Transport.listen([handlers(Authorizer.either())])
      const denied = yield* Transport.client(PohService, closed.target)
      yield* Effect.flip(denied.prove({}))
      const open = yield* Transport.listen([handlers(Authorizer.any)])
      const client = yield* Transport.client(PohService, open.target)
      const onHeaders = () => {
        throw new Error("a callback")
      }
      yield* Effect.flip(client.prove({}, { onHeaders }))
      // More than a peer takes at a time.
      yield* Effect.all(
        Array.from({ length: 200 }, () => client.prove({})),
        { concurrency: "unbounded", discard: true }
      )
    }).pipe(Effect.provide(own))
  })

interface Value {
  readonly value: readonly [time: number, value: string]
}

/** Prometheus, which scrapes a page each half second. */
const prometheus = (target: string) =>
  Effect.gen(function* () {
    const folder = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), "prometheus-"))),
      (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
    )
    const config = join(folder, "prometheus.yml")
    const scrape = { job_name: "nodes", scrape_interval: "500ms", static_configs: [{ targets: [target] }] }
    // YAML takes JSON.
    writeFileSync(config, JSON.stringify({ scrape_configs: [scrape] }))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        spawn("prometheus", [
          `--config.file=${config}`,
          `--storage.tsdb.path=${join(folder, "data")}`,
          "--web.listen-address=127.0.0.1:0"
        ])
      ),
      (child) =>
        Effect.async<void>((resume) => {
          child.once("exit", () => resume(Effect.void))
          child.kill("SIGKILL")
        })
    )
    const address = yield* within(
      Effect.async<string>((resume) => {
        let text = ""
        child.stderr.on("data", (chunk) => {
          text += chunk
          const found = /Listening on" address=([\d.:]+)/.exec(text)?.[1]
          if (found !== undefined) {
            resume(Effect.succeed(found))
          }
        })
      }),
      "10 seconds"
    )
    const query = (expr: string) =>
      Effect.promise(async () => {
        const answer = await fetch(`http://${address}/api/v1/query?query=${encodeURIComponent(expr)}`)
        return (await answer.json()) as {
          readonly status: string
          readonly data?: { readonly result: ReadonlyArray<unknown> }
        }
      })
    return { query }
  })

const hasPrometheus = spawnSync("prometheus", ["--version"]).status === 0
const because = hasPrometheus ? "" : " (skipped: no prometheus here; .ci/run installs it)"

describe("examples/observability", () => {
  live("is in one trace across three nodes and two wires", () =>
    Effect.gen(function* () {
      const { failures, posted, url } = yield* collector
      const { claim } = yield* Nodes.start((node) => Telemetry.traces(url, node))
      yield* claim(7n)
      yield* eventually(
        Effect.sync(() => {
          expect(failures).toEqual([])
          const spans = spansOf(posted)
          expect(treeOf(spans, undefined)).toEqual([
            "edge: internal claim",
            "  edge: client poh.v1.PohService/Prove grpc",
            "    verifier: server poh.v1.PohService/Prove grpc",
            "      verifier: internal ask the prover",
            "        verifier: client poh.v1.PohService/Prove effect_transport",
            "          prover: server poh.v1.PohService/Prove effect_transport"
          ])
          expect(new Set(spans.map(({ traceId }) => traceId)).size).toBe(1)
        }),
        "10 seconds"
      )
    })
  )

  live("posts metrics that OTLP's own schema decodes", () =>
    Effect.gen(function* () {
      const { failures, posted, url } = yield* collector
      const { claim } = yield* Nodes.start(() => Layer.empty)
      yield* claim(7n)
      // They are posted once more when the layer closes.
      yield* Effect.scoped(Layer.build(Telemetry.metrics(url, "nodes")))
      expect(failures).toEqual([])
      const metrics = posted.flatMap(({ resourceMetrics = [] }) =>
        resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
      )
      for (const side of ["client", "server"]) {
        const metric = metrics.findLast(({ name }) => name === `rpc.${side}.call.duration`)
        expect(metric?.unit).toBe("s")
        const point = metric?.histogram?.dataPoints.find(
          ({ attributes }) =>
            textOf(attributes, "rpc.method") === "poh.v1.PohService/Prove" &&
            textOf(attributes, "rpc.response.status_code") === "OK" &&
            textOf(attributes, "rpc.system.name") === "effect_transport"
        )
        expect(Number(point?.count)).toBeGreaterThanOrEqual(1)
        expect(point?.bucketCounts).toHaveLength((point?.explicitBounds?.length ?? 0) + 1)
      }
      const sent = metrics.find(({ name }) => name === "effect_transport_bytes_sent")
      expect(sent).toMatchObject({ unit: "By", sum: { isMonotonic: true } })
    })
  )

  live(
    `is scraped by Prometheus, and shown by the dashboard${because}`,
    () =>
      Effect.gen(function* () {
        const { batch, claim, prover } = yield* Nodes.start(() => Layer.empty)
        const page = yield* Telemetry.prometheus("nodes", 0)
        const work = Effect.zipRight(
          Effect.forEach([1n, 2n, 3n, 4n, 5n, 6n], claim, { concurrency: "unbounded" }),
          batch
        )
        yield* work
        yield* trouble(prover)
        const { query } = yield* prometheus(new URL(page).host)
        const exprs = dashboard().panels.flatMap(({ targets, title }) => targets.map(({ expr }) => ({ expr, title })))
        // The delay of the event loop is there after a second.
        yield* eventually(
          Effect.gen(function* () {
            const shown = names(yield* Effect.promise(async () => (await fetch(page)).text()))
            const asked = exprs.flatMap(
              ({ expr }) => expr.match(/(?:rpc|effect_transport|nodejs)_[a-z_0-9]+(?=[{[])/g) ?? []
            )
            expect(asked.length).toBeGreaterThan(exprs.length)
            expect(asked.filter((name) => !shown.has(name))).toEqual([])
          }),
          "5 seconds"
        )
        // A rate needs two scrapes, and what was counted between them or before the first.
        yield* eventually(
          Effect.gen(function* () {
            yield* Effect.orDie(work)
            for (const { expr, title } of exprs) {
              const asked = expr.replaceAll("$__rate_interval", "10s").replaceAll("$job", ".*")
              const { data, status } = yield* query(asked)
              expect({ title, status }).toEqual({ title, status: "success" })
              expect({ title, found: (data?.result.length ?? 0) > 0 }).toEqual({ title, found: true })
            }
            const calls = yield* query(
              'rpc_server_call_duration_count{rpc_method="poh.v1.PohService/Prove",rpc_system_name="grpc",rpc_response_status_code="OK"}'
            )
            expect(Number((calls.data?.result[0] as Value | undefined)?.value[1])).toBeGreaterThan(5)
          }),
          "20 seconds"
        )
      }),
    hasPrometheus
  )
})
