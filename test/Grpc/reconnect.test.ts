import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import { DevCa, Transport, TransportMetrics } from "effect-transport"
import { describeEngines } from "../fixtures/describeEngines.js"
import { echoHandlers, insecure } from "../fixtures/grpc.js"
import { rawMaterial } from "../suite/fixtures/certificates.js"
import { EchoService } from "../suite/fixtures/echo.js"
import { eventually, leavesNothing, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"
import { proxy } from "../suite/fixtures/proxy.js"

const ca = await Effect.runPromise(DevCa.make())
const issued = await Effect.runPromise(ca.issue({ names: ["127.0.0.1"] }))

const backoff = { initialReconnectBackoff: "50 millis", maxReconnectBackoff: "200 millis" } as const
const gauge = (metric: Metric.Metric.Gauge<number>) => Effect.map(Metric.value(metric), ({ value }) => value)
const accepted = gauge(TransportMetrics.connectionsAccepted)
const opened = gauge(TransportMetrics.connectionsOpened)

describeEngines(({ on }) => {
  for (const [wire, material] of [
    ["mutual TLS", rawMaterial(issued, ca.ca)],
    ["insecure", insecure]
  ] as const) {
    describe(`a listener that restarts on its port, ${wire}`, () => {
      const closable = (port = 0, implementation?: Parameters<typeof echoHandlers>[0]) =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const listener = yield* Scope.extend(
            on(material)(Transport.listen([echoHandlers(implementation)], { port, gracePeriod: 0 })),
            scope
          )
          return { ...listener, close: Scope.close(scope, Exit.void) }
        })

      it.live("fails the calls in flight, then those made meanwhile, and is found again", () =>
        leavesNothing(
          Effect.gen(function* () {
            const before = yield* opened
            const handler = yield* follow
            const first = yield* closable(0, { echo: () => handler.run(Effect.never) })
            const client = yield* on(material, backoff)(Transport.client(EchoService, first.target))
            const inFlight = yield* Effect.fork(Effect.flip(client.echo({})))
            yield* handler.started
            yield* first.close
            expect(yield* Fiber.join(inFlight)).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
            const waiting = yield* Effect.fork(client.echo({ message: "waited" }, { waitForReady: true }))
            for (let i = 0; i < 5; i++) {
              const error = yield* within(Effect.flip(client.echo({})), "1 second")
              expect(error).toMatchObject({
                _tag: "Unavailable",
                processed: "no",
                peer: first.target,
                method: "/echo.v1.EchoService/Echo",
                message: expect.stringContaining("ECONNREFUSED")
              })
            }
            expect(yield* opened).toBe(before + 1)
            const second = yield* closable(first.address.port)
            expect((yield* within(Fiber.join(waiting), "3 seconds")).message).toBe("waited")
            expect((yield* client.echo({ message: "again" })).message).toBe("again")
            expect(yield* opened).toBe(before + 1)
            yield* second.close
          })
        )
      )

      it.live("is connected to again though nobody calls", () =>
        leavesNothing(
          Effect.gen(function* () {
            const before = yield* accepted
            const first = yield* closable()
            yield* on(material, backoff)(Transport.client(EchoService, first.target))
            expect(yield* accepted).toBe(before + 1)
            yield* first.close
            yield* eventually(Effect.map(accepted, (now) => expect(now).toBe(before)))
            const second = yield* closable(first.address.port)
            yield* eventually(
              Effect.map(accepted, (now) => expect(now).toBe(before + 1)),
              "3 seconds"
            )
            yield* second.close
          })
        )
      )

      it.live("again and again", () =>
        leavesNothing(
          Effect.gen(function* () {
            const first = yield* closable()
            const client = yield* on(material, backoff)(Transport.client(EchoService, first.target))
            yield* first.close
            for (let i = 0; i < 5; i++) {
              const next = yield* closable(first.address.port)
              const answer = client.echo({ message: String(i) }, { waitForReady: true, timeout: "5 seconds" })
              // A call may have been given to the connection that is just going away.
              expect((yield* Effect.retry(answer, { times: 2 })).message).toBe(String(i))
              yield* next.close
            }
          })
        )
      )
    })

    it.live(`a connection that is cut is made again at once, ${wire}`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const { address } = yield* on(material)(Transport.listen([echoHandlers()]))
          const network = yield* proxy(address.port)
          // Whoever waits before the first attempt waits longer than this test.
          const patient = { initialReconnectBackoff: "2 minutes", maxReconnectBackoff: "2 minutes" } as const
          const client = yield* on(material, patient)(Transport.client(EchoService, network.target))
          yield* network.cut
          yield* eventually(Effect.sync(() => expect(network.total()).toBe(2)))
          const answer = client.echo({ message: "back" }, { waitForReady: true })
          expect((yield* within(answer, "1 second")).message).toBe("back")
        })
      )
    )
  }
})
