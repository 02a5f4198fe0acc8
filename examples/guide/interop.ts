import { Effect, Layer, Stream } from "effect"
import { Credentials, Grpc, Health, Reflection, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ iterations, slot }) => Effect.succeed({ slot, valid: iterations > 0, verifier: "node-a" }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

/** With health and reflection, which tools ask for. */
const listen = (port: number) =>
  Transport.listen([PohHandlers, Health.handlers, Reflection.handlers], { port }).pipe(Effect.provide(Health.layer))

const calls = Effect.gen(function* () {
  const { target } = yield* listen(0)
  const poh = yield* Transport.client(PohService, target)
  const { valid } = yield* poh.prove({ slot: 7n, iterations: 1000 }, { metadata: { "x-tenant": "blue" } })
  const reflection = yield* Transport.client(Reflection.Contract, target)
  const names = yield* reflection
    .serverReflectionInfo(Stream.make({ messageRequest: { case: "listServices" as const, value: "" } }))
    .pipe(
      Stream.map(({ messageResponse }) =>
        messageResponse.case === "listServicesResponse" ? messageResponse.value.service.map(({ name }) => name) : []
      ),
      Stream.runCollect
    )
  return { valid, names: Array.from(names).flat() }
})

export const program = calls.pipe(Effect.scoped, Effect.provide(Layer.provide(Grpc.layer(), Credentials.layerDev())))
