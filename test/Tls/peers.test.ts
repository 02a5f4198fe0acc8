/** TlsLive against peers that are slow, silent, dead or hostile. */
import type * as Net from "node:net"
import * as NodeTls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, type Transport as T, Tls, Transport, TransportMetrics } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import * as Wire from "../../src/protocol/wire/Wire.js"
import { Type } from "../../src/protocol/wire/Wire.js"
import * as Frames from "../../src/protocol/wire/WireFrames.js"
import * as Writer from "../../src/protocol/wire/WireWriter.js"
import { connect, listen } from "../fixtures/tls.js"
import { limits } from "../protocol/wire/wireSupport.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { captureLog, follow } from "../suite/fixtures/observe.js"
import { proxy } from "../suite/fixtures/proxy.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))
const material = rawMaterial(issued, ca.ca)
const side = {
  host: "127.0.0.1",
  ca: ca.ca,
  cert: issued.cert,
  key: Redacted.value(issued.key),
  ALPNProtocols: [Wire.alpnProtocol]
}

const on =
  (options?: Tls.TlsOptions, logger = Logger.remove(Logger.defaultLogger)) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Layer.build(
      Layer.provide(Tls.layer(options), Layer.succeed(Credentials.Credentials, Credentials.make(material)))
    ).pipe(
      Effect.flatMap((context) => Effect.provide(effect, context)),
      Effect.provide(logger)
    )

const handlers = (implementation: Partial<T.Implementation<typeof EchoService>> = {}) =>
  Transport.handlers(EchoService, { ...echo, ...implementation }) as T.Handlers<never>

const accepted = Effect.map(Metric.value(TransportMetrics.connectionsAccepted), ({ value }) => value)

/** Frames as one chunk. */
const bytes = (write: (writer: Writer.Writer) => void) => {
  const writer = Writer.make()
  write(writer)
  return Buffer.concat(writer.take())
}

const settings = bytes((writer) => Frames.writeSettings(writer, { ...limits, streamWindow: 2 ** 20 }))

const request = (call: number, path = "/echo.v1.EchoService/Echo", payload = new Uint8Array(0)) =>
  bytes((writer) => Frames.writeOpen(writer, call, { path, timeout: 10_000, metadata: [] }, payload, true))

const overTls = (onSecure: (socket: NodeTls.TLSSocket) => unknown) => {
  const server = NodeTls.createServer({ ...side, requestCert: true })
  server.on("secureConnection", (socket) => {
    socket.on("error", () => {}).resume()
    onSecure(socket)
  })
  server.on("tlsClientError", () => {})
  return (socket: Net.Socket) => void server.emit("connection", socket)
}

describe("a client gives up a server that", () => {
  const nothing = (socket: Net.Socket) => void socket.resume()
  it.live.each([
    ["accepts and says nothing", nothing],
    ["completes TLS and says nothing", overTls(nothing)],
    ["sends half of its SETTINGS", overTls((socket) => socket.write(settings.subarray(0, 12)))]
  ] as const)("%s", ([, onSocket]) =>
    leavesNothing(
      Effect.gen(function* () {
        const server = yield* listen(onSocket)
        const peer = `127.0.0.1:${server.port}`
        const client = on({ connectTimeout: "300 millis" })(Transport.client(EchoService, peer))
        const [elapsed, error] = yield* Effect.timed(within(Effect.flip(Effect.scoped(client)), "3 seconds"))
        expect(error).toMatchObject({ _tag: "DeadlineExceeded", peer })
        expect(Duration.toMillis(elapsed)).toBeGreaterThan(280)
        yield* eventually(Effect.sync(() => expect(server.live()).toBe(0)))
      })
    )
  )

  it.live.each([
    ["speaks another protocol", "http/1.1", "NoCommonProtocol"],
    ["hangs up after the handshake", Wire.alpnProtocol, "Refused"]
  ] as const)("%s", ([, protocol, reason]) =>
    leavesNothing(
      Effect.gen(function* () {
        const tls = NodeTls.createServer({ ...side, ALPNProtocols: [protocol] }, (socket) => socket.destroy())
        tls.on("tlsClientError", () => {})
        const server = yield* listen((socket) => void tls.emit("connection", socket))
        const client = on()(Transport.client(EchoService, `127.0.0.1:${server.port}`))
        expect(yield* Effect.flip(Effect.scoped(client))).toMatchObject({ _tag: "HandshakeFailed", reason })
      })
    )
  )
})

