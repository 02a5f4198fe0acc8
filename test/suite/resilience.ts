/** Hedges, circuit breakers and budgets around calls: what they interrupt is interrupted at the peer, on every wire alike. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import {
  CircuitBreaker,
  ErrorDetails,
  Hedge,
  type Method,
  RetryBudget,
  RetryPolicy,
  Service,
  Transport,
  Unavailable
} from "effect-transport"
import { EchoService, echo, numbered, serveEcho } from "./fixtures/echo.js"
import { soon } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

/** The same contract, whose methods may be repeated. */
const repeatable = (): typeof EchoService => {
  const { methods, name } = Service.from(EchoService)
  const entries = Object.entries(methods).map(([key, method]): [string, Method.Any] => [
    key,
    { ...method, idempotency: "noSideEffects" }
  ])
  return Service.make(name, Object.fromEntries(entries)) as Service.Source as typeof EchoService
}

const hedged = repeatable()

/** Metadata of a status that says to its client when to try again. */
const pushback = (millis: string) => ({ "grpc-retry-pushback-ms": millis })

export const resilience = ({ test }: Suite): void => {
  describe("resilience", () => {
    test("the slower of two hedged attempts is interrupted at its peer, of both shapes with one answer", function* () {
      const slow = yield* follow
      const uploading = yield* follow
      const calls = yield* Ref.make(0)
      const next = Ref.getAndUpdate(calls, (n) => n + 1)
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () =>
            Effect.flatMap(next, (n) => (n === 0 ? slow.run(Effect.never) : Effect.succeed({ message: `${n}` }))),
          echoClientStream: () =>
            Effect.flatMap(next, (n) => (n === 2 ? uploading.run(Effect.never) : Effect.succeed({ message: `${n}` })))
        })
      )
      const client = yield* Transport.client(hedged, listener.target)
      const unary = yield* soon(Hedge.call(client.echo({}), { after: "20 millis" }))
      expect(unary.message).toBe("1")
      expect(yield* slow.ended).toBe("interrupted")
      const upload = yield* soon(client.echoClientStream(numbered(3)).pipe(Hedge.call({ after: "20 millis" })))
      expect(upload.message).toBe("3")
      expect(yield* uploading.ended).toBe("interrupted")
    })

    test("the loser of a hedge across two peers is interrupted, and both where the caller gives up", function* () {
      const handlers = [yield* follow, yield* follow] as const
      const clients = yield* Effect.forEach(handlers, (handler) =>
        Effect.gen(function* () {
          const { listener } = yield* serveEcho(
            Transport.handlers(EchoService, {
              ...echo,
              echo: ({ message }) => (message === "wait" ? handler.run(Effect.never) : Effect.succeed({ message }))
            })
          )
          return yield* Transport.client(hedged, listener.target)
        })
      )
      let attempts = 0
      const call = Effect.suspend(() => {
        const [first, second] = clients as [(typeof clients)[number], (typeof clients)[number]]
        return attempts++ === 0 ? first.echo({ message: "wait" }) : second.echo({ message: "second" })
      })
      expect((yield* soon(Hedge.call(call, { after: "20 millis" }))).message).toBe("second")
      expect(yield* handlers[0].ended).toBe("interrupted")

      const other = yield* follow
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => other.run(Effect.never) })
      )
      const slow = yield* Transport.client(hedged, listener.target)
      const fiber = yield* Effect.fork(Hedge.call(slow.echo({}), { after: "1 millis", max: 3 }))
      yield* other.started
      yield* soon(Fiber.interrupt(fiber))
      expect(yield* other.ended).toBe("interrupted")
    })

    test("a method whose contract does not allow it is not hedged, and nothing of it is sent", function* () {
      const handler = yield* follow
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.succeed({})) })
      )
      const error = yield* Effect.flip(Hedge.call(client.echo({}), { after: "1 second" }))
      expect(error).toMatchObject({
        _tag: "InvalidArgument",
        method: "/echo.v1.EchoService/Echo",
        peer: listener.target
      })
      expect(yield* handler.isStarted).toBe(false)
      // As a middleware it leaves such methods alone.
      const middleware = [yield* Hedge.client({ after: 0, max: 3 })]
      const whole = yield* Transport.client(EchoService, listener.target, { middleware })
      yield* whole.echo({})
      expect(yield* handler.ended).toBe("succeeded")
    })

    test("a hedging middleware hedges the unary calls of a client, and interrupts what loses", function* () {
      const slow = yield* follow
      const calls = yield* Ref.make(0)
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () =>
            Effect.flatMap(
              Ref.getAndUpdate(calls, (n) => n + 1),
              (n) => (n === 0 ? slow.run(Effect.never) : Effect.succeed({ message: `${n}` }))
            )
        })
      )
      const middleware = [yield* Hedge.client({ after: "20 millis" })]
      const client = yield* Transport.client(hedged, listener.target, { middleware })
      expect((yield* soon(client.echo({}))).message).toBe("1")
      expect(yield* slow.ended).toBe("interrupted")
      expect(yield* Stream.runCount(client.echoServerStream({ repeat: 3 }))).toBe(3)
    })

    test("a hedge and a policy do what a server says about trying again", function* () {
      const attempts = yield* Ref.make(0)
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ message }, call) =>
            Effect.gen(function* () {
              const n = yield* Ref.updateAndGet(attempts, (n) => n + 1)
              if (n === 3) {
                return { message: "third" }
              }
              yield* call.setTrailers(pushback(message))
              return yield* new Unavailable({ message: "busy" })
            })
        })
      )
      const client = yield* Transport.client(hedged, listener.target)
      const ways = [
        <E>(call: Effect.Effect<{ readonly message: string }, E>) => Hedge.call(call, { after: "1 hour", max: 5 }),
        <E>(call: Effect.Effect<{ readonly message: string }, E>) =>
          Effect.retry(call, RetryPolicy.exponential({ initial: "1 hour" }))
      ]
      for (const way of ways) {
        yield* Ref.set(attempts, 0)
        expect((yield* soon(way(client.echo({ message: "1" })))).message).toBe("third")
        yield* Ref.set(attempts, 0)
        expect(yield* soon(Effect.flip(way(client.echo({ message: "-1" }))))).toMatchObject({ _tag: "Unavailable" })
        expect(yield* Ref.get(attempts)).toBe(1)
      }
    })

    test("an open circuit lets no call through, says until when, and closes after a probe", function* () {
      const calls = yield* Ref.make(0)
      const healthy = yield* Ref.make(false)
      const handle = Effect.zipRight(
        Ref.update(calls, (n) => n + 1),
        Effect.flatMap(Ref.get(healthy), (isHealthy) =>
          isHealthy ? Effect.succeed({}) : Effect.fail(new Unavailable({ message: "down" }))
        )
      )
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => handle,
          echoServerStream: () => Stream.fromEffect(handle)
        })
      )
      const breaker = yield* CircuitBreaker.make({ name: "the peer", minimumCalls: 4, openFor: "400 millis" })
      const client = yield* Transport.client(EchoService, listener.target, {
        middleware: [CircuitBreaker.client(breaker)]
      })
      const both = [client.echo({}), Stream.runDrain(client.echoServerStream({}))] as const
      yield* Effect.flip(both[0])
      yield* Effect.flip(both[1])
      yield* Effect.flip(both[0])
      expect((yield* breaker.state)._tag).toBe("Closed")
      yield* Effect.flip(both[1])
      expect((yield* breaker.state)._tag).toBe("Open")
      for (const call of both) {
        const error = yield* Effect.flip(call)
        expect(error).toMatchObject({ _tag: "Unavailable", processed: "no", peer: listener.target })
        expect(error._tag === "Unavailable" && ErrorDetails.get(error, ErrorDetails.RetryInfo)._tag).toBe("Some")
      }
      expect(yield* Ref.get(calls)).toBe(4)
      yield* Ref.set(healthy, true)
      // The policy waits until it opens again.
      yield* soon(Effect.retry(both[0], RetryPolicy.exponential({ initial: 0, times: 2 })))
      expect(yield* breaker.state).toEqual({ _tag: "Closed" })
      yield* both[1]
      expect(yield* Ref.get(calls)).toBe(6)
    })

    test("clients share a budget, whatever it is that retries", function* () {
      const calls = yield* Ref.make(0)
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () =>
            Effect.zipRight(
              Ref.update(calls, (n) => n + 1),
              Effect.fail(new Unavailable({ message: "busy" }))
            )
        })
      )
      const budget = yield* RetryBudget.make({ minPerSecond: 0 })
      const retrying = RetryPolicy.client({ initial: 0, times: 3, budget })
      const one = yield* Transport.client(hedged, listener.target, {
        middleware: [retrying, RetryBudget.client(budget)]
      })
      const two = yield* Transport.client(hedged, listener.target, { middleware: [RetryBudget.client(budget)] })
      const policy = RetryPolicy.exponential({ initial: 0, times: 3, budget })
      for (let i = 0; i < 50; i++) {
        yield* Effect.flip(one.echo({}))
        yield* Effect.flip(Effect.retry(two.echo({}), policy))
      }
      expect(yield* Ref.get(calls)).toBe(120)
    })
  })
}
