import { Chunk, Context, Effect, Layer, Stream, SubscriptionRef } from "effect"
import { Credentials, Discovery, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

class Poh extends Context.Tag("app/Poh")<Poh, Transport.Client<typeof PohService>>() {}

const PohLive = Transport.layerClient(Poh, PohService, "dns:///poh.internal:50051")

const others = [
  Discovery.dns({ name: "poh.internal", port: 50051, servers: ["10.0.0.2"] }),
  Discovery.srv({ name: "_grpc._tcp.poh.internal", servers: ["10.0.0.2"] }),
  Discovery.file("/etc/poh/endpoints.json"),
  Discovery.static([{ address: "10.0.0.7:50051", serverName: "poh-a", weight: 2 }])
]

/** A stream of lists, each in place of the one before. */
const registered = (registry: SubscriptionRef.SubscriptionRef<ReadonlyArray<string>>) =>
  Discovery.fromStream(registry.changes)

const states = (target: Transport.Target) =>
  Stream.map(Transport.connection(target), (endpoints) => endpoints.map(({ state }) => state))

const replica = (message: string) =>
  Effect.map(
    Transport.listen([
      Transport.handlers(PohService, {
        prove: ({ slot }) => Effect.succeed({ slot, valid: true, message }),
        proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
      })
    ]),
    ({ target }) => target
  )

const calls = Effect.gen(function* () {
  const [a, b, c] = yield* Effect.all([replica("a"), replica("b"), replica("c")])
  const registry = yield* SubscriptionRef.make<ReadonlyArray<string>>([a, b])
  const discovery = registered(registry)
  const poh = yield* Transport.client(PohService, discovery, { balance: "roundRobin" })
  const ready = (count: number) =>
    Stream.takeUntil(states(discovery), (all) => all.filter((state) => state === "ready").length === count)
  const answers = Effect.replicateEffect(poh.prove({ slot: 7n }), 12)
  yield* Stream.runDrain(ready(2))
  const before = new Set((yield* answers).map(({ message }) => message))
  yield* SubscriptionRef.set(registry, [a, b, c])
  const seen = yield* Stream.runCollect(ready(3))
  const after = new Set((yield* answers).map(({ message }) => message))
  return { before: before.size, after: after.size, last: Chunk.toReadonlyArray(seen).at(-1) }
})

const MainLive = Layer.provide(TlsLive, Credentials.layerDev())

export const program = Effect.map(calls, (result) => ({
  ...result,
  others: others.length,
  byName: Layer.isLayer(PohLive)
})).pipe(Effect.scoped, Effect.provide(MainLive))
