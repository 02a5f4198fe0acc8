import { describe, expect, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Stream from "effect/Stream"
import { DevCa, Transport, TransportMetrics } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import type { Options } from "../fixtures/grpcEngines.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"
import { proxy } from "../suite/fixtures/proxy.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))

const quick: Options = {
  keepaliveTime: "150 millis",
  keepaliveTimeout: "150 millis",
  keepaliveWithoutCalls: true
}
const never: Options = { keepaliveTime: "1 hour" }

const accepted = Effect.map(Metric.value(TransportMetrics.connectionsAccepted), ({ value }) => value)

describeEngines(({ on }) => {
  for (const [wire, material] of [
    ["mutual TLS", rawMaterial(issued, ca.ca)],
    ["insecure", insecure]
  ] as const) {
    describe(`a network that goes silent, ${wire}`, () => {
      /** A listener, and a client of it that goes through a proxy. */
      const between = (server: Options, client: Options, implementation?: Parameters<typeof echoHandlers>[0]) =>
        Effect.gen(function* () {
          const { address } = yield* on(material, server)(Transport.listen([echoHandlers(implementation)]))
          const network = yield* proxy(address.port)
          const { target } = network
          return { network, target, client: yield* on(material, client)(Transport.client(EchoService, target)) }
        })

      it.live("is noticed by a client with calls, which end as Unavailable", () =>
        leavesNothing(
          Effect.gen(function* () {
            const unary = yield* follow
            const { client, network, target } = yield* between(never, quick, {
              echo: () => unary.run(Effect.never),
              echoBidi: () => Stream.never
            })
            const calls = yield* Effect.fork(
              Effect.all([Effect.flip(client.echo({})), Effect.flip(Stream.runDrain(client.echoBidi(Stream.never)))], {
                concurrency: 2
              })
            )
            yield* unary.started
            yield* network.freeze
            const [elapsed, errors] = yield* Effect.timed(Fiber.join(calls))
            expect(Duration.toMillis(elapsed)).toBeLessThan(10_000)
            for (const error of errors) {
              expect(error).toMatchObject({ _tag: "Unavailable", processed: "unknown", peer: target })
            }
            yield* network.thaw
            yield* network.cut
          })
        )
      )

      it.live("is noticed by a listener with calls, whose handlers are interrupted", () =>
        leavesNothing(
          Effect.gen(function* () {
            const unary = yield* follow
            const streaming = yield* follow
            const before = yield* accepted
            const { client, network } = yield* between(quick, never, {
              echo: () => unary.run(Effect.never),
              echoBidi: () => Stream.fromEffect(streaming.run(Effect.never))
            })
            yield* Effect.fork(client.echo({}))
            yield* Effect.fork(Stream.runDrain(client.echoBidi(Stream.never)))
            yield* unary.started
            yield* streaming.started
            yield* network.freeze
            expect([yield* unary.ended, yield* streaming.ended]).toEqual(["interrupted", "interrupted"])
            yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before)))
            yield* network.thaw
            yield* network.cut
          })
        )
      )

      it.live("is noticed by both on an idle connection, and the client connects again", () =>
        leavesNothing(
          Effect.gen(function* () {
            const before = yield* accepted
            const { client, network } = yield* between(quick, { ...quick, initialReconnectBackoff: "50 millis" })
            expect(yield* accepted).toBe(before + 1)
            yield* network.freeze
            yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before)))
            yield* eventually(Effect.sync(() => expect(network.total()).toBeGreaterThan(1)))
            yield* network.thaw
            yield* network.cut
            const answer = client.echo({ message: "back" }, { waitForReady: true, timeout: "5 seconds" })
            expect((yield* Effect.retry(answer, { times: 3 })).message).toBe("back")
          })
        )
      )

      it.live("is not seen where it is not: a slow handler keeps its connection", () =>
        leavesNothing(
          Effect.gen(function* () {
            const { client, network } = yield* between(quick, quick, {
              echo: () => Effect.delay(Effect.succeed({ message: "slow" }), "800 millis")
            })
            expect((yield* client.echo({})).message).toBe("slow")
            expect(network.total()).toBe(1)
          })
        )
      )
    })
  }
})
