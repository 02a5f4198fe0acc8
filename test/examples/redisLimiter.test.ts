import { spawn, spawnSync } from "node:child_process"
import * as Net from "node:net"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Admission, Limiter, MemoryLive, Transport } from "effect-transport"
import * as RedisLimiter from "../../examples/limiter/RedisLimiter.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually } from "../suite/fixtures/expect.js"

const hasRedis = spawnSync("redis-server", ["--version"]).status === 0

const freePort = Effect.async<number>((resume) => {
  const server = Net.createServer().listen(0, "127.0.0.1", () => {
    const address = server.address()
    server.close(() => resume(Effect.succeed(typeof address === "object" && address !== null ? address.port : 0)))
  })
})

/** A server of its own, without files. */
const redis = Effect.gen(function* () {
  const port = yield* freePort
  const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
  yield* Effect.acquireRelease(
    Effect.sync(() => spawn("redis-server", args, { stdio: "ignore" })),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  const listens = Effect.async<void, Error>((resume) => {
    const socket = Net.connect(port, "127.0.0.1")
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.once("error", (error) => resume(Effect.fail(error)))
  })
  yield* eventually(Effect.orDie(listens))
  return { host: "127.0.0.1", port }
})

it.live.runIf(hasRedis)(
  "nodes that ask one Redis share a rate",
  () =>
    Effect.gen(function* () {
      const limiter = RedisLimiter.layer(yield* redis)
      const rules = [
        Admission.rule({
          name: "shared",
          match: { method: "/echo.v1.EchoService/*" },
          limits: { callsPerSecond: { rate: 20, burst: 20 } },
          across: "nodes"
        })
      ]
      const context = yield* Layer.build(limiter)
      const node = Effect.gen(function* () {
        const admission = yield* Effect.provide(Admission.make({ rules }), context)
        const listener = yield* Transport.listen([Transport.handlers(EchoService, echo)], { admission })
        return yield* Transport.client(EchoService, listener.target)
      })
      const clients = [yield* node, yield* node]
      const began = performance.now()
      let answered = 0
      let refused = 0
      for (let i = 0; i < 100; i++) {
        const answer = yield* Effect.either((clients[i % 2] ?? (yield* node)).echo({}))
        if (answer._tag === "Right") {
          answered += 1
        } else {
          expect(answer.left._tag).toBe("ResourceExhausted")
          refused += 1
        }
        yield* Effect.sleep("2 millis")
      }
      const seconds = (performance.now() - began) / 1000
      expect(answered).toBeGreaterThanOrEqual(15)
      // The burst, the rate, and what each of two nodes spends ahead.
      expect(answered).toBeLessThanOrEqual(20 + 20 * seconds + 2 * 2 + 1)
      expect(answered + refused).toBe(100)
      const { take } = yield* Effect.provide(Limiter.Limiter, context)
      const whole = { key: "another", count: 20, rate: 20, burst: 20 }
      expect(yield* take(whole)).toEqual({ granted: 20, retryAfter: 0 })
      expect((yield* take(whole)).granted).toBe(0)
    }).pipe(Effect.scoped, Effect.provide(MemoryLive)),
  60_000
)
