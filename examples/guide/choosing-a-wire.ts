import { Config, Effect, Layer } from "effect"
import { Credentials, GrpcLive, MemoryLive, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const wires = { grpc: GrpcLive, memory: MemoryLive, tls: TlsLive }

/** The wire that the environment names, in `WIRE`. */
const WireLive = Layer.unwrapEffect(
  Effect.map(Config.withDefault(Config.literal("grpc", "tls", "memory")("WIRE"), "grpc"), (name) => wires[name])
)

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }) => Effect.succeed({ slot, valid: true }),
  proveBatch: () => Effect.succeed({ valid: 0 })
})

const onBoth = Effect.gen(function* () {
  const grpc = yield* Layer.build(GrpcLive)
  const tls = yield* Layer.build(TlsLive)
  const forOthers = yield* Effect.provide(Transport.listen([PohHandlers]), grpc)
  const forUs = yield* Effect.provide(Transport.listen([PohHandlers]), tls)
  const wrong = yield* Transport.client(PohService, forUs.target).pipe(Effect.provide(grpc), Effect.flip)
  const right = yield* Transport.client(PohService, forOthers.target).pipe(Effect.provide(grpc))
  const { valid } = yield* right.prove({ slot: 7n })
  return { valid, wrong: wrong._tag === "HandshakeFailed" ? wrong.reason : wrong._tag }
})

const named = Effect.gen(function* () {
  const { target } = yield* Transport.listen([PohHandlers])
  const poh = yield* Transport.client(PohService, target)
  return (yield* poh.prove({ slot: 8n })).valid
}).pipe(Effect.provide(WireLive))

export const program = Effect.all([onBoth, named]).pipe(Effect.scoped, Effect.provide(Credentials.layerDev()))
