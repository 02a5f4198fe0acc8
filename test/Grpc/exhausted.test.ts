/** A client whose connection has used up its stream ids, of which there are few here. */
import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { Transport } from "effect-transport"
import { vi } from "vitest"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { grpcEngine } from "../fixtures/grpcEngines.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, soon } from "../suite/fixtures/expect.js"

vi.mock("../../src/protocol/http2/Http2Frames.js", async (importOriginal) => ({
  ...(await importOriginal<object>()),
  maxStreamId: 15
}))

it.live("goes on with another connection", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { on } = grpcEngine("GrpcLive")
      const { target } = yield* on(insecure)(Transport.listen([echoHandlers()]))
      const client = yield* on(insecure)(Transport.client(EchoService, target))
      for (let i = 0; i < 40; i++) {
        const { message } = yield* soon(client.echo({ message: `${i}` }))
        expect(message).toBe(`${i}`)
      }
      // Those that begin at once find no id left, and say so in a way that may be retried.
      const outcomes = yield* soon(
        Effect.all(
          Array.from({ length: 20 }, () => Effect.either(client.echo({ message: "at once" }))),
          { concurrency: "unbounded" }
        )
      )
      for (const outcome of outcomes) {
        expect(outcome).toMatchObject(
          outcome._tag === "Right"
            ? { right: { message: "at once" } }
            : { left: { _tag: "Unavailable", processed: "no" } }
        )
      }
    })
  )
)
