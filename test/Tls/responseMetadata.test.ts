import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Credentials, ErrorDetails, Metadata, NotFound, Tls, TlsLive, Transport } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

const live = Layer.provide(TlsLive, Credentials.layerDev())
const keyOf = (length: number) => ({ ["k".repeat(length)]: "v" })
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

it.live(
  "what does not fit a frame ends its call only, whatever the two ends allow, and a text is cut at a character",
  () =>
    leavesNothing(
      Effect.gen(function* () {
        const credentials = Credentials.layerDev()
        const layer = (maxMetadataSize: number) => Layer.provide(Tls.layer({ maxMetadataSize }), credentials)
        const memoMap = yield* Layer.makeMemoMap
        const scope = yield* Effect.scope
        const small = yield* Layer.buildWithMemoMap(layer(2_000), memoMap, scope)
        const huge = yield* Layer.buildWithMemoMap(layer(1_000_000), memoMap, scope)
        const text = "日本🚀".repeat(30_000)
        const filled = (size: number) => ({ "x-v": "x".repeat(size - 35) })
        const handlers = Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message, repeat }, call) =>
            message === "status"
              ? Effect.fail(
                  new NotFound({
                    message: text,
                    details: [ErrorDetails.pack(ErrorDetails.DebugInfo, { detail: "x".repeat(12_000) })],
                    metadata: Metadata.make(filled(repeat))
                  })
                )
              : Effect.as(message === "headers" ? call.setHeaders(filled(repeat)) : call.setTrailers(filled(repeat)), {
                  message
                })
        })
        for (const [listener, caller, limit] of [
          [small, huge, 2_000],
          [huge, small, 2_000],
          [huge, huge, 32_768]
        ] as const) {
          const { target } = yield* Effect.provide(Transport.listen([handlers]), listener)
          const client = yield* Effect.provide(Transport.client(EchoService, target), caller)
          for (const message of ["headers", "trailers"]) {
            expect((yield* client.echo({ message, repeat: limit })).message).toBe(message)
            expect(yield* Effect.flip(client.echo({ message, repeat: limit + 1 }))).toMatchObject({
              _tag: "ResourceExhausted"
            })
            expect((yield* client.echo({ message, repeat: 100 })).message).toBe(message)
          }
          for (const size of [limit, limit + 1]) {
            const error = yield* Effect.flip(client.echo({ message: "status", repeat: size }))
            expect(error).toMatchObject({ _tag: "NotFound", details: [{}] })
            expect(text.startsWith(error.message)).toBe(true)
            expect(Buffer.byteLength(error.message)).toBeGreaterThan(4090)
            expect((error as NotFound).metadata.entries).toHaveLength(size > limit ? 0 : 1)
          }
          expect((yield* client.echo({ message: "headers", repeat: 100 })).message).toBe("headers")
        }
      }).pipe(Effect.scoped)
    )
)

it.live("keys too long for a frame are InvalidArgument to a caller and Internal from a handler, and no more", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { target } = yield* Transport.listen([
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message, repeat }, call) =>
            Effect.as(message === "headers" ? call.setHeaders(keyOf(repeat)) : call.setTrailers(keyOf(repeat)), {
              message
            })
        })
      ])
      const client = yield* Transport.client(EchoService, target)
      for (const message of ["headers", "trailers"]) {
        expect((yield* client.echo({ message, repeat: 255 }, { metadata: keyOf(255) })).message).toBe(message)
        expect(yield* Effect.flip(client.echo({ message, repeat: 256 }))).toMatchObject({ _tag: "Internal" })
        expect(yield* Effect.flip(client.echo({ message, repeat: 1 }, { metadata: keyOf(256) }))).toMatchObject({
          _tag: "InvalidArgument"
        })
        expect((yield* client.echo({ message, repeat: 1 })).message).toBe(message)
      }
    }).pipe(Effect.scoped, Effect.provide(live))
  )
)
