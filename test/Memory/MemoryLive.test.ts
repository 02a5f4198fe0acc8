import { describe, expect, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import { Memory, MemoryLive, Service, Transport } from "effect-transport"
import { EchoService, echo, serveEcho } from "../suite/fixtures/echo.js"
import { leavesNothing } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"
import { transportSuite } from "../suite/TransportSuite.js"

transportSuite("MemoryLive", { layer: Memory.layer })

describe("MemoryLive", () => {
  it.effect("keeps time by the program's clock", () =>
    Effect.gen(function* () {
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })
      )
      const call = yield* Effect.fork(Effect.flip(client.echo({}, { timeout: "4 minutes" })))
      yield* TestClock.adjust("3 minutes")
      expect(yield* Fiber.poll(call)).toMatchObject({ _tag: "None" })
      yield* TestClock.adjust("1 minute")
      expect(yield* Fiber.join(call)).toMatchObject({ _tag: "DeadlineExceeded" })
    }).pipe(leavesNothing, Effect.provide(MemoryLive))
  )

  it.effect("ends calls that take too long by the program's clock", () =>
    Effect.gen(function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, { ...echo, echo: () => Effect.never }))
      const call = yield* Effect.fork(Effect.flip(client.echo({}, { timeout: "1 hour" })))
      yield* TestClock.adjust("299 seconds")
      expect(yield* Fiber.poll(call)).toMatchObject({ _tag: "None" })
      yield* TestClock.adjust("1 second")
      const error = yield* Fiber.join(call)
      expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
      expect(error.message).toContain("maxCallDuration")
    }).pipe(leavesNothing, Effect.provide(MemoryLive))
  )

  it.live("takes options from the environment", () =>
    Effect.gen(function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, { ...echo, echo: () => Effect.never }))
      const error = yield* Effect.flip(client.echo({}, { timeout: Duration.infinity }))
      expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
    }).pipe(
      leavesNothing,
      Effect.provide(Memory.layerConfig({ maxCallDuration: Config.duration("MAX_CALL_DURATION") })),
      Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["MAX_CALL_DURATION", "50 millis"]])))
    )
  )

  it.live("finds listeners by the host that they give, however many layers a program builds", () =>
    Effect.gen(function* () {
      const named = (host: string) =>
        Transport.listen(
          [Transport.handlers(EchoService, { ...echo, echo: () => Effect.succeed({ message: host }) })],
          { host, port: 50051 }
        )
      const [a, b] = yield* Effect.provide(
        Effect.all([named("Node-A"), named("node-b")]),
        yield* Layer.build(Memory.layer())
      )
      expect([a.target, b.target]).toEqual(["node-a:50051", "node-b:50051"])
      const answers = yield* Effect.forEach(["node-b:50051", "node-A:50051"], (target) =>
        Effect.flatMap(Transport.client(EchoService, target), (client) => client.echo({}))
      ).pipe(Effect.provide(yield* Layer.build(Memory.layer())))
      expect(answers.map(({ message }) => message)).toEqual(["node-b", "Node-A"])
    }).pipe(leavesNothing)
  )

  it.live("gives no handler what the caller could have sent only here", () =>
    Effect.gen(function* () {
      // The listener reads with the codec of its own contract, whatever the caller writes with.
      const text = (prefix: string) => ({
        encode: (value: string) => new TextEncoder().encode(value),
        decode: (bytes: Uint8Array) => prefix + new TextDecoder().decode(bytes)
      })
      const contract = (side: string) =>
        Service.make("test.Sides", {
          both: {
            path: "/test.Sides/Both",
            shape: "bidiStreaming",
            input: text(`${side} read `),
            output: text(`${side} read `)
          }
        })
      const listener = yield* Transport.listen([
        Transport.handlers(contract("listener"), { both: (requests) => requests })
      ])
      const client = yield* Transport.client(contract("client"), listener.target)
      expect(yield* Stream.runHead(client.both(Stream.make("x")))).toMatchObject({
        value: "client read listener read x"
      })
    }).pipe(leavesNothing, Effect.provide(MemoryLive))
  )

  it.live("keeps the listeners of a network to the layers that have it", () =>
    Effect.gen(function* () {
      const [one, other] = [Memory.makeNetwork(), Memory.makeNetwork()]
      const named = (network: Memory.Network) =>
        Effect.flatMap(Layer.build(Memory.layer({ network })), (context) =>
          Effect.provide(
            Transport.listen([Transport.handlers(EchoService, echo)], { host: "node-a", port: 50051 }),
            context
          )
        )
      yield* named(one)
      expect(yield* Effect.flip(named(one))).toMatchObject({ _tag: "BindError", reason: "AddressInUse" })
      yield* named(other)
      const connecting = (layer: Layer.Layer<Transport.Transport>) =>
        Effect.flatMap(Layer.build(layer), (context) =>
          Effect.provide(Transport.client(EchoService, "node-a:50051"), context)
        )
      expect((yield* (yield* connecting(Memory.layer({ network: one }))).echo({ message: "x" })).message).toBe("x")
      expect(yield* Effect.flip(connecting(Memory.layer()))).toMatchObject({ _tag: "Unavailable", processed: "no" })
    }).pipe(leavesNothing)
  )

  it.live("runs handlers that call on, a thousand deep", () =>
    Effect.gen(function* () {
      const target = "127.0.0.1:50052"
      const client = yield* Transport.client(EchoService, target, { waitForReady: true })
      yield* Transport.listen(
        [
          Transport.handlers(EchoService, {
            ...echo,
            echo: ({ repeat = 0 }) =>
              repeat === 0 ? Effect.succeed({ message: "bottom" }) : Effect.orDie(client.echo({ repeat: repeat - 1 }))
          })
        ],
        { port: 50052 }
      )
      expect((yield* client.echo({ repeat: 1000 })).message).toBe("bottom")
    }).pipe(leavesNothing, Effect.provide(Memory.layer({ maxConcurrentStreams: 2000, network: Memory.makeNetwork() })))
  )
})
