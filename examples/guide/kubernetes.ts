import { Config, ConfigProvider, Effect, Layer, Stream } from "effect"
import { Credentials, Grpc, Health, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) => Effect.succeed({ slot, valid: iterations > 0 }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

/** Calls in flight have 20 seconds when the pod ends. Connections follow a certificate that is renewed. */
const node = Effect.gen(function* () {
  const [host, port] = yield* Config.all([Config.string("HOST"), Config.integer("PORT")])
  return yield* Transport.listen([PohHandlers, Health.handlers], { host, port })
})
const NodeWireLive = Grpc.layer({ gracePeriod: "20 seconds", rehandshakeWithin: "10 minutes" })

/** What the kubelet asks: gRPC without TLS, and nothing but health. */
const probes = Effect.gen(function* () {
  const port = yield* Config.integer("PROBE_PORT")
  return yield* Transport.listen([Health.handlers], { host: yield* Config.string("HOST"), port })
})
const ProbesWireLive = Layer.provide(Grpc.layer(), Credentials.insecure)

const listening = Effect.gen(function* () {
  const calls = yield* Effect.provide(node, yield* Layer.build(NodeWireLive))
  const health = yield* Effect.provide(probes, yield* Layer.build(ProbesWireLive))
  return { calls, health }
})

const environment = ConfigProvider.fromMap(
  new Map([
    ["HOST", "127.0.0.1"],
    ["PORT", "0"],
    ["PROBE_PORT", "0"]
  ])
)

export const program = Effect.gen(function* () {
  const { calls, health } = yield* listening
  const plain = yield* Layer.build(Layer.provide(Layer.fresh(Grpc.layer()), Credentials.insecure))
  const kubelet = yield* Transport.client(Health.Contract, health.target).pipe(Effect.provide(plain))
  const { status } = yield* kubelet.check({ service: "poh.v1.PohService" })
  const asPeer = yield* Layer.build(Grpc.layer())
  const poh = yield* Transport.client(PohService, calls.target).pipe(Effect.provide(asPeer))
  const { valid } = yield* poh.prove({ slot: 7n, iterations: 1 })
  return { isServing: status === 1, valid }
}).pipe(
  Effect.scoped,
  Effect.provide(Health.layer),
  Effect.provide(Credentials.layerDev()),
  Effect.withConfigProvider(environment)
)
