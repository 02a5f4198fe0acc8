/** Clients of servers that end each connection at once, or answer pings and no calls, on each wire. */
import * as NodeTls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { Credentials, DevCa, Quic, Tls, Transport } from "effect-transport"
import * as Frames3 from "../../src/protocol/http3/Http3Frames.js"
import * as Wire from "../../src/protocol/wire/Wire.js"
import * as Quiche from "../../src/Quic/engine/quiche.js"
import * as QuicheEngine from "../../src/Quic/engine/quicheEngine.js"
import { admission } from "../fixtures/admission.js"
import { type GrpcEngine, grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { ack, frame, type as frameType, onFrames, preface, settings as settingsFrame } from "../fixtures/http2.js"
import { listen } from "../fixtures/tls.js"
import { control, written } from "../protocol/http3/http3Support.js"
import { limits, makeEnd } from "../protocol/wire/wireSupport.js"
import { settings as quicSettings, quiet, silent } from "../Quic/quicSupport.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, fileLeavesNothing, within } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1", "localhost"] }))
const material = rawMaterial(issued, ca.ca)

/** `goaway`: asks each client to go away as soon as it has come. `deaf`: answers pings and nothing else. */
type Fault = "goaway" | "deaf"

interface Server {
  readonly target: string
  /** Connections that are open, and how many there ever were. */
  readonly live: () => number
  readonly total: () => number
}

const side = {
  ca: ca.ca,
  cert: issued.cert,
  key: Redacted.value(issued.key),
  requestCert: true
}

/** A server of TLS, whose connections the test makes something of. */
const overTls = (protocol: string, onSecure: (socket: NodeTls.TLSSocket) => void) =>
  Effect.gen(function* () {
    let total = 0
    const tls = NodeTls.createServer({ ...side, ALPNProtocols: [protocol] }, (socket) => {
      total += 1
      socket.on("error", () => {})
      onSecure(socket)
    })
    const { live, port } = yield* listen((socket) => void tls.emit("connection", socket))
    return { target: `127.0.0.1:${port}`, live, total: () => total }
  })

const goaway2 = Buffer.alloc(8)

interface Wired {
  readonly name: string
  readonly serve: (fault: Fault) => Effect.Effect<Server, never, Scope.Scope>
  readonly layer: Layer.Layer<Transport.Transport>
}

const credentials = Layer.succeed(Credentials.Credentials, Credentials.make(material))

const grpc = ({ layer, name }: GrpcEngine): Wired => ({
  name,
  layer: Layer.provide(layer(), credentials),
  serve: (fault) =>
    overTls("h2", (socket) => {
      socket.write(settingsFrame())
      onFrames(
        socket,
        ({ flags, payload, type }) => {
          if (type === frameType.settings && (flags & ack) === 0) {
            socket.write(frame(frameType.settings, ack, 0))
            if (fault === "goaway") {
              socket.write(frame(frameType.goaway, 0, 0, goaway2))
            }
          } else if (type === frameType.ping && (flags & ack) === 0) {
            socket.write(frame(frameType.ping, ack, 0, payload))
          }
        },
        preface.length
      )
    })
})

const tls: Wired = {
  name: "TlsLive",
  layer: Layer.provide(Layer.orDie(Tls.layer()), credentials),
  serve: (fault) =>
    overTls(Wire.alpnProtocol, (socket) => {
      const { wire } = makeEnd("server", { ...limits, streamWindow: 2 ** 20 })
      const flush = () => {
        for (const chunk of wire.output(2 ** 20)) {
          socket.write(Buffer.from(chunk))
        }
      }
      if (fault === "goaway") {
        wire.goaway("Shutdown", "")
      }
      socket.on("data", (chunk) => {
        wire.receive(chunk, performance.now())
        flush()
      })
      flush()
    })
}

const engine = QuicheEngine.make(await Quiche.load())

