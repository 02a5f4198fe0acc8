import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Credentials, ErrorDetails, NotFound, TlsLive, Transport } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { echo } from "../fixtures/echo.js"
import { leavesNothing } from "../fixtures/expect.js"

const live = Layer.provide(TlsLive, Credentials.layerDev())
const large = { "x-large": "x".repeat(70_000) }

it.live("response metadata that is too large ends its call only, and details that do not fit are left out", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { target } = yield* Transport.listen([
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, call) =>
            message === "details"
              ? Effect.fail(
                  new NotFound({
                    message: "no",
                    details: [ErrorDetails.pack(ErrorDetails.DebugInfo, { detail: "x".repeat(70_000) })]
                  })
                )
              : Effect.as(message === "headers" ? call.setHeaders(large) : call.setTrailers(large), { message }),
          echoServerStream: ({ message }, call) =>
            Stream.as(Stream.fromEffect(message === "headers" ? call.setHeaders(large) : call.setTrailers(large)), {})
        })
      ])
      const client = yield* Transport.client(EchoService, target)
      for (const message of ["headers", "trailers"]) {
        expect(yield* Effect.flip(client.echo({ message }))).toMatchObject({ _tag: "ResourceExhausted" })
        expect(yield* Effect.flip(Stream.runDrain(client.echoServerStream({ message })))).toMatchObject({
          _tag: "ResourceExhausted"
        })
      }
      expect(yield* Effect.flip(client.echo({ message: "details" }))).toMatchObject({ _tag: "NotFound", details: [] })
      expect(yield* Stream.runCount(client.echoBidi(Stream.make({ message: "still" })))).toBe(1)
    }).pipe(Effect.scoped, Effect.provide(live))
  )
)
