import { create } from "@bufbuild/protobuf"
import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, MemoryLive, TlsLive, Transport } from "effect-transport"
import { EchoResponseSchema } from "../../examples/gen/echo/v1/echo_pb.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"

class Echo extends Context.Tag("test/Echo")<Echo, Transport.Client<typeof EchoService>>() {}

const response = create(EchoResponseSchema)

const handlers = Transport.handlers(EchoService, {
  ...echo,
  echo: (_, call) => Effect.succeed({ message: String(call.metadata.entries.length) })
})

/** A program that knows neither the peer nor the wire. */
const program = Effect.gen(function* () {
  const client = yield* Echo
  const { message } = yield* client.echo({ message: "hello" })
  return [message, yield* Stream.runCount(client.echoServerStream({ repeat: 3 }))]
})

for (const [name, live] of [
  ["MemoryLive", MemoryLive],
  ["TlsLive", Layer.provide(TlsLive, Credentials.layerDev())]
] as const) {
  it.live(`${name}: a client is a layer, with the options that it was given`, () =>
    leavesNothing(
      Effect.gen(function* () {
        const { target } = yield* Transport.listen([handlers])
        const layer = Transport.layerClient(Echo, EchoService, target, { metadata: { "x-id": "1" } })
        expect(yield* Effect.provide(program, layer)).toEqual(["1", 3])
      }).pipe(Effect.provide(live))
    )
  )

  it.live(`${name}: the client of a layer lives as long as the layer`, () =>
    Effect.gen(function* () {
      const { target } = yield* Transport.listen([handlers])
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Transport.layerClient(Echo, EchoService, target), scope)
      expect(yield* Effect.provide(program, context)).toEqual(["0", 3])
      yield* Scope.close(scope, Exit.void)
      expect((yield* Effect.flip(Effect.provide(program, context)))._tag).toBe("Cancelled")
    }).pipe(Effect.scoped, Effect.provide(live))
  )

  it.live(`${name}: a layer fails as a client does where it can't be made`, () =>
    Effect.gen(function* () {
      const target = yield* Effect.scoped(Effect.map(Transport.listen([]), ({ target }) => target))
      const fails = (target: string, options?: Transport.ClientOptions) =>
        Effect.flip(Effect.scoped(Layer.build(Transport.layerClient(Echo, EchoService, target, options))))
      expect(yield* fails(target)).toMatchObject({ _tag: "Unavailable", processed: "no", peer: target })
      expect(yield* fails("no port")).toMatchObject({ _tag: "InvalidArgument" })
      const waits = Transport.layerClient(Echo, EchoService, target, { waitForReady: true, timeout: "50 millis" })
      expect((yield* Effect.flip(Effect.provide(program, waits)))._tag).toBe("DeadlineExceeded")
    }).pipe(Effect.provide(live))
  )
}

it.effect("a test puts a client of its own in the place of the layer's", () =>
  Effect.gen(function* () {
    const fake = Layer.succeed(Echo, {
      echo: ({ message = "" }) => Effect.succeed({ ...response, message: message.toUpperCase() }),
      echoServerStream: () => Stream.make(response),
      echoClientStream: () => Effect.succeed(response),
      echoBidi: () => Stream.empty
    })
    expect(yield* Effect.provide(program, fake)).toEqual(["HELLO", 1])
  })
)
