import type { FromClientEncoded } from "@effect/rpc/RpcMessage"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Mailbox from "effect/Mailbox"
import * as Session from "../../src/Rpc/internal/session.js"
import { soon } from "../suite/fixtures/expect.js"

const request = (id: string, payload?: unknown): FromClientEncoded => ({
  _tag: "Request",
  id,
  tag: "Ping",
  payload,
  headers: []
})

it.scopedLive("requests that are given up, or can't be encoded, leave their turns to others", () =>
  Effect.gen(function* () {
    const outbox = yield* Mailbox.make<Uint8Array>(1)
    const session = Session.make(2, RpcSerialization.json.unsafeMake(), outbox)
    yield* session.send(request("1"))
    // There is no room in the outbox for the second, and no turn for the third.
    const second = yield* Effect.fork(session.send(request("2")))
    const third = yield* Effect.fork(session.send(request("3")))
    yield* Effect.yieldNow()
    yield* soon(Fiber.interrupt(third))
    yield* soon(Fiber.interrupt(second))
    yield* outbox.take
    expect((yield* Effect.exit(session.send(request("4", 5n))))._tag).toBe("Failure")
    yield* soon(session.send(request("5")))
    const sixth = yield* Effect.fork(session.send(request("6")))
    yield* outbox.take
    yield* Effect.yieldNow()
    expect(sixth.unsafePoll()).toBe(null)
    session.answered("1")
    yield* soon(Fiber.join(sixth))
    expect(JSON.parse(new TextDecoder().decode(yield* outbox.take))).toMatchObject({ id: "6" })
  })
)