const quic: Wired = {
  name: "QuicLive",
  layer: Layer.provide(Layer.orDie(Quic.layer()), credentials),
  serve: (fault) =>
    Effect.gen(function* () {
      let total = 0
      let live = 0
      const { local } = yield* Effect.acquireRelease(
        Effect.promise(() =>
          engine.listen({
            local: { host: "127.0.0.1", port: 0 },
            tls: () => ({
              ca: [ca.ca],
              certificate: { chain: issued.cert, key: Redacted.value(issued.key) },
              verifyChain: true,
              asksCertificate: true
            }),
            settings: { ...quicSettings, alpnProtocol: "h3" },
            maxConnections: 1000,
            admission: admission(),
            maxTotalHandshakeBytes: 1024 * 1024,
            onConnection: (connection) => ({
              ...quiet,
              onEstablished: () => {
                total += 1
                live += 1
                connection.accept()
                const id = connection.openUni(silent)
                connection.write(id, control, false)
                if (fault === "goaway") {
                  connection.write(
                    id,
                    written((writer) => Frames3.writeIntegers(writer, 0x07, [0])),
                    false
                  )
                }
              },
              onClosed: () => {
                live -= 1
              },
              onStream: () => silent
            }),
            onError: () => {}
          })
        ),
        (listener) => Effect.promise(() => listener.close())
      )
      return { target: `127.0.0.1:${local.port}`, live: () => live, total: () => total }
    })
}

fileLeavesNothing()

for (const { layer, name, serve } of [...grpcEngines.map(grpc), ...otherWires([tls, quic])]) {
  const on = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.flatMap(Layer.build(layer), (context) => Effect.provide(effect, context))

  describe.concurrent(name, () => {
    it.live("asks a server less and less often that ends each connection at once, and keeps none of them", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const { layer: logged, lines } = yield* captureLog
          const server = yield* serve("goaway")
          yield* Effect.provide(on(Transport.client(EchoService, server.target)), logged)
          yield* Effect.sleep("3 seconds")
          // At once, again at once, and then after 1 and 1.6 seconds, give or take a fifth.
          expect(server.total()).toBeGreaterThanOrEqual(3)
          expect(server.total()).toBeLessThanOrEqual(5)
          yield* eventually(Effect.sync(() => expect(server.live()).toBe(0)))
          expect(lines.filter(({ text }) => text.includes("3 connections to")).map(({ level }) => level)).toEqual([
            "WARN"
          ])
        })
      )
    )

    it.live(
      "fails the calls of such a server, and hurries by no more than one attempt a second for those that wait",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const server = yield* serve("goaway")
            const client = yield* on(Transport.client(EchoService, server.target))
            const call = client.echo({}, { waitForReady: true, timeout: "3 seconds" })
            const errors = yield* Effect.forEach([1, 2, 3], () => Effect.flip(call), { concurrency: "unbounded" })
            for (const error of errors) {
              expect(["Unavailable", "DeadlineExceeded"]).toContain(error._tag)
            }
            expect(server.total()).toBeLessThanOrEqual(7)
          })
        )
    )

    it.live(
      "replaces a connection on which calls only time out, whatever its pings say, and more and more seldom",
      () =>
        Effect.scoped(
          Effect.gen(function* () {
            const server = yield* serve("deaf")
            const client = yield* on(Transport.client(EchoService, server.target))
            expect(server.total()).toBe(1)
            const call = Effect.flip(client.echo({}, { timeout: "200 millis" }))
            for (let i = 0; i < 4; i++) {
              expect(yield* call).toMatchObject({ _tag: "DeadlineExceeded" })
            }
            yield* eventually(Effect.sync(() => expect([server.total(), server.live()]).toEqual([2, 1])))
            for (let i = 0; i < 10; i++) {
              yield* call
            }
            yield* eventually(Effect.sync(() => expect(server.total()).toBeGreaterThan(2)))
            expect(server.total()).toBeLessThanOrEqual(4)
            expect(server.live()).toBeLessThanOrEqual(2)
          })
        )
    )

    it.live("lets the calls end that run on a connection which is replaced", () =>
      Effect.scoped(
        Effect.gen(function* () {
          const server = yield* serve("deaf")
          const client = yield* on(Transport.client(EchoService, server.target))
          const long = yield* Effect.fork(Effect.flip(client.echo({}, { timeout: "2 seconds" })))
          const call = Effect.flip(client.echo({}, { timeout: "200 millis" }))
          yield* Effect.repeatN(call, 3)
          yield* eventually(Effect.sync(() => expect([server.total(), server.live()]).toEqual([2, 2])))
          expect(yield* within(long, "3 seconds")).toMatchObject({ _tag: "DeadlineExceeded" })
          yield* eventually(Effect.sync(() => expect(server.live()).toBe(1)))
        })
      )
    )
  })
}
