/** `effect-transport list`, `describe`, `call` and `ping` as processes, against listeners on each wire. */
import { execFile } from "node:child_process"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import {
  Credentials,
  GrpcLive,
  Health,
  Metadata,
  NotFound,
  QuicLive,
  Reflection,
  TlsLive,
  Transport
} from "effect-transport"
import { commandFolder, plain } from "../fixtures/cli.js"
import { start } from "../fixtures/command.js"
import { identities, writeCertificates } from "../Quic/peerSupport.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { within } from "../suite/fixtures/expect.js"
import { directory } from "../suite/fixtures/system.js"

const root = fileURLToPath(new URL("../..", import.meta.url))
const buf = join(root, "node_modules/.bin/buf")

/** The time for one process: there may be many others. */
const patience = "60 seconds"

/** Echo that answers with metadata, and refuses the message "nothing". */
const handlers = [
  Transport.handlers(EchoService, {
    ...echo,
    echo: (request, call) =>
      request.message === "nothing"
        ? Effect.fail(new NotFound({ message: "there is no such thing" }))
        : Effect.gen(function* () {
            yield* call.setHeaders({ "x-head": Metadata.getAll(call.metadata, "x-sent").map(String) })
            yield* call.setTrailers({ "x-tail-bin": Uint8Array.of(1, 2) })
            return { message: request.message, payload: request.payload }
          }),
    echoServerStream: (request) =>
      request.message === "slow" ? Stream.never : Stream.map(Stream.range(1, 3), (index) => ({ index }))
  }),
  Health.handlers,
  Reflection.handlers
] as const

const credentials = ["--ca", "ca.pem", "--cert", "cert.pem", "--key", "key.pem"]

interface Wire {
  readonly wire: "grpc" | "quic" | "tls"
  readonly layer: Layer.Layer<Transport.Transport, never, Credentials.Credentials>
}

const grpc: Wire = { wire: "grpc", layer: GrpcLive }

const wires: ReadonlyArray<Wire> = [
  grpc,
  { wire: "quic", layer: Layer.orDie(QuicLive) },
  { wire: "tls", layer: Layer.orDie(TlsLive) }
]

/** A listener on a wire, and how the command is run against it. */
const serving = ({ layer, wire }: Wire) =>
  Effect.gen(function* () {
    const dir = yield* Effect.tap(directory, writeCertificates)
    const context = yield* Layer.build(
      Layer.provide(
        Layer.fresh(layer),
        Layer.succeed(Credentials.Credentials, Credentials.make(identities.good as Credentials.Material))
      )
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))
    const { address } = yield* Transport.listen(handlers, { host: "localhost" }).pipe(
      Effect.provide(context),
      Effect.provide(Health.layer),
      Effect.provide(Logger.remove(Logger.defaultLogger))
    )
    const target = `localhost:${address.port}`
    const cli = (args: ReadonlyArray<string>, stdin = "") =>
      Effect.scoped(
        Effect.gen(function* () {
          const command = join(yield* commandFolder, "effect-transport")
          const { child, ended, output } = yield* start(command, args, dir, plain)
          child.stdin?.end(stdin)
          const code = yield* within(ended, patience)
          return { code, stdout: output.stdout, text: output.text }
        })
      )
    const connected = (command: string, args: ReadonlyArray<string>, stdin?: string) =>
      cli([command, target, ...args, "--wire", wire, ...credentials], stdin)
    return { cli, connected, dir, target, wire }
  })

const json = (text: string): ReadonlyArray<unknown> =>
  text
    .trim()
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line))

const services = [
  EchoService.typeName,
  Health.Contract.typeName,
  Reflection.Contract.typeName,
  Reflection.AlphaContract.typeName
]

const timeout = 600_000

