/** A line that changes bytes: calls fail as on one that was cut, and connections are made again. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Transport } from "effect-transport"
import { rawMaterial } from "../fixtures/certificates.js"
import { EchoService, echo } from "../fixtures/echo.js"
import { within } from "../fixtures/expect.js"
import { proxy } from "../fixtures/proxy.js"
import type { Suite } from "./harness.js"

export const corruption = ({ build, fixed, pki, tcp, test }: Suite): void => {
  // QUIC drops a packet that was changed on its way, and sends it again.
  describe.skipIf(!tcp)("a line that changes bytes", () => {
    /** A listener behind a proxy, whose handlers wait or echo. */
    const behind = Effect.gen(function* () {
      const known = yield* pki
      const started = yield* Deferred.make<void>()
      const wait = Effect.zipRight(Deferred.succeed(started, undefined), Effect.never)
      const handlers = Transport.handlers(EchoService, {
        ...echo,
        echo: ({ message }) => (message === "wait" ? wait : Effect.succeed({ message })),
        echoServerStream: () => Stream.concat(Stream.make({ message: "first" }), Stream.fromEffect(wait))
      })
      const { address } = yield* Effect.provide(
        Transport.listen([handlers]),
        yield* build(fixed(rawMaterial(known.good, known.trusted.ca)))
      )
      const line = yield* proxy(address.port)
      const context = yield* build(fixed(rawMaterial(known.client, known.trusted.ca)))
      return { line, started, connect: Effect.provide(Transport.client(EchoService, line.target), context) }
    })

    test(
      "in the middle of calls makes them Unavailable, and may have run them",
      Effect.gen(function* () {
        for (const way of ["up", "down", "cut"] as const) {
          for (const kind of ["unary", "stream"] as const) {
            const { connect, line, started } = yield* behind
            const client = yield* connect
            const call =
              kind === "unary" ? client.echo({ message: "wait" }) : Stream.runDrain(client.echoServerStream({}))
            const fiber = yield* Effect.fork(Effect.flip(call))
            yield* within(Deferred.await(started), "5 seconds")
            const other = Effect.either(client.echo({ message: "other" }, { timeout: "25 seconds" }))
            if (way === "cut") {
              yield* line.cut
            } else {
              line.spoil(way)
              yield* other
            }
            expect(yield* within(Fiber.join(fiber), "5 seconds")).toMatchObject({
              _tag: "Unavailable",
              processed: "unknown"
            })
            const again = Effect.retry(
              client.echo({ message: "again" }, { timeout: "25 seconds", waitForReady: true }),
              {
                times: 100,
                while: (error) => error._tag === "Unavailable" && error.processed === "no"
              }
            )
            expect(yield* again).toMatchObject({ message: "again" })
          }
        }
      })
    )

    test(
      "in the handshake is no refusal: the next attempt succeeds",
      Effect.gen(function* () {
        const { connect, line } = yield* behind
        for (const [way, offsets] of [
          ["down", [20, 60, 200, 700]],
          ["up", [30, 800]]
        ] as const) {
          for (const at of offsets) {
            line.spoil(way, at)
            const first = yield* Effect.either(Effect.scoped(connect))
            expect([way, at, first]).toMatchObject([way, at, { left: { _tag: "Unavailable", processed: "no" } }])
            yield* Effect.scoped(connect)
          }
        }
      })
    )
  })
}
