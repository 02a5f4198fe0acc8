/** What endpoints cost that can't be reached. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Memory, Transport } from "effect-transport"
import { EchoService } from "../../suite/fixtures/echo.js"
import { eventually } from "../../suite/fixtures/expect.js"

it.scopedLive("those that stand in for endpoints that can't be reached are kept while those are tried again", () =>
  Effect.gen(function* () {
    const transport = yield* Transport.Transport
    const connects = new Map<string, number>()
    const counting: Transport.TransportService = {
      ...transport,
      connect: (target, options) => {
        const key = JSON.stringify(target)
        connects.set(key, (connects.get(key) ?? 0) + 1)
        return transport.connect(target, options)
      }
    }
    const targets = Array.from({ length: 40 }, (_, i) => `127.0.9.${i}:1`)
    const client = yield* Transport.client(EchoService, targets, { connect: "lazy", subset: 4, health: false }).pipe(
      Effect.provideService(Transport.Transport, counting)
    )
    const call = yield* Effect.fork(client.echo({}, { waitForReady: true, timeout: "30 seconds" }))
    yield* eventually(Effect.sync(() => expect(connects.size).toBe(8)))
    // Others come and go in the network, and each time all that wait for an endpoint look again.
    for (let i = 0; i < 20; i += 1) {
      yield* Effect.scoped(Transport.listen([], { host: "127.0.8.1" }))
    }
    expect([...connects.values()]).toEqual(Array.from({ length: 8 }, () => 1))
    yield* call.interruptAsFork(yield* Effect.fiberId)
  }).pipe(Effect.provide(Memory.layer()))
)