describe("a client logs why its connection ended, where", () => {
  it.live.each([
    ["the server breaks the rules", Buffer.alloc(100, 0xaa), "ProtocolError", "local"],
    [
      "the server says that the client did",
      bytes((writer) => Frames.writeGoaway(writer, 0, "CallRate", "so many")),
      "CallRate, so many",
      "remote"
    ]
  ] as const)("%s", ([, chunk, reason, side]) =>
    leavesNothing(
      Effect.gen(function* () {
        const { layer, lines } = yield* captureLog
        const server = yield* listen(
          overTls((socket) => {
            socket.write(settings)
            // Its first call.
            socket.on("data", (bytes) => {
              if (bytes.includes("/echo.v1.EchoService/Echo")) {
                socket.write(chunk)
              }
            })
          })
        )
        const client = yield* on({}, layer)(Transport.client(EchoService, `127.0.0.1:${server.port}`))
        expect(yield* Effect.flip(client.echo({ message: "x" }))).toMatchObject({ _tag: "Unavailable" })
        yield* eventually(
          Effect.sync(() => {
            const ends = lines.filter(({ text }) => text.includes("ended:"))
            expect(ends.map(({ level }) => level)).toEqual(["WARN"])
            expect(ends[0]?.text).toContain(`ended: ${reason}`)
            expect(ends[0]?.text).toContain(`(${side})`)
          })
        )
      })
    )
  )
})

describe("a listener closes within its limit 20 clients that", () => {
  const drip = (bytes: Buffer) => (socket: Net.Socket) => {
    let sent = 0
    const timer = setInterval(() => socket.write(bytes.subarray(sent, ++sent)), 40)
    socket.once("close", () => clearInterval(timer))
  }
  const finishTls = (then: (socket: NodeTls.TLSSocket) => void) => (socket: Net.Socket) => {
    const secured = NodeTls.connect({ socket, ...side })
    secured
      .on("error", () => {})
      .on("secureConnect", () => {
        secured.resume()
        then(secured)
      })
  }

  it.live.each([
    ["send nothing", () => {}],
    ["send one byte and no more", (socket: Net.Socket) => socket.write(Buffer.of(22))],
    ["drip a handshake", drip(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...Buffer.alloc(500)]))],
    ["complete TLS and send nothing", finishTls(() => {})],
    ["drip their SETTINGS", finishTls(drip(settings))],
    [
      "send half a frame and no more",
      finishTls((socket) => socket.write(Buffer.concat([settings, request(1).subarray(0, 20)])))
    ],
    [
      "drip a frame",
      finishTls((socket) => {
        socket.write(settings)
        drip(request(1, "/x", new Uint8Array(10_000)))(socket)
      })
    ]
  ] as const)("%s", ([, speak]) =>
    leavesNothing(
      Effect.gen(function* () {
        const options: Tls.TlsOptions = { handshakeTimeout: "1 second", frameTimeout: "400 millis" }
        const { address, target } = yield* on(options)(Transport.listen([handlers()]))
        const client = yield* on()(Transport.client(EchoService, target))
        const before = yield* accepted
        const sockets = yield* Effect.replicateEffect(connect(address.port), 20, { concurrency: "unbounded" })
        yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before + 20)))
        for (const socket of sockets) {
          speak(socket)
        }
        expect((yield* client.echo({ message: "meanwhile" })).message).toBe("meanwhile")
        yield* eventually(
          Effect.map(accepted, (now) => expect(now).toBe(before)),
          "4 seconds"
        )
        expect((yield* client.echo({ message: "still" })).message).toBe("still")
      })
    )
  )
})

