/** What connections of QuicLive leave behind: no memory. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Credentials, Quic, Transport } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

setFlagsFromString("--expose-gc")
const collect: () => void = runInNewContext("gc")

const mebibyte = 1024 * 1024

/** What is in use: of JavaScript, and of the process, in which quiche keeps what is its own. */
const inUse = Effect.sync(() => {
  collect()
  const { external, heapUsed, rss } = process.memoryUsage()
  return { heap: (heapUsed + external) / mebibyte, rss: rss / mebibyte }
})

it.live("memory stays flat over 100,000 calls on one connection", () =>
  leavesNothing(
    Effect.gen(function* () {
      const context = yield* Layer.build(Layer.provide(Quic.QuicLive, Credentials.layerDev()))
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
      const { target } = yield* run(Transport.listen([echoHandlers()]))
      const client = yield* run(Transport.client(EchoService, target))
      const payload = new Uint8Array(100)
      const calls = (count: number) =>
        Effect.all(
          Array.from({ length: 64 }, () =>
            Effect.replicateEffect(client.echo({ payload }), Math.ceil(count / 64), { discard: true })
          ),
          { concurrency: "unbounded", discard: true }
        )
      yield* calls(20_000)
      const before = yield* inUse
      yield* calls(100_000)
      const after = yield* inUse
      expect(after.heap - before.heap).toBeLessThan(8)
      expect(after.rss - before.rss).toBeLessThan(64)
    })
  )
)
