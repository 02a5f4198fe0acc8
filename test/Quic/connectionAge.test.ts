import { expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Credentials, Quic, Transport, TransportMetrics } from "effect-transport"
import { echoHandlers } from "../fixtures/grpc.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"

const accepted = Effect.map(Metric.value(TransportMetrics.connectionsAccepted), ({ value }) => value)

it.live("connections are replaced when they are old, without a failed call; a long one has its time to end", () =>
  leavesNothing(
    Effect.gen(function* () {
      const context = yield* Layer.build(
        Layer.provide(
          Quic.layer({ maxConnectionAge: "300 millis", gracePeriod: "1 second", initialReconnectBackoff: "10 millis" }),
          Credentials.layerDev()
        )
      )
      const run = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provide(effect, context)
      const connections = new Set<unknown>()
      const { target } = yield* run(
        Transport.listen([
          echoHandlers({
            echo: (_, { connection }) =>
              Effect.as(
                Effect.sync(() => connections.add(connection)),
                {}
              ),
            echoServerStream: () => Stream.schedule(Stream.repeatValue({}), Schedule.spaced("20 millis"))
          })
        ])
      )
      const before = yield* accepted
      const client = yield* run(Transport.client(EchoService, target))
      const stream = yield* Effect.fork(Effect.either(Stream.runDrain(client.echoServerStream({}))))
      const calls = client.echo({}, { waitForReady: true })
      yield* Effect.repeat(calls, Schedule.intersect(Schedule.spaced("10 millis"), Schedule.recurs(150)))
      expect(connections.size).toBeGreaterThan(2)
      expect(yield* within(Fiber.join(stream), "5 seconds")).toMatchObject({ left: { _tag: "Unavailable" } })
      expect(yield* accepted).toBeLessThanOrEqual(before + 3)
    })
  )
)
