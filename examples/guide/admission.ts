import { Effect, Layer, Stream } from "effect"
import { Admission, Credentials, Limiter, TlsLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }) => Effect.succeed({ slot, valid: true }),
  proveBatch: (requests) => Effect.map(Stream.runCount(requests), (valid) => ({ valid }))
})

const admission = Admission.make({
  identities: { callsInFlight: 200, callsPerSecond: { rate: 500, burst: 1000 } },
  rules: [
    Admission.rule({ name: "gone", match: { spiffeId: "spiffe://mesh/old/*" }, deny: true }),
    Admission.rule({
      name: "jobs",
      match: { spiffeId: "spiffe://mesh/job/*" },
      limits: { callsInFlight: 20 },
      per: "all"
    }),
    Admission.rule({ name: "batch", match: { method: "/poh.v1.PohService/ProveBatch" }, limits: { callsInFlight: 0 } })
  ]
})

const calls = Effect.gen(function* () {
  const { target } = yield* Transport.listen([PohHandlers], { admission })
  const poh = yield* Transport.client(PohService, target)
  const { valid } = yield* poh.prove({ slot: 7n })
  const denied = yield* Effect.flip(poh.proveBatch(Stream.make({ slot: 7n })))
  return { valid, denied: denied._tag }
})

const ofAllNodes = Admission.layer({
  rules: [
    Admission.rule({
      name: "api",
      match: { spiffeId: "spiffe://mesh/api" },
      limits: { callsPerSecond: 1000 },
      across: "nodes"
    })
  ]
}).pipe(Layer.provide(Limiter.layerMemory))

const bySource = Admission.make({
  sources: {
    allow: ["10.0.0.0/8", "fd00::/8"],
    deny: ["10.66.0.0/16"],
    connections: 200,
    connectionsPerSecond: { rate: 100, burst: 500 },
    handshakesPerSecond: 50,
    penalty: { refusals: 20, time: "1 minute" },
    proxyProtocol: { from: ["10.0.0.2"] }
  }
})

const MainLive = Layer.provide(TlsLive, Credentials.layerDev())

export const program = Effect.gen(function* () {
  const { options } = yield* bySource
  const shared = yield* Layer.build(ofAllNodes)
  const { connections } = yield* Effect.provide(Admission.inspect, shared)
  return { ...(yield* calls), allowed: (yield* options).sources?.allow, connections }
}).pipe(Effect.scoped, Effect.provide(MainLive))
