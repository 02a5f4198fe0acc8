import { Duration, Effect, Either, Layer, Stream } from "effect"
import { Credentials, Deadline, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const BackHandlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) =>
    // A step that never ends, for slots without iterations.
    iterations === 0 ? Effect.never : Effect.succeed({ slot, valid: true }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const frontHandlers = (back: Transport.Client<typeof PohService>) =>
  Transport.handlers(PohService, {
    prove: ({ slot }, call) =>
      Effect.gen(function* () {
        const [first, second] = yield* Deadline.split(call.deadline, [1, 3])
        const fresh = yield* Effect.either(Deadline.within(back.prove({ slot, iterations: 0 }), first))
        const other = yield* Deadline.within(back.prove({ slot, iterations: 1 }), second)
        return { slot, valid: other.valid, message: Either.isLeft(fresh) ? fresh.left._tag : "no fallback" }
      }),
    proveBatch: (requests) => back.proveBatch(requests)
  })

const calls = Effect.gen(function* () {
  const transport = yield* Transport.listen([BackHandlers])
  const back = yield* Transport.client(PohService, transport.target)
  const { target } = yield* Transport.listen([frontHandlers(back)])
  const front = yield* Transport.client(PohService, target)
  const { message } = yield* front.prove({ slot: 7n }, { timeout: "4 seconds" })
  const [took, late] = yield* Effect.timed(Effect.flip(back.prove({ slot: 7n }, { timeout: "50 millis" })))
  return { message, late: late._tag, isSoon: Duration.lessThan(took, "30 seconds") }
})

const MainLive = Layer.provide(TlsLive, Credentials.layerDev())

export const program = calls.pipe(Effect.scoped, Effect.provide(MainLive))
