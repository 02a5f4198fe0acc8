/** Endpoints by name and by file: what is found, what is verified, and what stays when nothing is found. */
import Dns from "node:dns"
import { promises as Fs } from "node:fs"
import os from "node:os"
import path from "node:path"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Discovery, Grpc, Memory, Quic, Tls, Transport } from "effect-transport"
import * as Endpoints from "../../../src/Connections/internal/discovery/endpoints.js"
import * as FileSource from "../../../src/Connections/internal/discovery/fileSource.js"
import type * as Source from "../../../src/Connections/internal/discovery/source.js"
import { dnsServer } from "../../fixtures/dnsServer.js"
import { EchoService, echo } from "../../suite/fixtures/echo.js"
import { eventually, fileLeavesNothing } from "../../suite/fixtures/expect.js"

fileLeavesNothing()

const boundary = { caught: () => undefined, guard: () => undefined, log: () => undefined }

/** Runs a source, and keeps what it tells. */
const watch = (discovery: Discovery.Discovery) =>
  Effect.gen(function* () {
    const found: Array<ReadonlyArray<string>> = []
    const failed: Array<string> = []
    const sink: Source.Sink = {
      found: (list) => found.push([...Endpoints.clean(list, "test", boundary).keys()]),
      failed: ({ _tag }) => failed.push(_tag),
      boundary
    }
    const running = yield* discovery.source(sink)
    return { found, failed, again: running.again }
  })

const EchoHandlers = Transport.handlers(EchoService, echo)

describe("a name", () => {
  it.scopedLive("is asked for again when its time is over, and the last answer stays when there is none", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "a.example": { a: ["10.0.0.1", "10.0.0.2", "10.0.0.1"] } })
      const { failed, found } = yield* watch(Discovery.dns("a.example:5", { servers: [server.address] }))
      yield* eventually(
        Effect.sync(() => expect(found.at(-1)).toEqual(["10.0.0.1:5  a.example", "10.0.0.2:5  a.example"]))
      )
      server.zone = { "a.example": { a: ["10.0.0.3"] } }
      yield* eventually(Effect.sync(() => expect(found.at(-1)).toEqual(["10.0.0.3:5  a.example"])))
      const answers = found.length
      for (const nothing of [{}, { "a.example": "garbage" }, { "a.example": {} }] as const) {
        server.zone = nothing
        failed.length = 0
        yield* eventually(
          Effect.sync(() => expect(failed.length).toBeGreaterThan(0)),
          "8 seconds"
        )
      }
      expect(found.length - answers).toBeLessThanOrEqual(1)
      server.zone = { "a.example": { a: ["10.0.0.4"], ttl: 3600 } }
      yield* eventually(
        Effect.sync(() => expect(found.at(-1)).toEqual(["10.0.0.4:5  a.example"])),
        "8 seconds"
      )
    })
  )

  it.scopedLive("of one host with both IP versions is one endpoint, of several hosts one each", () =>
    Effect.gen(function* () {
      const v6 = Buffer.from([...Array.from({ length: 15 }, () => 0), 1])
      const server = yield* dnsServer({
        "one.example": { a: ["10.0.0.1"], aaaa: [v6] },
        "many.example": { a: ["10.0.0.1", "10.0.0.2"], aaaa: [v6] },
        "_grpc._tcp.example": {
          srv: [
            [0, 1, 5, "one.example"],
            [1, 2, 6, "many.example"],
            [0, 0, 0, "one.example"],
            [0, 0, 9, ""]
          ]
        }
      })
      const servers = [server.address]
      const ends = { servers, name: "one.example", port: 7 }
      const one = yield* watch(Discovery.dns(ends))
      const many = yield* watch(Discovery.dns({ ...ends, name: "many.example" }))
      const srv = yield* watch(Discovery.srv("_grpc._tcp.example", { servers }))
      yield* eventually(
        Effect.sync(() => {
          expect(one.found.at(-1)).toEqual(["10.0.0.1:7,[::1]:7  one.example"])
          expect(many.found.at(-1)?.length).toBe(3)
          expect(srv.found.at(-1)).toEqual([
            "10.0.0.1:5,[::1]:5  one.example",
            "10.0.0.1:6,10.0.0.2:6,[::1]:6  many.example"
          ])
        })
      )
    })
  )

  it.scopedLive("fails in time where nobody answers, and what is no server is an invalid argument", () =>
    Effect.gen(function* () {
      const server = yield* dnsServer({ "a.example": "silent" })
      const since = performance.now()
      const { failed } = yield* watch(Discovery.dns("a.example:5", { servers: [server.address] }))
      const wrong = yield* watch(Discovery.dns("a.example:5", { servers: ["nobody"] }))
      expect(wrong.failed).toEqual(["InvalidArgument"])
      yield* eventually(
        Effect.sync(() => expect(failed.length).toBeGreaterThan(0)),
        "7 seconds"
      )
      expect(performance.now() - since).toBeGreaterThan(1000)
    })
  )

  it.scopedLive("that the system looks up holds no more than two of its threads while it hangs, and is given up", () =>
    Effect.gen(function* () {
      let running = 0
      yield* Effect.acquireRelease(
        Effect.sync(() =>
          vi.spyOn(Dns.promises, "lookup").mockImplementation(() => {
            running += 1
            return new Promise(() => undefined)
          })
        ),
        (spy) => Effect.sync(() => spy.mockRestore())
      )
      const names = yield* Effect.forEach([1, 2, 3, 4], (n) => {
        const discovery = Discovery.fromTarget(`dns:///hanging-${n}.example:5`)
        return watch(discovery ?? Discovery.static([]))
      })
      yield* eventually(
        Effect.sync(() => expect(names.map(({ failed }) => failed[0])).toEqual(names.map(() => "DeadlineExceeded"))),
        "6 seconds"
      )
      expect(running).toBe(2)
    })
  )
})

