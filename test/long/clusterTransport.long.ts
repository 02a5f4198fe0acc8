/** A cluster whose runners talk over a transport: one goes, and its shards move. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { scenario } from "../../examples/sharding/scenario.js"
import { within } from "../suite/fixtures/expect.js"

it.scopedLive(
  "three runners, of which one is killed with a thousand messages in flight: every message is answered, once",
  () =>
    Effect.gen(function* () {
      const { before, home, inFlight, left, newHome, replies, runners } = yield* within(scenario, "120 seconds")
      expect(before).toEqual(new Set(runners))
      expect(inFlight).toBe(1000)
      expect(replies.map(({ id }) => id)).toEqual(Array.from({ length: 1000 }, (_, n) => `message ${n}`))
      const survivors = runners.filter((process) => process !== home)
      expect(new Set(replies.map(({ process }) => process))).toEqual(new Set(survivors))
      expect(left).toBe(0)
      expect(survivors).toContain(newHome)
    }).pipe(Effect.provide(NodeContext.layer))
)
