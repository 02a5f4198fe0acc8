import { HttpRouter, HttpServerResponse } from "@effect/platform"
import { Deferred, Effect, Layer, Stream } from "effect"
import { Credentials, Grpc, Http2, Tls, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }) => Effect.succeed({ slot, valid: true, verifier: "behind NAT" }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const site = HttpRouter.empty.pipe(HttpRouter.get("/healthz", HttpServerResponse.text("ok")))

const NodeLive = Layer.merge(Transport.serve([PohHandlers]), Http2.layerMount(site))

const plain = Effect.gen(function* () {
  const { target } = yield* Transport.Listener
  const response = yield* Http2.get(target, "/healthz")
  return yield* response.text
}).pipe(Effect.provide(NodeLive), Effect.provide(Grpc.layer()), Effect.provide(Credentials.insecure))

const reversed = Effect.gen(function* () {
  const heard = yield* Deferred.make<string>()
  const ServerHandlers = Transport.handlers(PohService, {
    prove: ({ slot }, call) =>
      Effect.gen(function* () {
        const back = yield* Transport.reverse(PohService, call.connection)
        const { verifier } = yield* back.prove({ slot })
        yield* Deferred.succeed(heard, verifier)
        return { slot, valid: true }
      }),
    proveBatch: () => Effect.succeed({ valid: 0 })
  })
  const { target } = yield* Transport.listen([ServerHandlers])
  yield* Transport.offer([PohHandlers], target)
  const poh = yield* Transport.client(PohService, target)
  yield* poh.prove({ slot: 7n })
  return yield* Deferred.await(heard)
}).pipe(Effect.provide(Layer.provide(Tls.layer(), Credentials.layerDev())))

export const program = Effect.scoped(Effect.all([plain, reversed]))
