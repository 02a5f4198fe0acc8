import Dns from "node:dns"
import * as Http2 from "node:http2"
import { describe, expect, it, vi } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { Credentials, DevCa, Metadata, Transport, TransportError, TransportMetrics } from "effect-transport"
import * as GrpcOptions from "../../src/Grpc/GrpcOptions.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import * as H2 from "../fixtures/http2.js"
import { listen } from "../fixtures/tls.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["localhost", "127.0.0.1"] }))
const secure = rawMaterial(issued, ca.ca)
const accepted = Effect.map(Metric.value(TransportMetrics.connectionsAccepted), ({ value }) => value)

describeEngines(({ layer: transport, layerConfig, on }) => {
  describe("a listener", () => {
    for (const [wire, material] of [
      ["mutual TLS", secure],
      ["insecure", insecure]
    ] as const) {
      it.live(`accepts no more connections than it may, ${wire}`, () =>
        leavesNothing(
          Effect.gen(function* () {
            const before = yield* accepted
            const { target } = yield* on(material, { maxConnections: 2 })(Transport.listen([echoHandlers()]))
            // Each in a layer of its own: they would share a connection.
            const connect = Effect.suspend(() => on(material)(Transport.client(EchoService, target)))
            const first = yield* connect
            yield* Effect.scoped(
              Effect.gen(function* () {
                const second = yield* connect
                expect(yield* Effect.flip(connect)).toMatchObject({
                  _tag: "Unavailable",
                  processed: "no",
                  peer: target
                })
                expect((yield* first.echo({ message: "1" })).message).toBe("1")
                expect((yield* second.echo({ message: "2" })).message).toBe("2")
              })
            )
            yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before + 1)))
            const third = yield* connect
            expect((yield* third.echo({ message: "3" })).message).toBe("3")
          })
        )
      )
    }

    it.live("tells its clients how many streams they may open", () =>
      leavesNothing(
        Effect.gen(function* () {
          for (const [options, expected] of [
            [{}, 100],
            [{ maxConcurrentStreams: 7 }, 7]
          ] as const) {
            const { target } = yield* on(insecure, options)(Transport.listen([echoHandlers()]))
            const session = yield* H2.session(`http://${target}`)
            const settings = yield* Effect.async<Http2.Settings>((resume) => {
              session.once("remoteSettings", (settings) => resume(Effect.succeed(settings)))
            })
            expect(settings.maxConcurrentStreams).toBe(expected)
          }
        })
      )
    )

    it.live("without TLS says so", () =>
      Effect.gen(function* () {
        const log = yield* captureLog
        yield* Effect.scoped(
          Layer.build(Layer.provide(transport(), Credentials.insecure)).pipe(Effect.provide(log.layer))
        )
        expect(log.lines).toEqual([{ level: "WARN", text: expect.stringContaining("without TLS") }])
      })
    )
  })

  describe("a client", () => {
    const grpc = { ":status": 200, "content-type": "application/grpc" }
    const attempts: ReadonlyArray<readonly [title: string, answer: (stream: Http2.ServerHttp2Stream) => void]> = [
      ["refused", (stream) => stream.close(Http2.constants.NGHTTP2_REFUSED_STREAM)],
      ["answered with Unavailable", (stream) => stream.respond({ ...grpc, "grpc-status": "14" }, { endStream: true })],
      [
        "told to try again at once",
        (stream) => stream.respond({ ...grpc, "grpc-status": "14", "grpc-retry-pushback-ms": "0" }, { endStream: true })
      ]
    ]

    it.live.each(attempts)("does not try again by itself when it is %s", ([, answer]) =>
      leavesNothing(
        Effect.gen(function* () {
          let seen = 0
          const server = yield* H2.server((stream) => {
            seen += 1
            answer(stream)
          })
          const client = yield* on(insecure)(Transport.client(EchoService, server.target))
          const unary = yield* Effect.flip(client.echo({}))
          expect(unary).toMatchObject({ _tag: "Unavailable" })
          expect(seen).toBe(1)
          const streaming = yield* Effect.flip(Stream.runDrain(client.echoBidi(Stream.make({}))))
          expect(streaming).toMatchObject({ _tag: "Unavailable" })
          expect(seen).toBe(2)
          // A later attempt would come while other calls do.
          yield* Effect.forEach([1, 2, 3], () => Effect.flip(client.echo({})))
          expect(seen).toBe(5)
        })
      )
    )

    it.live("is told when the server wants it to come back", () =>
      leavesNothing(
        Effect.gen(function* () {
          const server = yield* H2.server((stream) =>
            stream.respond({ ...grpc, "grpc-status": "14", "grpc-retry-pushback-ms": "250" }, { endStream: true })
          )
          const client = yield* on(insecure)(Transport.client(EchoService, server.target))
          const error = yield* Effect.flip(client.echo({}))
          expect(
            TransportError.isStatusError(error) && Metadata.getAll(error.metadata, "grpc-retry-pushback-ms")
          ).toEqual(["250"])
        })
      )
    )

    it.live("asks no name server for a service config", () =>
      leavesNothing(
        Effect.gen(function* () {
          const spies = [
            vi.spyOn(Dns.promises.Resolver.prototype, "resolveTxt"),
            vi.spyOn(Dns.Resolver.prototype, "resolveTxt"),
            vi.spyOn(Dns, "resolveTxt"),
            vi.spyOn(Dns.promises, "resolveTxt")
          ]
          yield* Effect.addFinalizer(() => Effect.sync(() => vi.restoreAllMocks()))
          const { address } = yield* on(secure)(Transport.listen([echoHandlers()], { host: "localhost" }))
          const client = yield* on(secure)(Transport.client(EchoService, `localhost:${address.port}`))
          yield* client.echo({})
          for (const spy of spies) {
            expect(spy).not.toHaveBeenCalled()
          }
        })
      )
    )

    it.live("uses no proxy that the environment names", () =>
      leavesNothing(
        Effect.gen(function* () {
          let trapped = 0
          const trap = yield* listen((socket) => {
            trapped += 1
            socket.resume()
          })
          const names = ["grpc_proxy", "http_proxy", "https_proxy"]
          yield* Effect.addFinalizer(() => Effect.sync(() => vi.unstubAllEnvs()))
          for (const name of names) {
            vi.stubEnv(name, `http://127.0.0.1:${trap.port}`)
          }
          for (const material of [secure, insecure]) {
            const { address, target } = yield* on(material)(Transport.listen([echoHandlers()]))
            for (const to of [target, `localhost:${address.port}`]) {
              const client = yield* on(material)(Transport.client(EchoService, to))
              expect((yield* client.echo({ message: "direct" })).message).toBe("direct")
            }
          }
          expect(trapped).toBe(0)
        })
      )
    )

    const day = 24 * 3600_000

    it.live("with a timeout longer than timers can be waits for ever, and so does the handler", () =>
      leavesNothing(
        Effect.gen(function* () {
          const deadlines: Array<number> = []
          const { target } = yield* on(insecure, { maxCallDuration: Duration.infinity })(
            Transport.listen([
              echoHandlers({ echo: (_, call) => Effect.sync(() => ({ index: deadlines.push(call.deadline) })) })
            ])
          )
          const client = yield* on(insecure)(Transport.client(EchoService, target))
          yield* client.echo({}, { timeout: "30 days" })
          yield* client.echo({}, { timeout: "20 days" })
          const left = deadlines.map((deadline) => (deadline - Date.now()) / day)
          // Timeouts travel with three digits at the least, and grpc-js has no timer for 30 days.
          expect(left[0]).toBeGreaterThan(29.9)
          expect(Math.abs((left[1] ?? 0) - 20)).toBeLessThan(0.2)
        })
      )
    )
  })

  describe("options", () => {
    it("have the defaults that their documentation names", () => {
      const second = (seconds: number) => expect.objectContaining({ value: { _tag: "Millis", millis: seconds * 1000 } })
      expect(GrpcOptions.withDefaults({})).toMatchObject({
        defaultTimeout: second(30),
        maxCallDuration: { unary: 300_000, streaming: Number.POSITIVE_INFINITY },
        gracePeriod: second(5),
        maxSendMessageSize: 4 * 1024 * 1024,
        maxReceiveMessageSize: 4 * 1024 * 1024,
        maxMetadataSize: 16 * 1024,
        maxConcurrentStreams: 100,
        connectTimeout: second(5),
        handshakeTimeout: second(5),
        maxUnsentBytes: 8 * 1024 * 1024,
        maxBufferedBytes: 512 * 1024 * 1024,
        keepaliveTime: second(300),
        keepaliveTimeout: second(10),
        keepaliveWithoutCalls: false,
        maxConnections: 10_000,
        maxHandshakes: 1024,
        maxHandshakeBytes: 128 * 1024,
        maxHandshakeRate: 100,
        maxTotalHandshakeRate: 500,
        maxRefusals: 100,
        refusalPenalty: second(10),
        initialReconnectBackoff: second(1),
        maxReconnectBackoff: second(120),
        rehandshakeWithin: Option.none(),
        serverName: undefined
      })
    })

    it.live("can come from the environment", () =>
      leavesNothing(
        Effect.gen(function* () {
          const layer = layerConfig({
            maxReceiveMessageSize: Config.integer("MAX_MESSAGE"),
            defaultTimeout: Config.duration("TIMEOUT")
          }).pipe(Layer.provide(Credentials.insecure))
          const context = yield* Layer.build(Layer.merge(layer, Logger.remove(Logger.defaultLogger))).pipe(
            Effect.withConfigProvider(
              ConfigProvider.fromMap(
                new Map([
                  ["MAX_MESSAGE", "100"],
                  ["TIMEOUT", "2 seconds"]
                ])
              )
            )
          )
          const error = yield* Effect.gen(function* () {
            const { target } = yield* Transport.listen([
              echoHandlers({
                echo: (_, call) => Effect.sync(() => ({ index: Math.round((call.deadline - Date.now()) / 1000) }))
              })
            ])
            const client = yield* Transport.client(EchoService, target)
            expect((yield* client.echo({})).index).toBe(2)
            return yield* Effect.flip(client.echo({ payload: new Uint8Array(200) }))
          }).pipe(Effect.provide(context))
          expect(error).toMatchObject({ _tag: "ResourceExhausted" })
          const broken = yield* Effect.flip(
            Layer.build(layer).pipe(
              Effect.withConfigProvider(
                ConfigProvider.fromMap(
                  new Map([
                    ["MAX_MESSAGE", "many"],
                    ["TIMEOUT", "2 seconds"]
                  ])
                )
              )
            )
          )
          expect(String(broken)).toContain("MAX_MESSAGE")
        })
      )
    )
  })
})
