/** Durations that no timer of Node can hold, and clocks that are set, on each wire. */
import { describe, expect, it, vi } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as ExecutionStrategy from "effect/ExecutionStrategy"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, Deadline, Quic, Tls, Transport } from "effect-transport"
import * as Memory from "../../src/Memory/MemoryLive.js"
import { describeEngines } from "../fixtures/describeEngines.js"
import { grpcEngines, otherWires } from "../fixtures/grpcEngines.js"
import * as Http2 from "../fixtures/http2.js"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { leavesNothing, within } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"

const dev = Credentials.layerDev()

const common = (each: Duration.DurationInput) => ({ defaultTimeout: each, gracePeriod: each, maxCallDuration: each })

const secure = (each: Duration.DurationInput) => ({
  ...common(each),
  connectTimeout: each,
  handshakeTimeout: each,
  keepaliveTime: each,
  keepaliveTimeout: each,
  rehandshakeWithin: each,
  initialReconnectBackoff: each,
  maxReconnectBackoff: each
})

const wires: ReadonlyArray<
  readonly [name: string, layer: (each: Duration.DurationInput) => Layer.Layer<Transport.Transport, unknown>]
> = [
  ...grpcEngines.map(
    ({ layer, name }) =>
      [
        name,
        (each: Duration.DurationInput) => Layer.provide(layer({ ...secure(each), keepaliveWithoutCalls: true }), dev)
      ] as const
  ),
  ...otherWires([
    ["MemoryLive", (each: Duration.DurationInput) => Memory.layer(common(each))],
    [
      "TlsLive",
      (each: Duration.DurationInput) => Layer.provide(Tls.layer({ ...secure(each), frameTimeout: each }), dev)
    ],
    [
      "QuicLive",
      (each: Duration.DurationInput) => Layer.provide(Quic.layer({ ...secure(each), maxConnectionAge: each }), dev)
    ]
  ] as const)
]

const long: ReadonlyArray<readonly [name: string, duration: Duration.DurationInput]> = [
  ["infinite", Duration.infinity],
  ["one second more than a timer holds", 2 ** 31 + 1000]
]

const run = <A, E, R>(layer: Layer.Layer<R, unknown>, effect: Effect.Effect<A, E, R | Scope.Scope>) =>
  Effect.flatMap(Layer.build(Layer.orDie(layer)), (context) => Effect.provide(effect, context)).pipe(
    Effect.provide(Logger.remove(Logger.defaultLogger))
  )

