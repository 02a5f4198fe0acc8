/** What costs a listener work and brings nothing has one budget a second for each connection. */
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizer, Credentials, Service, Tls, Transport, type TransportOptions } from "effect-transport"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { captureLog } from "../suite/fixtures/observe.js"

const dev = Credentials.layerDev()

const wires: ReadonlyArray<{
  readonly name: string
  readonly layer: (
    options: TransportOptions.TransportOptions
  ) => Layer.Layer<Transport.Transport, unknown, Credentials.Credentials>
}> = [...grpcEngines, ...otherWires([{ name: "TlsLive", layer: Tls.layer }])]

const text = {
  encode: (value: string) => new TextEncoder().encode(value),
  decode: (bytes: Uint8Array) => new TextDecoder().decode(bytes)
}

const Nothing = Service.make("test.Nothing", {
  call: { path: "/test.Nothing/Call", shape: "unary", input: text, output: text }
})

const Closed = Service.make("test.Closed", {
  call: { path: "/test.Closed/Call", shape: "unary", input: text, output: text }
})

const each = (count: number, call: Effect.Effect<unknown, unknown>) =>
  Effect.forEach(Array.from({ length: count }), () => Effect.ignore(call), { concurrency: 20, discard: true })

for (const { layer, name } of wires) {
  describe(name, () => {
    const against = (
      attack: (clients: {
        readonly toEcho: Transport.Client<typeof EchoService>
        readonly toNothing: Transport.Client<typeof Nothing>
        readonly toClosed: Transport.Client<typeof Closed>
      }) => Effect.Effect<unknown, unknown>,
      isOver: boolean
    ) =>
      leavesNothing(
        Effect.gen(function* () {
          const { layer: log, lines } = yield* captureLog
          const memoMap = yield* Layer.makeMemoMap
          const scope = yield* Effect.scope
          const build = (options: TransportOptions.TransportOptions) =>
            Layer.buildWithMemoMap(Layer.orDie(Layer.provide(layer(options), dev)), memoMap, scope)
          const listening = yield* build({ maxUselessRate: 50 })
          const listener = yield* Transport.listen([
            Transport.handlers(EchoService, {
              ...echo,
              echo: ({ message }) => (message === "never" ? Effect.never : Effect.succeed({ message }))
            }),
            Transport.handlers(Closed, { call: Effect.succeed }, { authorize: Authorizer.either() })
          ]).pipe(Effect.provide(listening), Effect.provide(log))
          const other = yield* build({})
          const good = yield* Transport.client(EchoService, listener.target).pipe(Effect.provide(listening))
          const clients = Effect.all([
            Transport.client(EchoService, listener.target),
            Transport.client(Nothing, listener.target),
            Transport.client(Closed, listener.target)
          ])
          const [toEcho, toNothing, toClosed] = yield* clients.pipe(Effect.provide(other), Effect.provide(log))
          yield* attack({ toEcho, toNothing, toClosed })
          const ended = () => lines.some(({ text: line }) => line.includes("ExcessiveLoad") && line.includes("(local)"))
          if (isOver) {
            yield* eventually(Effect.sync(() => expect(ended()).toBe(true)))
          } else {
            expect(ended()).toBe(false)
          }
          expect((yield* good.echo({ message: "good" })).message).toBe("good")
        })
      )

    it.live("ends a connection whose calls are denied", () =>
      against(({ toClosed }) => each(200, toClosed.call("")), true)
    )

    it.live("ends a connection whose calls are for nothing that is here", () =>
      against(({ toNothing }) => each(200, toNothing.call("")), true)
    )

    it.live("ends a connection whose calls have a millisecond", () =>
      against(({ toEcho: client }) => each(200, client.echo({ message: "never" }, { timeout: "1 millis" })), true)
    )

    it.live("ends a connection whose calls are cancelled", () =>
      against(
        ({ toEcho: client }) => each(200, Effect.timeoutOption(client.echo({ message: "never" }), "20 millis")),
        true
      )
    )

    it.live("leaves a connection whose calls are answered", () =>
      against(({ toEcho: client }) => each(200, client.echo({ message: "good" })), false)
    )
  })
}
