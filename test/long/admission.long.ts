/** Floods of those who have not proved who they are, and what a client beside them sees. */
import * as Net from "node:net"
import { monitorEventLoopDelay } from "node:perf_hooks"
import * as NodeTls from "node:tls"
import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { Credentials, DevCa, Tls, Transport } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import { grpcEngines } from "../fixtures/grpcEngines.js"
import { chainOfLargeExponents } from "../fixtures/largeExponents.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually } from "../suite/fixtures/expect.js"

const ca = await Effect.runPromise(DevCa.make())
const material = rawMaterial(await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] })), ca.ca)
const chain = await Effect.runPromise(chainOfLargeExponents(62))

const on =
  <E>(layer: Layer.Layer<Transport.Transport, E, Credentials.Credentials>) =>
  <A, E2, R>(effect: Effect.Effect<A, E2, R>) =>
    Effect.flatMap(
      Layer.build(
        Layer.orDie(Layer.provide(layer, Layer.succeed(Credentials.Credentials, Credentials.make(material))))
      ),
      (context) => Effect.provide(effect, context)
    ).pipe(Effect.provide(Logger.remove(Logger.defaultLogger)))

const connect = (port: number, localAddress: string) => {
  const socket = Net.connect({ port, host: "127.0.0.1", localAddress })
  return socket.on("error", () => {})
}

const quantiles = (millis: Array<number>) => {
  millis.sort((a, b) => a - b)
  const at = (part: number) => (millis[Math.floor((millis.length - 1) * part)] ?? 0).toFixed(1)
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms`
}

for (const [name, layer, alpn] of [
  ["TlsLive", Tls.layer({ connectTimeout: "10 seconds" }), "effect-transport/1"],
  ...grpcEngines.map(({ layer, name }) => [name, layer({ connectTimeout: "10 seconds" }), "h2"] as const)
] as const) {
  describe(name, () => {
    /** A client that connects, and calls, again and again, beside the attack. */
    const beside = (title: string, attack: (port: number) => Effect.Effect<void>) =>
      Effect.gen(function* () {
        const { address, target } = yield* on(layer)(Transport.listen([echoHandlers()]))
        const connected = yield* on(layer)(Transport.client(EchoService, target))
        yield* connected.echo({ message: "warm" })
        const before = process.memoryUsage().rss
        const calls: Array<number> = []
        const connects: Array<number> = []
        let failures = 0
        const call = Effect.gen(function* () {
          const [elapsed] = yield* Effect.timed(connected.echo({ message: "good" }))
          calls.push(Duration.toMillis(elapsed))
          yield* Effect.sleep("5 millis")
        })
        const newcomer = Effect.gen(function* () {
          const [elapsed, outcome] = yield* Effect.timed(
            Effect.either(
              Effect.scoped(
                Effect.flatMap(on(layer)(Transport.client(EchoService, target)), (client) =>
                  client.echo({ message: "good" })
                )
              )
            )
          )
          failures += outcome._tag === "Left" ? 1 : 0
          connects.push(Duration.toMillis(elapsed))
          yield* Effect.sleep("20 millis")
        })
        const calling = yield* Effect.fork(Effect.forever(call))
        const connecting = yield* Effect.fork(Effect.forever(newcomer))
        const delay = monitorEventLoopDelay({ resolution: 5 })
        delay.enable()
        yield* attack(address.port)
        delay.disable()
        yield* Fiber.interrupt(calling)
        yield* Fiber.interrupt(connecting)
        const grown = (process.memoryUsage().rss - before) / 1024 / 1024
        console.log(
          `${name}, ${title}: calls ${quantiles(calls)}; new clients ${connects.length}, ${quantiles(connects)}, ` +
            `${failures} refused; event loop at most ${(delay.max / 1e6).toFixed(0)} ms; RSS +${grown.toFixed(0)} MiB`
        )
        expect((yield* connected.echo({ message: "after" })).message).toBe("after")
        return { failures, connects }
      })

    it.scopedLive("2,000 silent connections of the same source", () =>
      Effect.gen(function* () {
        const sockets = new Set<Net.Socket>()
        const { connects, failures } = yield* beside("2,000 silent connections", (port) =>
          Effect.gen(function* () {
            for (let i = 0; i < 2_000; i++) {
              sockets.add(connect(port, "127.0.0.1"))
              if (i % 10 === 0) {
                yield* Effect.sleep("20 millis")
              }
            }
          })
        )
        yield* eventually(
          Effect.sync(() => expect([...sockets].filter(({ closed }) => !closed).length).toBeLessThanOrEqual(1024))
        )
        for (const socket of sockets) {
          socket.destroy()
        }
        expect(failures).toBe(0)
        expect(connects.length).toBeGreaterThan(10)
      })
    )

    it.scopedLive("chains of 62 certificates with large exponents, four at a time", () =>
      Effect.gen(function* () {
        const { connects, failures } = yield* beside("chains of large exponents", (port) =>
          Effect.gen(function* () {
            const until = performance.now() + 15_000
            const one = Effect.async<void>((resume) => {
              const secured = NodeTls.connect({
                ...chain,
                rejectUnauthorized: false,
                ALPNProtocols: [alpn],
                socket: connect(port, "127.0.0.3")
              })
              secured.on("error", () => {}).resume()
              secured.once("close", () => resume(Effect.void))
            })
            const again = Effect.repeat(Effect.zipRight(Effect.sleep("10 millis"), one), {
              while: () => performance.now() < until
            })
            yield* Effect.replicateEffect(again, 4, { concurrency: 4, discard: true })
          })
        )
        expect(failures).toBe(0)
        expect(connects.length).toBeGreaterThan(50)
      })
    )
  })
}
