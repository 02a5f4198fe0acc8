/** What `Health` keeps of the services of a process. */
import { describe, expect, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Credentials, Health, Memory, Transport } from "effect-transport"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { closable } from "../suite/fixtures/expect.js"

const EchoHandlers = Transport.handlers(EchoService, echo)

describe("Health", () => {
  it.scopedLive("serves a service for as long as one of its listeners is open", () =>
    Effect.gen(function* () {
      const { all } = yield* Health.Health
      const [, closeOne] = yield* closable(Transport.listen([EchoHandlers]))
      const [, closeOther] = yield* closable(Transport.listen([EchoHandlers]))
      expect(yield* all).toEqual(
        new Map([
          ["", "SERVING"],
          [EchoService.typeName, "SERVING"]
        ])
      )
      yield* closeOne
      expect((yield* all).get(EchoService.typeName)).toBe("SERVING")
      yield* closeOther
      expect((yield* all).has(EchoService.typeName)).toBe(false)
    }).pipe(Effect.provide([Health.layer, Memory.layer()]), Effect.provide(Credentials.layerDev()))
  )

  it.scopedLive("does not have a service serve whose listener could not be opened", () =>
    Effect.gen(function* () {
      const { all } = yield* Health.Health
      yield* Effect.flip(Transport.listen([EchoHandlers], { port: 70_000 }))
      expect([...(yield* all).keys()]).toEqual([""])
    }).pipe(Effect.provide([Health.layer, Memory.layer()]), Effect.provide(Credentials.layerDev()))
  )

  it.scopedLive("keeps no more than the last status for who reads slowly", () =>
    Effect.gen(function* () {
      const { changes, set } = yield* Health.Health
      const reading = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const fiber = yield* changes("a").pipe(
        Stream.tap(() => Effect.zipRight(Deferred.succeed(reading, undefined), Deferred.await(goOn))),
        Stream.takeUntil((status) => status === "SERVING"),
        Stream.runCollect,
        Effect.forkScoped
      )
      yield* Deferred.await(reading)
      for (let i = 0; i < 1000; i++) {
        yield* set("a", i % 2 === 0 ? "SERVING" : "NOT_SERVING")
        yield* Effect.yieldNow()
      }
      yield* set("a", "SERVING")
      yield* Deferred.succeed(goOn, undefined)
      const read = Chunk.toReadonlyArray(yield* Fiber.join(fiber))
      expect(read.length).toBeLessThan(5)
      expect([read[0], read.at(-1)]).toEqual([undefined, "SERVING"])
    }).pipe(Effect.provide(Health.layer))
  )
})