describe("a peer that breaks the rules loses its connection, and nobody else his", () => {
  const hostile = (port: number) =>
    Effect.gen(function* () {
      const received: Array<Buffer> = []
      const secured = NodeTls.connect({ port, ...side })
      secured.on("error", () => {})
      secured.on("data", (chunk) => received.push(chunk))
      yield* Effect.async<void>((resume) => {
        secured.once("secureConnect", () => resume(Effect.void))
      })
      return { socket: secured, received }
    })

  it.live.each([
    ["garbage", "ProtocolError", () => [Buffer.alloc(100, 0xaa)]],
    ["frames of unknown type", "ProtocolError", () => [settings, bytes((writer) => Writer.empty(writer, 77, 0, 0))]],
    [
      "too many pings",
      "PingRate",
      () => [settings, ...Array.from({ length: 20 }, () => bytes((writer) => Frames.writePing(writer, 0, 1n)))]
    ],
    [
      "calls opened and cancelled",
      "CallRate",
      () => [
        settings,
        ...Array.from({ length: 60 }, (_, i) =>
          Buffer.concat([
            request(2 * i + 1, "/echo.v1.EchoService/EchoBidi"),
            bytes((writer) => Writer.empty(writer, Type.cancel, 0, 2 * i + 1))
          ])
        )
      ]
    ],
    [
      "too many calls",
      "TooManyCalls",
      () => [
        settings,
        ...Array.from({ length: 60 }, (_, i) =>
          bytes((writer) =>
            Frames.writeOpen(
              writer,
              2 * i + 1,
              { path: "/echo.v1.EchoService/EchoBidi", timeout: 10_000, metadata: [] },
              undefined,
              false
            )
          )
        )
      ]
    ],
    [
      "more than its credit",
      "FlowControl",
      () => [
        settings,
        bytes((writer) =>
          Frames.writeOpen(
            writer,
            1,
            { path: "/echo.v1.EchoService/EchoClientStream", timeout: 10_000, metadata: [] },
            undefined,
            false
          )
        ),
        ...Array.from({ length: 100 }, () =>
          bytes((writer) => Frames.writeMessage(writer, 0, 1, new Uint8Array(16_000), 0, 16_000))
        )
      ]
    ]
  ] as const)("%s", ([, reason, chunks]) =>
    leavesNothing(
      Effect.gen(function* () {
        const { layer, lines } = yield* captureLog
        const { address, target } = yield* on(
          { maxConcurrentStreams: 50, maxCancelRate: 50, maxReceiveMessageSize: 2 ** 22 },
          layer
        )(Transport.listen([handlers({ echoBidi: () => Stream.never, echoClientStream: () => Effect.never })]))
        const client = yield* on()(Transport.client(EchoService, target))
        const { received, socket } = yield* hostile(address.port)
        socket.write(Buffer.concat(chunks()))
        yield* eventually(Effect.sync(() => expect(socket.destroyed || socket.readableEnded).toBe(true)))
        const last = Buffer.concat(received)
        const goaway = bytes((writer) => Frames.writeGoaway(writer, 0, reason, ""))
        expect(last.includes(Buffer.of(Type.goaway, 0)), "a GOAWAY").toBe(true)
        expect(last[last.lastIndexOf(Buffer.of(Type.goaway, 0)) + 12]).toBe(goaway[12])
        yield* eventually(Effect.sync(() => expect(lines.map(({ text }) => text).join()).toContain(`ended: ${reason}`)))
        expect((yield* client.echo({ message: "still" })).message).toBe("still")
      })
    )
  )

  it.live("answers that nobody reads", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { layer, lines } = yield* captureLog
        const { address } = yield* on(
          { maxConcurrentStreams: 20, maxMetadataSize: 1024 },
          layer
        )(Transport.listen([handlers({ echo: () => Effect.succeed({ payload: new Uint8Array(16_000) }) })]))
        const before = yield* accepted
        const { socket } = yield* hostile(address.port)
        socket.write(settings)
        socket.pause()
        let call = 1
        const timer = setInterval(() => {
          for (let i = 0; i < 20 && !socket.destroyed; i++, call += 2) {
            socket.write(request(call))
          }
        }, 1)
        yield* eventually(
          Effect.sync(() => expect(lines.map(({ text }) => text).join()).toContain("does not read what it asked for")),
          "10 seconds"
        )
        clearInterval(timer)
        // Nor does it read on, or hang up.
        yield* eventually(
          Effect.map(accepted, (now) => expect(now).toBe(before)),
          "10 seconds"
        )
        socket.destroy()
      })
    )
  )
})