const ca = await Effect.runPromise(DevCa.make())
const named = await Effect.runPromise(ca.issue({ names: ["node.example"] }))
const identity = Credentials.layerPem({ ...named, ca: ca.ca })

const wires: ReadonlyArray<readonly [string, Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>]> = [
  ["GrpcLive", Grpc.layer()],
  ["TlsLive", Tls.layer()],
  ["QuicLive", Quic.layer()]
]

for (const [name, layer] of wires) {
  describe(name, () => {
    it.scopedLive("verifies an endpoint against the name that it was found by, or its own", () =>
      Effect.gen(function* () {
        const { address } = yield* Transport.listen([EchoHandlers])
        const server = yield* dnsServer({
          "node.example": { a: ["127.0.0.1"] },
          "other.example": { a: ["127.0.0.1"] },
          "_echo._tcp.example": { srv: [[0, 0, address.port, "node.example"]] }
        })
        const servers = [server.address]
        const reach = (target: Transport.Target) =>
          Effect.scoped(
            Effect.flatMap(Transport.client(EchoService, target), (client) => client.echo({ message: "hi" }))
          )
        const good = [
          Discovery.dns({ name: "node.example", port: address.port, servers }),
          Discovery.srv({ name: "_echo._tcp.example", servers }),
          Discovery.static([{ address: `127.0.0.1:${address.port}`, serverName: "node.example" }]),
          `dns://${server.address}/node.example:${address.port}`
        ]
        for (const target of good) {
          expect((yield* reach(target)).message).toBe("hi")
        }
        const bad = [
          Discovery.dns({ name: "other.example", port: address.port, servers }),
          Discovery.static([{ address: `127.0.0.1:${address.port}`, serverName: "other.example" }]),
          [`127.0.0.1:${address.port}`]
        ]
        for (const target of bad) {
          expect(yield* Effect.flip(reach(target))).toMatchObject({ _tag: "HandshakeFailed", reason: "NameMismatch" })
        }
      }).pipe(Effect.provide(Layer.provide(layer, identity)))
    )
  })
}