for (const [name, layer] of wires) {
  describe(name, () => {
    for (const [how, duration] of long) {
      it.live(`every duration ${how}: connects, calls, keeps the connection, and drains`, () =>
        leavesNothing(
          run(
            layer(duration),
            Effect.gen(function* () {
              const slow = yield* follow
              const last = yield* follow
              const scope = yield* Effect.flatMap(Effect.scope, (parent) =>
                Scope.fork(parent, ExecutionStrategy.sequential)
              )
              const handlers = Transport.handlers(EchoService, {
                ...echo,
                echo: ({ message }) =>
                  message === "quick"
                    ? Effect.succeed({ message })
                    : (message === "slow" ? slow : last).run(Effect.as(Effect.sleep("300 millis"), { message }))
              })
              const listener = yield* Scope.extend(Transport.listen([handlers]), scope)
              const client = yield* Transport.client(EchoService, listener.target)
              const streamed = yield* Effect.fork(
                Stream.runCount(
                  client.echoBidi(
                    Stream.schedule(Stream.range(1, 3), Schedule.spaced("100 millis")).pipe(Stream.map(() => ({}))),
                    {
                      timeout: duration
                    }
                  )
                )
              )
              const pending = yield* Effect.fork(client.echo({ message: "slow" }, { timeout: duration }))
              yield* slow.started
              expect((yield* client.echo({ message: "quick" })).message).toBe("quick")
              expect(yield* within(Fiber.join(streamed), "3 seconds")).toBe(3)
              yield* within(Fiber.join(pending), "2 seconds")
              const draining = yield* Effect.fork(client.echo({ message: "last" }))
              yield* last.started
              yield* within(Scope.close(scope, Exit.void), "4 seconds")
              expect((yield* Fiber.join(draining)).message).toBe("last")
            })
          )
        )
      )
    }

    it.live("a clock that is set an hour ahead, or back, ends no call and holds none up", () =>
      leavesNothing(
        run(
          layer("20 seconds"),
          Effect.gen(function* () {
            const slow = yield* follow
            const handlers = Transport.handlers(EchoService, {
              ...echo,
              echo: ({ message }, { deadline }) =>
                message === "never"
                  ? Effect.never
                  : Effect.gen(function* () {
                      yield* slow.run(Effect.sleep("200 millis"))
                      const left = Duration.toMillis(yield* Deadline.remaining(deadline))
                      return { message: left > 2_000 && left < 5_000 ? "in time" : `${left} ms left` }
                    })
            })
            const { target } = yield* Transport.listen([handlers])
            const client = yield* Transport.client(EchoService, target)
            for (const hour of [3_600_000, -3_600_000]) {
              const calls = yield* Effect.fork(
                Effect.all(
                  [
                    client.echo({}, { timeout: "5 seconds" }),
                    Effect.flip(client.echo({ message: "never" }, { timeout: "400 millis" }))
                  ],
                  { concurrency: 2 }
                )
              )
              yield* slow.started
              yield* Effect.sleep("50 millis")
              const now = Date.now.bind(Date)
              yield* Effect.acquireUseRelease(
                Effect.sync(() => vi.spyOn(Date, "now").mockImplementation(() => now() + hour)),
                () =>
                  Effect.gen(function* () {
                    const [answer, error] = yield* within(Fiber.join(calls), "3 seconds")
                    expect(answer.message).toBe("in time")
                    expect(error).toMatchObject({ _tag: "DeadlineExceeded" })
                    expect((yield* client.echo({}, { timeout: "5 seconds" })).message).toBe("in time")
                  }),
                (spy) => Effect.sync(() => spy.mockRestore())
              )
            }
          })
        )
      )
    )

    it.live("a duration that is none is a mistake in the program", () =>
      Effect.gen(function* () {
        for (const none of [Number.NaN, -1, "-5 seconds"] as const) {
          const exit = yield* Effect.exit(Effect.scoped(Layer.build(layer(none))))
          expect(Exit.isFailure(exit) && Cause.pretty(exit.cause)).toContain("is no duration")
        }
      })
    )
  })
}

describeEngines(({ layer }) => {
  it.live.each(["99999999H", "99999999M", "99999999S", "99999999m", "99999999u", "99999999n"])(
    "a listener takes a grpc-timeout of %s for what it is",
    (timeout) =>
      leavesNothing(
        run(
          Layer.provide(layer({ maxCallDuration: Duration.infinity }), Credentials.insecure),
          Effect.gen(function* () {
            let left = 0
            const handlers = Transport.handlers(EchoService, {
              ...echo,
              echo: (request, { deadline, metadata }) =>
                Effect.gen(function* () {
                  yield* Effect.sleep("20 millis")
                  left = Duration.toMillis(yield* Deadline.remaining(deadline))
                  expect(metadata.entries.filter(([key]) => key.includes("timeout"))).toEqual([])
                  return { message: request.message }
                })
            })
            const { target } = yield* Transport.listen([handlers])
            const client = yield* Http2.session(`http://${target}`)
            const answer = yield* Http2.request(
              client,
              { ":path": "/echo.v1.EchoService/Echo", "grpc-timeout": timeout },
              (stream) => stream.end(Http2.message(Buffer.of()))
            )
            expect(Http2.grpcStatus(answer)).toBe(0)
            const millis = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 }[timeout.slice(-1)] ?? 0
            expect(left).toBeGreaterThan(Number.parseInt(timeout, 10) * millis - 5_000)
            expect(left).toBeLessThanOrEqual(Number.parseInt(timeout, 10) * millis)
          })
        )
      )
  )
})