describe("a network that goes silent", () => {
  const quick: Tls.TlsOptions = { keepaliveTime: "150 millis", keepaliveTimeout: "150 millis" }

  it.live("is noticed by both sides, also on an idle connection, and the client connects again", () =>
    leavesNothing(
      Effect.gen(function* () {
        const handler = yield* follow
        const before = yield* accepted
        const { address } = yield* on(quick)(
          Transport.listen([handlers({ echoBidi: () => Stream.fromEffect(handler.run(Effect.never)) })])
        )
        const network = yield* proxy(address.port)
        const client = yield* on({ ...quick, initialReconnectBackoff: "50 millis" })(
          Transport.client(EchoService, network.target)
        )
        const call = yield* Effect.fork(Effect.flip(Stream.runDrain(client.echoBidi(Stream.never))))
        yield* handler.started
        yield* network.freeze
        expect(yield* within(Fiber.join(call), "3 seconds")).toMatchObject({
          _tag: "Unavailable",
          processed: "unknown"
        })
        expect(yield* handler.ended).toBe("interrupted")
        yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before)))
        yield* network.thaw
        yield* network.cut
        const answer = client.echo({ message: "back" }, { waitForReady: true, timeout: "5 seconds" })
        expect((yield* Effect.retry(answer, { times: 3 })).message).toBe("back")
        yield* network.freeze
        yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before)))
      })
    )
  )

  it.live("is not seen where it is not: a slow handler keeps its connection", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { address } = yield* on(quick)(
          Transport.listen([handlers({ echo: () => Effect.delay(Effect.succeed({ message: "slow" }), "800 millis") })])
        )
        const network = yield* proxy(address.port)
        const client = yield* on(quick)(Transport.client(EchoService, network.target))
        expect((yield* client.echo({})).message).toBe("slow")
        expect(network.total()).toBe(1)
      })
    )
  )
})

describe("what became of calls whose connection ends: those", () => {
  const goaway = (lastCall: number) => bytes((writer) => Frames.writeGoaway(writer, lastCall, "Shutdown", ""))
  const head = (call: number) => bytes((writer) => Frames.writeHeaders(writer, call, []))

  it.live.each([
    ["that a GOAWAY leaves out did not run", (socket: Net.Socket): unknown => socket.end(goaway(0)), {}, "no"],
    ["that a GOAWAY takes in may have run", (socket: Net.Socket): unknown => socket.end(goaway(1)), {}, "unknown"],
    [
      "that a GOAWAY leaves out after they were answered may have run",
      (socket: Net.Socket): unknown => socket.end(Buffer.concat([head(1), goaway(0)])),
      {},
      "unknown"
    ],
    ["that were written may have run", (socket: Net.Socket): unknown => socket.destroy(), {}, "unknown"],
    [
      "that were half written may have run",
      (socket: Net.Socket): unknown => socket.destroy(),
      { payload: new Uint8Array(90_000) },
      "unknown"
    ]
  ] as const)("%s", ([, ends, request, processed]) =>
    leavesNothing(
      Effect.gen(function* () {
        const server = yield* listen(
          overTls((socket) => {
            socket.write(settings)
            socket.on("data", (bytes) => {
              if (bytes.includes("/echo.v1.EchoService/Echo")) {
                ends(socket)
              }
            })
          })
        )
        const client = yield* on()(Transport.client(EchoService, `127.0.0.1:${server.port}`))
        expect(yield* within(Effect.flip(client.echo(request)), "2 seconds")).toMatchObject({
          _tag: "Unavailable",
          processed
        })
      })
    )
  )
})
