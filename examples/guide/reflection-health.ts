import { Deferred, Effect, Layer, Stream } from "effect"
import { Credentials, Health, Reflection, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }) => Effect.succeed({ slot, valid: true }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const NodeLive = Transport.serve([PohHandlers, Health.handlers, Reflection.handlers])

const service = "poh.v1.PohService"

const catchUp = (work: Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    const health = yield* Health.Health
    // And "" for the process: the two are independent.
    yield* health.set(service, "NOT_SERVING")
    yield* work
    // SERVING again, because a listener has it.
    yield* health.clear(service)
  })

const MainLive = NodeLive.pipe(
  Layer.provideMerge(Health.layer),
  Layer.provideMerge(Layer.provide(TlsLive, Credentials.layerDev()))
)

export const program = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const probe = yield* Transport.client(Health.Contract, target)
  const ask = Effect.map(probe.check({ service }), ({ status }) => status)
  const before = yield* ask
  const during = yield* Deferred.make<unknown>()
  yield* catchUp(Effect.intoDeferred(Effect.orDie(ask), during))
  return { before, during: yield* Deferred.await(during), after: yield* ask }
}).pipe(Effect.scoped, Effect.provide(MainLive))
