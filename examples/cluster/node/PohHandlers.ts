import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { type PohRequest, PohService } from "../../gen/poh/v1/poh_pb.js"
import * as History from "./History.js"
import { NodeConfig } from "./NodeConfig.js"

const nothing = { valid: 0, invalid: 0, lastValidSlot: 0n }

const count = (sum: typeof nothing, claim: PohRequest): typeof nothing =>
  History.refute(claim) === undefined
    ? { ...sum, valid: sum.valid + 1, lastValidSlot: sum.invalid === 0 ? claim.slot : sum.lastValidSlot }
    : { ...sum, invalid: sum.invalid + 1 }

export const PohHandlers = Transport.handlers(PohService, {
  prove: (claim) =>
    Effect.map(NodeConfig, ({ name }) => {
      const mistake = History.refute(claim)
      return { slot: claim.slot, valid: mistake === undefined, verifier: name, message: mistake ?? "" }
    }),

  proveBatch: (claims) =>
    Effect.gen(function* () {
      const { name } = yield* NodeConfig
      const sum = yield* Stream.runFold(claims, nothing, count)
      return { ...sum, verifier: name }
    })
})
