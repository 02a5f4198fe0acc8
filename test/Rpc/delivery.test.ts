import type { FromServerEncoded } from "@effect/rpc/RpcMessage"
import { expect, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Delivery from "../../src/Rpc/internal/delivery.js"
import { eventually } from "../suite/fixtures/expect.js"

const chunk = (requestId: string): FromServerEncoded => ({ _tag: "Chunk", requestId, values: [1] })
const exit = (requestId: string): FromServerEncoded => ({
  _tag: "Exit",
  requestId,
  exit: { _tag: "Success", value: undefined }
})

it.scopedLive("the end of a stream comes after its last chunk, and other responses meanwhile", () =>
  Effect.gen(function* () {
    const room = yield* Deferred.make<void>()
    const log: Array<string> = []
    const { deliver } = yield* Delivery.make((response) =>
      Effect.gen(function* () {
        if (response._tag === "Chunk") {
          yield* Deferred.await(room)
        }
        log.push("requestId" in response ? `${response._tag} ${response.requestId}` : response._tag)
      })
    )
    yield* deliver(chunk("1"))
    yield* deliver(exit("1"))
    yield* deliver(exit("2"))
    expect(log).toEqual(["Exit 2"])
    yield* Deferred.succeed(room, undefined)
    yield* eventually(Effect.sync(() => expect(log).toEqual(["Exit 2", "Chunk 1", "Exit 1"])))
  })
)

it.scopedLive("a chunk is not kept when nobody waits for it any more", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const { abandon, deliver } = yield* Delivery.make(({ _tag }) =>
      _tag === "Chunk"
        ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => log.push("let go")))
        : Effect.sync(() => log.push(_tag))
    )
    yield* deliver(chunk("1"))
    abandon("1")
    yield* deliver(exit("1"))
    yield* eventually(Effect.sync(() => expect(log).toEqual(["let go", "Exit"])))
  })
)
