import * as Bigint from "effect/BigInt"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Progress } from "../../shared/Progress.js"
import type { PeerAddress } from "../protocol.js"
import * as Observer from "./Observer.js"
import type * as Tally from "./Tally.js"

/** Says every second how far the cluster is: by what its nodes report, and by what one of them lets the world watch. */
export const run = (tally: Tally.Tally, watched: PeerAddress) =>
  Effect.gen(function* () {
    const { line } = yield* Progress
    let blocks = 0
    let height = 0n
    let acknowledged = 0
    const watch = Stream.runForEach(Observer.watch(watched), (block) =>
      Effect.sync(() => {
        blocks += 1
        height = Bigint.max(height, block.height)
      })
    )
    const tick = Effect.suspend(() => {
      const rate = tally.acknowledged.size - acknowledged
      acknowledged = tally.acknowledged.size
      return line(
        "cluster",
        `${acknowledged} transactions acknowledged (${rate}/s), ${blocks} blocks up to height ${height}, ${tally.validProofs()} proofs`
      )
    })
    yield* Effect.raceFirst(watch, Effect.delay(Effect.repeat(tick, Schedule.fixed("1 second")), "1 second"))
  })
