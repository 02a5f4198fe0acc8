import { describe, expect, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import { Credentials, Grpc, Memory, MemoryLive, Quic, Tls, Transport } from "effect-transport"
import * as MemoryModule from "effect-transport/Memory"
import * as TransportOptions from "effect-transport/TransportOptions"
import * as GrpcJsOptions from "../../src/Grpc/GrpcJsOptions.js"
import * as GrpcOptions from "../../src/Grpc/GrpcOptions.js"
import * as QuicOptions from "../../src/Quic/QuicOptions.js"
import * as TlsOptions from "../../src/Tls/TlsOptions.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

const MiB = 1024 * 1024

/** Settings as a table reads: durations in seconds, or `Infinity`. */
const plain = (settings: object) =>
  Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      key,
      Duration.isDuration(value) ? Duration.toSeconds(value) : Option.isOption(value) ? Option.getOrNull(value) : value
    ])
  )

const all = {
  defaultTimeout: 30,
  maxCallDuration: { unary: 300_000, streaming: Number.POSITIVE_INFINITY },
  gracePeriod: 5,
  maxSendMessageSize: 4 * MiB,
  maxReceiveMessageSize: 4 * MiB,
  maxMessageElements: 65_536,
  maxMetadataSize: 16 * 1024,
  maxUnsentBytes: 8 * MiB,
  maxBufferedBytes: 512 * MiB,
  maxUselessRate: 2000,
  maxConcurrentStreams: 100,
  metrics: true
}

const wires = {
  ...all,
  handshakeTimeout: 5,
  maxHandshakes: 1024,
  maxHandshakeBytes: 128 * 1024,
  maxHandshakeRate: 100,
  maxTotalHandshakeRate: 500,
  maxRefusals: 100,
  refusalPenalty: 10,
  connectTimeout: 5,
  keepaliveTime: 30,
  keepaliveTimeout: 10,
  messageTimeout: 60,
  connectionWindow: 8 * MiB,
  maxConnections: 10_000,
  maxConnectionAge: Number.POSITIVE_INFINITY,
  initialReconnectBackoff: 1,
  maxReconnectBackoff: 120,
  rehandshakeWithin: null,
  serverName: undefined
}

const streams = { streamWindow: MiB, maxCallRate: 200_000, maxCancelRate: 10_000 }

const withDefaults = {
  GrpcLive: GrpcOptions.withDefaults,
  "Grpc.layerGrpcJs": GrpcJsOptions.withDefaults,
  QuicLive: QuicOptions.withDefaults,
  TlsLive: TlsOptions.withDefaults
}

