import {
  ClusterSchema,
  Entity,
  MessageStorage,
  RunnerAddress,
  RunnerHealth,
  RunnerStorage,
  ShardingConfig
} from "@effect/cluster"
import * as Rpc from "@effect/rpc/Rpc"
import { expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Credentials, MemoryLive, QuicLive, TlsLive, Transport } from "effect-transport"
import * as ClusterTransport from "effect-transport/ClusterTransport"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"

const Counter = Entity.make("Counter", [
  Rpc.make("Double", { payload: { n: Schema.Number }, success: Schema.Number }),
  Rpc.make("Keep", { payload: { n: Schema.Number }, primaryKey: ({ n }) => `${n}`, success: Schema.Number }).annotate(
    ClusterSchema.Persisted,
    true
  ),
  Rpc.make("Count", { payload: { n: Schema.Number }, success: Schema.Number, stream: true })
])

const counter = Counter.toLayer({
  Double: ({ payload: { n } }) => Effect.succeed(2 * n),
  Keep: ({ payload: { n } }) => Effect.succeed(n),
  Count: ({ payload: { n } }) => Stream.range(1, n)
})

const config = (port?: number) =>
  ShardingConfig.layer({
    runnerAddress: Option.map(Option.fromNullable(port), (port) => RunnerAddress.make("127.0.0.1", port)),
    shardsPerGroup: 10,
    entityTerminationTimeout: 0,
    entityMessagePollInterval: "100 millis",
    entityReplyPollInterval: "50 millis",
    refreshAssignmentsInterval: "100 millis"
  })

const dev = Credentials.layerDev()

for (const [name, transport] of Object.entries({
  MemoryLive,
  TlsLive: Layer.provide(TlsLive, dev),
  QuicLive: Layer.provide(QuicLive, dev)
})) {
  it.live(
    `${name}: a runner, a client of it, and another contract on its port`,
    () =>
      leavesNothing(
        Effect.gen(function* () {
          // A port that was free a moment ago.
          const { address } = yield* Effect.scoped(Transport.listen([]))
          const storage = yield* Layer.build(
            Layer.mergeAll(MessageStorage.layerMemory, RunnerStorage.layerMemory).pipe(Layer.provide(config()))
          )
          const health = yield* Layer.build(
            ClusterTransport.layerRunnerHealth.pipe(
              Layer.provide(config(address.port)),
              Layer.provide(Layer.succeedContext(storage))
            )
          )
          const { isAlive } = Context.get(health, RunnerHealth.RunnerHealth)
          yield* Layer.build(
            counter.pipe(
              Layer.provide(ClusterTransport.layer({ handlers: [Transport.handlers(EchoService, echo)] })),
              Layer.provide([config(address.port), Layer.succeedContext(storage), Layer.succeedContext(health)])
            )
          )
          const client = yield* Layer.build(
            ClusterTransport.layerClientOnly.pipe(Layer.provide([config(), Layer.succeedContext(storage)]))
          )
          const counters = yield* Effect.provide(Counter.client, client)
          const one = counters("one")
          expect(yield* within(one.Double({ n: 21 }), "10 seconds")).toBe(42)
          expect(yield* within(one.Keep({ n: 7 }), "10 seconds")).toBe(7)
          const counted = yield* within(Stream.runCollect(one.Count({ n: 100 })), "10 seconds")
          expect(Chunk.toReadonlyArray(counted)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))

          expect(yield* isAlive(RunnerAddress.make("127.0.0.1", address.port))).toBe(true)
          const other = yield* Transport.client(EchoService, `127.0.0.1:${address.port}`)
          expect((yield* other.echo({ message: "protobuf" })).message).toBe("protobuf")
        }).pipe(Effect.provide(transport))
      ),
    120_000
  )
}

it.live("a runner that does not answer is not alive", () =>
  Effect.gen(function* () {
    const { address } = yield* Effect.scoped(Transport.listen([]))
    const isAlive = Effect.flatMap(RunnerHealth.RunnerHealth, (health) =>
      health.isAlive(RunnerAddress.make("127.0.0.1", address.port))
    )
    const health = ClusterTransport.layerRunnerHealth.pipe(
      Layer.provide(MessageStorage.layerMemory),
      Layer.provide(config())
    )
    expect(yield* within(Effect.provide(isAlive, health), "20 seconds")).toBe(false)
  }).pipe(Effect.provide(MemoryLive), Effect.scoped)
)