describe.each(wires)("effect-transport over $wire", (each) => {
  it.scopedLive(
    "lists and describes what a node serves, by reflection",
    () =>
      Effect.gen(function* () {
        const { connected } = yield* serving(each)
        const listed = yield* connected("list", [])
        expect(listed.stdout.trim().split("\n"), listed.text).toEqual(services)
        const methods = yield* connected("list", [EchoService.typeName, "--json"])
        expect(json(methods.stdout)).toEqual([
          { services: [{ service: EchoService.typeName, methods: EchoService.methods.map(({ name }) => name) }] }
        ])
        const described = yield* connected("describe", [EchoService.typeName])
        expect(described.stdout).toContain(
          "rpc EchoBidi(stream echo.v1.EchoRequest) returns (stream echo.v1.EchoResponse);"
        )
        const unknown = yield* connected("describe", ["echo.v1.Nothing"])
        expect([unknown.code, unknown.stdout]).toEqual([1, ""])
        expect(unknown.text).toContain("the peer has no echo.v1.Nothing; effect-transport list shows")
      }),
    timeout
  )

  it.scopedLive(
    "calls methods of all shapes, and ends with the status",
    () =>
      Effect.gen(function* () {
        const { connected, wire } = yield* serving(each)
        const call = (method: string, args: ReadonlyArray<string>, stdin?: string) =>
          connected("call", [`${EchoService.typeName}/${method}`, ...args], stdin)

        const unary = yield* call("Echo", [
          "-d",
          '{"message":"grüße \\u202e","payload":"AAEC"}',
          "-v",
          "--json",
          "-H",
          "X-Sent: a"
        ])
        expect(unary.code, unary.text).toBe(0)
        const [message] = json(unary.stdout)
        expect(message).toEqual({ message: "grüße \u202e", payload: "AAEC" })
        // What could change the direction of writing is escaped.
        expect(unary.stdout).not.toContain("\u202e")
        const events = json(unary.text).filter((line) => typeof line === "object" && line !== null && "event" in line)
        expect(events).toMatchObject([
          {
            event: "peer",
            names: expect.arrayContaining([expect.stringContaining("localhost")]),
            notAfter: expect.any(String)
          },
          { event: "connected", wire, millis: expect.any(Number) },
          { event: "contract", method: "/echo.v1.EchoService/Echo" },
          { event: "request", metadata: [["x-sent", "a"]] },
          { event: "headers", metadata: expect.arrayContaining([["x-head", "a"]]) },
          { event: "trailers", metadata: expect.arrayContaining([["x-tail-bin", "AQI="]]) },
          { event: "status", status: "OK", sent: 1, received: 1 }
        ])

        const both = yield* call("EchoBidi", [], '{"message":"a"}\n\n{"message":"b","repeat":2}\n')
        expect(json(both.stdout), both.text).toEqual([{ message: "a" }, { message: "b" }, { message: "b", index: 1 }])
        const client = yield* call("EchoClientStream", ["-d", '{"message":"a"}', "-d", '{"message":"b"}', "--json"])
        expect(json(client.stdout)).toEqual([{ message: "ab", index: 2 }])
        const server = yield* call("EchoServerStream", ["--emit-defaults"])
        expect(json(server.stdout)).toEqual([1, 2, 3].map((index) => ({ message: "", payload: "", index })))

        const failed = yield* call("Echo", ["-d", '{"message":"nothing"}', "--json"])
        expect([failed.code, failed.stdout]).toEqual([64 + 5, ""])
        expect(json(failed.text)).toMatchObject([
          { error: { tag: "NotFound", message: "there is no such thing", exitCode: 69 } }
        ])
        const late = yield* call("EchoServerStream", ["-d", '{"message":"slow"}', "--timeout", "5s"])
        expect(late.code, late.text).toBe(64 + 4)
        const broken = yield* call("EchoBidi", [], '{"message":"a"}\n{"message":7}\n')
        expect(broken.code).toBe(2)
        expect(broken.text).toContain("line 2 of stdin is no echo.v1.EchoRequest")
      }),
    timeout
  )

  it.scopedLive(
    "pings a node",
    () =>
      Effect.gen(function* () {
        const { connected, target, wire } = yield* serving(each)
        const pinged = yield* connected("ping", ["--count", "3", "--interval", "10ms", "--json"])
        expect(pinged.code, pinged.text).toBe(0)
        const ping = (seq: number) => ({ seq, status: "SERVING", millis: expect.any(Number) })
        const times = {
          min: expect.any(Number),
          p50: expect.any(Number),
          p99: expect.any(Number),
          max: expect.any(Number)
        }
        expect(json(pinged.stdout)).toEqual([
          ping(1),
          ping(2),
          ping(3),
          { summary: { target, wire, sent: 3, answered: 3, ...times } }
        ])
        const unknown = yield* connected("ping", ["--count", "2", "--interval", "10ms", "--service", "nobody"])
        expect(unknown.code).toBe(64 + 5)
        expect(unknown.stdout).toContain("2: NotFound")
        expect(unknown.stdout).toContain("2 sent, 0 answered")
      }),
    timeout
  )
})

describe("effect-transport", () => {
  it.scopedLive(
    "takes a contract from .proto files and descriptor files",
    () =>
      Effect.gen(function* () {
        const { cli, connected, dir } = yield* serving(grpc)
        const image = ["build", join(root, "proto"), "-o"]
        const env = { ...process.env, XDG_CACHE_HOME: join(dir, "cache") }
        for (const file of ["contract.binpb", "contract.json", "contract.binpb.gz"]) {
          yield* Effect.promise(() => promisify(execFile)(buf, [...image, join(dir, file)], { env }))
        }
        const echoed = { message: "by file" }
        const call = (...args: ReadonlyArray<string>) =>
          connected("call", [`${EchoService.typeName}.Echo`, "-d", JSON.stringify(echoed), "--json", ...args])
        for (const file of ["contract.binpb", "contract.json", "contract.binpb.gz"]) {
          const called = yield* call("--descriptors", file)
          expect(json(called.stdout), called.text).toEqual([echoed])
        }
        const proto = yield* call("--proto", "echo/v1/echo.proto", "--proto-path", join(root, "proto"))
        expect(json(proto.stdout), proto.text).toEqual([echoed])

        const listed = yield* cli([
          "list",
          "dag.v1.DagService",
          "--proto",
          join(root, "proto/dag/v1/dag.proto"),
          "--proto-path",
          join(root, "proto")
        ])
        expect(listed.stdout, listed.text).toContain("dag.v1.DagService/SubmitTransaction")
        const both = yield* call("--proto", "a.proto", "--descriptors", "contract.binpb")
        expect([both.code, both.stdout]).toEqual([2, ""])
        const none = yield* call("--descriptors", "ca.pem")
        expect(none.code).toBe(1)
        expect(none.text).toContain("ca.pem is no descriptor file")
      }),
    timeout
  )

  it.scopedLive(
    "pings until it is interrupted, and sums up then",
    () =>
      Effect.gen(function* () {
        const { dir, target } = yield* serving(grpc)
        const command = join(yield* commandFolder, "effect-transport")
        const running = yield* start(command, ["ping", target, "--interval", "20ms", ...credentials], dir, plain)
        yield* within(running.said(/5: SERVING/), patience)
        running.child.kill("SIGINT")
        yield* within(running.ended, patience)
        expect(running.output.stdout).toMatch(/sent, \d+ answered\nmin .* p50 .* p99 .* max/)
        expect(running.output.stdout).toMatch(/[▁-█]/)
      }),
    timeout
  )
})
