import { Clock, Effect, Layer, Stream } from "effect"
import { Credentials, Tls, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }) => Effect.succeed({ slot, valid: true }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const slots = Array.from({ length: 200 }, (_, n) => ({ slot: BigInt(n) }))

const millis = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const began = yield* Clock.currentTimeMillis
    yield* effect
    return (yield* Clock.currentTimeMillis) - began
  })

const compare = Effect.gen(function* () {
  const { target } = yield* Transport.listen([PohHandlers])
  const poh = yield* Transport.client(PohService, target)
  yield* poh.prove({ slot: 0n })
  const oneByOne = yield* millis(Effect.forEach(slots, (slot) => poh.prove(slot)))
  const together = yield* millis(Effect.forEach(slots, (slot) => poh.prove(slot), { concurrency: 64 }))
  const batched = yield* millis(poh.proveBatch(Stream.fromIterable(slots)))
  return { oneByOne, together, batched }
})

/** A node that gets large streams from afar, and many calls from few peers. */
const WireLive = Tls.layer({
  streamWindow: 8 * 1024 * 1024,
  connectionWindow: 32 * 1024 * 1024,
  maxConcurrentStreams: 1000
})

export const program = compare.pipe(Effect.scoped, Effect.provide(WireLive.pipe(Layer.provide(Credentials.layerDev()))))