describe("options", () => {
  it("have the defaults that their documentation names, all of them", () => {
    expect(plain(TransportOptions.withDefaults({}))).toEqual(all)
    expect(plain(GrpcOptions.withDefaults({}))).toEqual({
      ...wires,
      ...streams,
      streamWindow: 65_535,
      compression: "identity",
      keepaliveTime: 300,
      keepaliveWithoutCalls: false,
      maxPingRate: 1000
    })
    expect(plain(GrpcJsOptions.withDefaults({}))).toEqual({
      ...wires,
      keepaliveTime: 300,
      keepaliveWithoutCalls: false,
      maxSessionMemory: 64
    })
    expect(plain(TlsOptions.withDefaults({}))).toEqual({ ...wires, ...streams, frameTimeout: 10, maxPingRate: 10 })
    expect(plain(QuicOptions.withDefaults({}))).toEqual({
      ...wires,
      ...streams,
      compression: "identity",
      keepaliveTime: 25,
      maxConnectionAge: 24 * 3600,
      maxHandshakes: 200,
      unreadWindow: 100 * MiB,
      maxUdpPayload: 1350,
      maxDatagrams: 1024,
      maxDatagramBytes: MiB,
      maxTotalHandshakeBytes: 4 * MiB,
      maxPacketRate: 500_000,
      maxIdlePacketRate: 10_000,
      maxIdleBytes: 4 * MiB,
      clientCertificate: "require"
    })
  })

  for (const [name, settingsOf] of Object.entries(withDefaults)) {
    it(`that wires share are read alike by ${name}`, () => {
      const durations = {
        connectTimeout: 1,
        defaultTimeout: 2,
        gracePeriod: 3,
        handshakeTimeout: 4,
        initialReconnectBackoff: 5,
        keepaliveTime: 6,
        keepaliveTimeout: 7,
        maxConnectionAge: 8,
        maxReconnectBackoff: 9,
        messageTimeout: 10,
        refusalPenalty: 11,
        rehandshakeWithin: 12
      }
      const numbers = {
        connectionWindow: 1,
        maxBufferedBytes: 2,
        maxConcurrentStreams: 3,
        maxConnections: 4,
        maxHandshakeBytes: 5,
        maxHandshakeRate: 6,
        maxHandshakes: 7,
        maxMessageElements: 8,
        maxMetadataSize: 9,
        maxReceiveMessageSize: 10,
        maxRefusals: 11,
        maxSendMessageSize: 12,
        maxTotalHandshakeRate: 13,
        maxUnsentBytes: 14,
        maxUselessRate: 15
      }
      const given = {
        ...Object.fromEntries(Object.entries(durations).map(([key, seconds]) => [key, Duration.seconds(seconds)])),
        ...numbers,
        maxCallDuration: "13 seconds",
        serverName: "node.example"
      } as const
      const settings = settingsOf(given)
      expect({
        ...plain(settings),
        rehandshakeWithin: plain({ in: Option.getOrNull(settings.rehandshakeWithin) }).in
      }).toMatchObject({
        ...durations,
        ...numbers,
        maxCallDuration: { unary: 13_000, streaming: 13_000 },
        serverName: "node.example"
      })
      for (const key of [...Object.keys(durations), "maxCallDuration"]) {
        expect(() => settingsOf({ [key]: -1 })).toThrow(`${key} is no duration: -1`)
      }
    })
  }

  it("of the old name work, and the new name wins", () => {
    expect(TlsOptions.withDefaults({ callWindow: 2 ** 18 }).streamWindow).toBe(2 ** 18)
    expect(TlsOptions.withDefaults({ callWindow: 2 ** 18, streamWindow: 2 ** 19 }).streamWindow).toBe(2 ** 19)
    expect(TlsOptions.withDefaults({ callWindow: 2 ** 18, streamWindow: undefined }).streamWindow).toBe(2 ** 18)
    expect(QuicOptions.withDefaults({ streamWindow: 2 ** 18 }).streamWindow).toBe(2 ** 18)
  })

  it("are clamped to what their wire can say", () => {
    const most = {
      connectionWindow: Number.POSITIVE_INFINITY,
      maxConcurrentStreams: Number.POSITIVE_INFINITY,
      maxMetadataSize: Number.POSITIVE_INFINITY,
      maxReceiveMessageSize: Number.POSITIVE_INFINITY
    }
    const uint32 = 2 ** 32 - 1
    expect(TlsOptions.withDefaults({ ...most, streamWindow: Number.POSITIVE_INFINITY })).toMatchObject({
      connectionWindow: uint32,
      maxConcurrentStreams: uint32,
      maxMetadataSize: 32 * 1024,
      maxReceiveMessageSize: uint32,
      streamWindow: uint32
    })
    expect(GrpcOptions.withDefaults({ ...most, streamWindow: Number.POSITIVE_INFINITY })).toMatchObject({
      maxConcurrentStreams: uint32,
      maxMetadataSize: MiB,
      streamWindow: 2 ** 31 - 1
    })
    expect(GrpcJsOptions.withDefaults(most)).toMatchObject({ maxConcurrentStreams: uint32, maxMetadataSize: 60 * 1024 })
    expect(QuicOptions.withDefaults(most)).toMatchObject({ maxMetadataSize: MiB })
    expect(TransportOptions.withDefaults(most)).toMatchObject({ maxMetadataSize: MiB })
  })
})

