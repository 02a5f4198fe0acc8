import { Effect, Layer, Stream } from "effect"
import { Admission, Authorizer, Credentials, DevCa, Tls, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

/** Any node of the mesh may connect. */
const mesh = Authorizer.trustDomain("mesh.example")

/** The auditor may do what others may not. */
const auditor = Authorizer.spiffeId("spiffe://mesh.example/auditor")

const PohHandlers = Transport.handlers(
  PohService,
  {
    prove: ({ slot }, call) => Effect.succeed({ slot, valid: true, verifier: call.peer.address }),
    proveBatch: () => Effect.succeed({ valid: 0 })
  },
  { authorize: { prove: mesh, proveBatch: Authorizer.all(mesh, auditor) } }
)

const admission = Admission.make({
  identities: { callsInFlight: 200 },
  rules: [
    Admission.rule({
      name: "auditor",
      match: { spiffeId: "spiffe://mesh.example/auditor" },
      limits: { callsInFlight: 2 }
    })
  ]
})

const listen = Transport.listen([PohHandlers], { authorize: mesh, admission })

export const program = Effect.gen(function* () {
  const ca = yield* DevCa.make()
  const wireOf = (spiffeId: string) =>
    Layer.unwrapEffect(
      Effect.map(ca.issue({ names: ["localhost", "127.0.0.1"], spiffeId }), ({ cert, key }) =>
        Tls.layer().pipe(Layer.provide(Credentials.layerPem({ cert, key, ca: ca.ca })))
      )
    )
  const server = yield* Layer.build(wireOf("spiffe://mesh.example/node-a"))
  const { target } = yield* Effect.provide(listen, server)
  const tryAs = (spiffeId: string) =>
    Effect.gen(function* () {
      const poh = yield* Transport.client(PohService, target)
      yield* poh.prove({ slot: 7n })
      yield* poh.proveBatch(Stream.empty)
      return "may do both"
    }).pipe(
      Effect.provide(wireOf(spiffeId)),
      Effect.catchTag("PermissionDenied", ({ method }) => Effect.succeed(`may not call ${method}`)),
      Effect.catchTag("HandshakeFailed", ({ reason }) => Effect.succeed(`may not connect: ${reason}`)),
      Effect.scoped
    )
  return yield* Effect.forEach(
    ["spiffe://mesh.example/auditor", "spiffe://mesh.example/node-b", "spiffe://elsewhere.example/node-c"],
    tryAs
  )
}).pipe(Effect.scoped)
