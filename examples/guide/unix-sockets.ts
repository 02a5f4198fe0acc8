import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Effect, Layer } from "effect"
import { Credentials, GrpcLive, Transport } from "effect-transport"
import { PohService } from "../gen/poh/v1/poh_pb.js"

const PohHandlers = Transport.handlers(PohService, {
  prove: ({ slot }, call) => Effect.succeed({ slot, valid: true, verifier: call.peer.address }),
  proveBatch: () => Effect.succeed({ valid: 0 })
})

export const program = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "guide-"))),
    (folder) => Effect.promise(() => rm(folder, { recursive: true }))
  )
  const { target } = yield* Transport.listen([PohHandlers], { path: join(folder, "node.sock"), mode: 0o660 })
  const poh = yield* Transport.client(PohService, target)
  const { valid } = yield* poh.prove({ slot: 7n })
  return { valid, isUnix: target.startsWith("unix:/") }
}).pipe(Effect.provide(Layer.provide(GrpcLive, Credentials.layerDev())), Effect.scoped)