describe("transports whose options have no end", () => {
  const options = {
    connectionWindow: Number.POSITIVE_INFINITY,
    maxConcurrentStreams: Number.POSITIVE_INFINITY,
    maxReceiveMessageSize: Number.POSITIVE_INFINITY
  }
  const streamWindow = Number.POSITIVE_INFINITY
  for (const [name, layer] of [
    ["GrpcLive", Grpc.layer({ ...options, streamWindow })],
    ["Grpc.layerGrpcJs", Grpc.layerGrpcJs(options)],
    ["MemoryLive", Memory.layer(options)],
    ["QuicLive", Quic.layer({ ...options, streamWindow })],
    ["TlsLive", Tls.layer({ ...options, streamWindow })]
  ] as const) {
    it.scopedLive(`work: ${name}`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const { target } = yield* Transport.listen([Transport.handlers(EchoService, echo)])
          const client = yield* Transport.client(EchoService, target)
          const payload = Buffer.alloc(MiB, 7)
          expect(payload.equals((yield* client.echo({ payload })).payload)).toBe(true)
        }).pipe(Effect.provide(layer), Effect.provide(Credentials.layerDev()))
      )
    )
  }
})

class First extends Context.Tag("test/First")<First, Transport.TransportService>() {}
class Second extends Context.Tag("test/Second")<Second, Transport.TransportService>() {}

describe("options from the environment", () => {
  const config = {
    defaultTimeout: Config.duration("TIMEOUT"),
    maxReceiveMessageSize: Config.integer("MAX_MESSAGE")
  }
  const provider = (size: string) =>
    ConfigProvider.fromMap(
      new Map([
        ["MAX_MESSAGE", size],
        ["TIMEOUT", "2 seconds"]
      ])
    )
  for (const [name, layer] of [
    ["GrpcLive", Grpc.layerConfig(config)],
    ["Grpc.layerGrpcJs", Grpc.layerGrpcJsConfig(config)],
    ["MemoryLive", Memory.layerConfig(config)],
    ["QuicLive", Quic.layerConfig(config)],
    ["TlsLive", Tls.layerConfig(config)]
  ] as const) {
    const build = (size: string) =>
      Layer.build(Layer.merge(Layer.provide(layer, Credentials.layerDev()), Logger.remove(Logger.defaultLogger))).pipe(
        Effect.withConfigProvider(provider(size))
      )

    it.scopedLive(`are read by ${name}`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const error = yield* Effect.gen(function* () {
            const { target } = yield* Transport.listen([
              Transport.handlers(EchoService, {
                ...echo,
                echo: (_, call) => Effect.sync(() => ({ index: Math.round((call.deadline - Date.now()) / 1000) }))
              })
            ])
            const client = yield* Transport.client(EchoService, target)
            expect((yield* client.echo({})).index).toBe(2)
            return yield* Effect.flip(client.echo({ payload: new Uint8Array(200) }))
          }).pipe(Effect.provide(yield* build("100")))
          expect(error).toMatchObject({ _tag: "ResourceExhausted" })
          expect(String(yield* Effect.flip(build("many")))).toContain("MAX_MESSAGE")
        })
      )
    )

    it.scopedLive(`make one transport where they are equal: ${name}`, () =>
      Effect.gen(function* () {
        const first = Layer.provide(Layer.effect(First, Transport.Transport), layer)
        const second = Layer.provide(Layer.effect(Second, Transport.Transport), layer)
        const context = yield* Layer.build(Layer.provide(Layer.merge(first, second), Credentials.layerDev()))
        expect(Context.get(context, First).connect).toBe(Context.get(context, Second).connect)
      }).pipe(Effect.withConfigProvider(provider("100")))
    )
  }
})

it("effect-transport/Memory is the namespace Memory", () => {
  expect({ ...MemoryModule }).toEqual({ ...Memory })
  expect(MemoryModule.MemoryLive).toBe(MemoryLive)
})
