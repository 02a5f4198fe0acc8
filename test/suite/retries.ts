/** What an `Unavailable` says of calling again: it is the method's contract that decides, on every wire alike. */
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { type Method, RetryPolicy, Service, Transport, Unavailable } from "effect-transport"
import { EchoService, echo, numbered, serveEcho } from "./fixtures/echo.js"
import { closable, soon } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

/** The same contract, which says of its methods that they may be repeated, or may not. */
const marked = (idempotency: Method.Idempotency): typeof EchoService => {
  const { methods, name } = Service.from(EchoService)
  const entries = Object.entries(methods).map(([key, method]): [string, Method.Any] => [
    key,
    { ...method, idempotency }
  ])
  return Service.make(name, Object.fromEntries(entries)) as Service.Source as typeof EchoService
}

const calls = (client: Transport.Client<typeof EchoService>) => [
  Effect.flip(client.echo({})),
  Effect.flip(Stream.runDrain(client.echoServerStream({}))),
  Effect.flip(client.echoClientStream(numbered(1))),
  Effect.flip(Stream.runDrain(client.echoBidi(numbered(1))))
]

const levels = [
  ["unknown", false],
  ["idempotent", true],
  ["noSideEffects", true]
] as const

const quickly = RetryPolicy.exponential({ initial: "1 millis", times: 2 })

export const retries = ({ test }: Suite): void => {
  describe("retries", () => {
    const busy = new Unavailable({ message: "busy", processed: "no", idempotent: true })

    test("a status of the peer's says whether the contract allows to repeat the call, whatever the peer says", function* () {
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: () => busy,
          echoServerStream: () => Stream.fail(busy),
          echoClientStream: () => busy,
          echoBidi: () => Stream.fail(busy)
        })
      )
      for (const [level, idempotent] of levels) {
        const client = yield* Transport.client(marked(level), listener.target)
        for (const error of yield* Effect.all(calls(client))) {
          expect(error).toMatchObject({ _tag: "Unavailable", message: "busy", processed: "unknown", idempotent })
        }
      }
    })

    test("calls that were lost on the way, or never left, say it too", function* () {
      for (const [level, idempotent] of levels) {
        const handler = yield* follow
        const [listener, close] = yield* closable(
          Transport.listen([Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })], {
            gracePeriod: 0
          })
        )
        const client = yield* Transport.client(marked(level), listener.target)
        const lost = yield* Effect.fork(Effect.flip(client.echo({})))
        yield* handler.started
        yield* close
        expect(yield* soon(Fiber.join(lost))).toMatchObject({ _tag: "Unavailable", processed: "unknown", idempotent })
        for (const error of yield* soon(Effect.all(calls(client)))) {
          expect(error).toMatchObject({ _tag: "Unavailable", idempotent })
        }
      }
    })

    test("other errors, and those of other calls, are left as they are", function* () {
      const { listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const client = yield* Transport.client(marked("idempotent"), listener.target)
      const others = new Unavailable({ message: "of another call", method: "/other.v1.Other/Call" })
      expect(yield* Effect.flip(client.echoClientStream(Stream.fail(others)))).toBe(others)
      expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(Stream.fail(others))))).toBe(others)
      const late = yield* Effect.flip(client.echo({}, { timeout: 0 }))
      expect(late._tag).toBe("DeadlineExceeded")
      expect(late).not.toHaveProperty("idempotent")
    })

    test("a policy without `on` repeats what may be repeated, and nothing else", function* () {
      const attempts = yield* Ref.make(0)
      const { listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () =>
            Effect.zipRight(
              Ref.update(attempts, (n) => n + 1),
              Effect.fail(busy)
            )
        })
      )
      for (const [level, idempotent] of levels) {
        const client = yield* Transport.client(marked(level), listener.target)
        yield* Ref.set(attempts, 0)
        yield* Effect.flip(Effect.retry(client.echo({}), quickly))
        expect(yield* Ref.get(attempts)).toBe(idempotent ? 3 : 1)
      }
    })

    test("a policy without `on` repeats the making of a connection", function* () {
      const [listener, close] = yield* closable(Transport.listen([]))
      yield* close
      const attempts = yield* Ref.make(0)
      const connect = Effect.zipRight(
        Ref.update(attempts, (n) => n + 1),
        Transport.client(EchoService, listener.target)
      )
      expect(yield* Effect.flip(Effect.retry(connect, quickly))).toMatchObject({ _tag: "Unavailable", processed: "no" })
      expect(yield* Ref.get(attempts)).toBe(3)
    })
  })
}
