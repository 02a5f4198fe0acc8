/** A cluster whose runners talk over a transport: one goes, and its shards move. */
import * as NodeContext from "@effect/platform-node/NodeContext"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { scenario } from "../../examples/sharding/scenario.js"
import * as Progress from "../../examples/shared/Progress.js"
import { within } from "../suite/fixtures/expect.js"

it.scopedLive(
  "three runners, of which one is killed with a thousand messages in flight: every message is answered, once",
  () =>
    Effect.gen(function* () {
      const { answered, answeredBy, before, home, inFlight, left, newHome, ok, runners } = yield* within(
        scenario({ transport: "tls", nodes: 3, seconds: 1 }),
        "120 seconds"
      )
      expect(ok).toBe(true)
      expect(new Set(before)).toEqual(new Set(runners))
      expect(inFlight).toBe(1000)
      expect(answered).toEqual(Array.from({ length: 1000 }, (_, n) => `message ${n}`))
      const survivors = runners.filter((process) => process !== home)
      expect(new Set(answeredBy)).toEqual(new Set(survivors))
      expect(left).toBe(0)
      expect(survivors).toContain(newHome)
    }).pipe(Effect.provide(Layer.merge(NodeContext.layer, Progress.layer(process.stderr))))
)
