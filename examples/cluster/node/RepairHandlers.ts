import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { RepairService } from "../../gen/repair/v1/repair_pb.js"
import { Ledger } from "./Ledger.js"

export const RepairHandlers = Transport.handlers(RepairService, {
  repair: ({ fromHeight, toHeight }) => Stream.fromIterableEffect(Ledger.range(fromHeight, toHeight)),

  acknowledge: ({ fromHeight, received, toHeight }) =>
    Effect.gen(function* () {
      const asked = yield* Ledger.range(fromHeight, toHeight)
      return { complete: received >= asked.length, headHeight: yield* Ledger.height }
    })
})