describe("a file", () => {
  it("is read by its schema, and what is wrong has a line", () => {
    expect(FileSource.parse('\uFEFF["a:1", { "address": "b:2", "weight": 2 }]')).toEqual(
      Either.right(["a:1", { address: "b:2", weight: 2 }])
    )
    const lineOf = (text: string) =>
      Either.match(FileSource.parse(text), { onLeft: ({ line }) => line, onRight: () => 0 })
    expect(lineOf('[\n  "a:1",\n  { "address": "b:2",\n    "weight": -1 }\n]')).toBe(4)
    expect(lineOf('[\n  "a:1",\n\n  7\n]')).toBe(4)
    expect(lineOf('[\n  "a:1",\n  }\n]')).toBe(3)
    expect(lineOf('[\n  "a:1"\n')).toBe(3)
    expect(lineOf('{ "address": "a:1" }')).toBe(1)
    expect(lineOf('[{ "address": "a:1", "typo": 1 }]')).toBe(1)
    expect(lineOf("")).toBe(1)
  })

  it.scopedLive("is followed, and keeps the last good list", () =>
    Effect.gen(function* () {
      const folder = yield* Effect.promise(() => Fs.mkdtemp(path.join(os.tmpdir(), "endpoints-")))
      yield* Effect.addFinalizer(() => Effect.promise(() => Fs.rm(folder, { recursive: true })))
      const file = path.join(folder, "endpoints.json")
      const write = (text: string) =>
        Effect.promise(async () => {
          await Fs.writeFile(`${file}.new`, text)
          await Fs.rename(`${file}.new`, file)
        })
      const { failed, found } = yield* watch(Discovery.file(file))
      yield* eventually(Effect.sync(() => expect(failed).toEqual(["Unavailable"])))
      yield* write('["a:1"]')
      yield* eventually(Effect.sync(() => expect(found).toEqual([["a:1"]])))
      yield* write('["b:1"')
      yield* eventually(Effect.sync(() => expect(failed.length).toBe(2)))
      expect(found).toEqual([["a:1"]])
      yield* write('["b:1", "c:1"]')
      yield* eventually(Effect.sync(() => expect(found.at(-1)).toEqual(["b:1", "c:1"])))
    })
  )
})

it("a list is cleaned: hostile entries are left out, duplicates are one, and 10,000 are enough", () => {
  const hostile = [
    "a:1",
    "a:1",
    { address: "a:1", weight: 7 },
    "a b:1",
    { address: "b:0" },
    JSON.parse("null"),
    JSON.parse("{}"),
    {
      get address(): string {
        throw new Error("mine")
      }
    },
    { address: "c:1", weight: Number.NaN, priority: Number.NaN }
  ]
  const cleaned = Endpoints.clean(hostile, "test", boundary)
  expect([...cleaned.keys()]).toEqual(["a:1", "c:1"])
  expect([...cleaned.values()].map(({ priority, weight }) => [weight, priority])).toEqual([
    [1, 0],
    [1, 0]
  ])
  expect(Endpoints.clean(JSON.parse("7"), "test", boundary).size).toBe(0)
  const many = Array.from({ length: 10_500 }, (_, i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}:1`)
  expect(Endpoints.clean(many, "test", boundary).size).toBe(10_000)
})

it.scopedLive("10,000 endpoints cost a client a few connections, and no call", () =>
  Effect.gen(function* () {
    const { target } = yield* Transport.listen([EchoHandlers])
    const many = Array.from({ length: 9999 }, (_, i) => `10.0.${i >> 8}.${i & 255}:1`)
    const client = yield* Transport.client(EchoService, [...many, target], {
      balance: { byKey: () => "k" },
      connect: "lazy"
    })
    const balanced = yield* Transport.client(EchoService, [target, ...many], { subset: 10_000, health: false })
    yield* balanced.echo({})
    const states = yield* Stream.runHead(Transport.connection([target, ...many]))
    expect(states).toMatchObject({ _tag: "Some" })
    expect(yield* Effect.either(client.echo({}, { timeout: "300 millis" }))).toMatchObject({ _tag: "Left" })
  }).pipe(Effect.provide(Memory.layer()))
)
