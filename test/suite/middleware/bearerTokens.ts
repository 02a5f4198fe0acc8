/** Bearer tokens: how clients obtain and send them, and how services verify them. */
import { describe, expect } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import { Middleware, PermissionDenied, Transport, Unauthenticated, Unavailable } from "effect-transport"
import { EchoService, serveEcho } from "../fixtures/echo.js"
import { closable, eventually, soon } from "../fixtures/expect.js"
import { captureLog, follow } from "../fixtures/observe.js"
import type { Suite } from "../harness.js"

import { allCalls, answering } from "./shapes.js"

class Caller extends Context.Tag("test/Caller")<Caller, string>() {}

/** A listener that knows the callers of these tokens, and what it was asked. */
const guarded = (known: Map<string, string>) =>
  Effect.gen(function* () {
    const seen = { verified: 0, handled: 0 }
    const { listener } = yield* serveEcho(
      Transport.handlers(
        EchoService,
        answering(
          Effect.map(Caller, (caller) => {
            seen.handled += 1
            return caller
          })
        ),
        {
          middleware: [
            Middleware.verifyBearerToken({
              provides: Caller,
              verify: (token) => {
                seen.verified += 1
                const caller = [...known].find(([each]) => Middleware.tokenEquals(Redacted.make(each), token))
                return caller === undefined
                  ? new Unauthenticated({ message: "this token is not known" })
                  : Effect.succeed(caller[1])
              }
            })
          ]
        }
      )
    )
    return { seen, target: listener.target }
  })

/** The program's clock, set forward. */
const shiftedClock = Effect.clockWith((clock) => {
  const time = { offset: 0 }
  const shifted: Clock.Clock = Object.assign(Object.create(Object.getPrototypeOf(clock)), clock, {
    unsafeCurrentTimeMillis: () => clock.unsafeCurrentTimeMillis() + time.offset,
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos() + BigInt(time.offset) * 1_000_000n
  })
  return Effect.succeed({ clock: shifted, time })
})

/** Tokens `t1`, `t2` and so on. */
const tokens = (options: Partial<Middleware.BearerTokenOptions<never>> & { readonly lifetime?: number } = {}) =>
  Effect.gen(function* () {
    const obtained = { count: 0 }
    const middleware = yield* Middleware.bearerToken({
      token: Effect.map(Clock.currentTimeMillis, (now) => {
        obtained.count += 1
        return { value: Redacted.make(`t${obtained.count}`), expiresAt: now + (options.lifetime ?? 3_600_000) }
      }),
      ...options
    })
    return { obtained, middleware }
  })

export const bearerTokens = ({ test }: Suite): void => {
  describe("bearer tokens", () => {
    test("tell the handlers of every shape who calls, and are obtained once", function* () {
      const { seen, target } = yield* guarded(new Map([["t1", "node-a"]]))
      const { middleware, obtained } = yield* tokens()
      const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
      for (const each of yield* Effect.all(allCalls(client), { concurrency: "unbounded" })) {
        expect(each).toEqual(["node-a"])
      }
      expect([obtained.count, seen.verified]).toEqual([1, 4])
    })

    test("that are missing, double or malformed are refused before they are verified", function* () {
      const { seen, target } = yield* guarded(new Map([["t1", "node-a"]]))
      const client = yield* Transport.client(EchoService, target)
      for (const metadata of [
        {},
        { authorization: "t1" },
        { authorization: "Basic dDE=" },
        { authorization: "Bearer" },
        { authorization: "Bearer t1 t1" },
        { authorization: "Bearer t1, Bearer t1" },
        { authorization: `Bearer ${"=".repeat(1000)}` }
      ]) {
        for (const call of allCalls(client, { metadata })) {
          expect(yield* Effect.flip(call)).toMatchObject({
            _tag: "Unauthenticated",
            message: "a bearer token is required"
          })
        }
      }
      expect(seen).toEqual({ verified: 0, handled: 0 })
      expect(yield* Effect.flip(client.echo({}, { metadata: { authorization: "Bearer t2" } }))).toMatchObject({
        _tag: "Unauthenticated",
        message: "this token is not known"
      })
      expect((yield* client.echo({}, { metadata: { authorization: "bearer  t1" } })).message).toBe("node-a")
    })

    test("of a call's own go before that of the client", function* () {
      const { target } = yield* guarded(new Map([["own", "node-b"]]))
      const { middleware, obtained } = yield* tokens()
      const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
      for (const call of allCalls(client, { metadata: { authorization: "Bearer own" } })) {
        expect(yield* call).toEqual(["node-b"])
      }
      expect(obtained.count).toBe(0)
    })

    test("that a peer refuses are replaced, and the call is made once more where it can be", function* () {
      const known = new Map([["t1", "node-a"]])
      const { seen, target } = yield* guarded(known)
      const { clock: later, time } = yield* shiftedClock
      yield* Effect.gen(function* () {
        const { middleware, obtained } = yield* tokens()
        const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
        const [unary, serverStreaming, clientStreaming, bidiStreaming] = allCalls(client)
        const replace = (n: number) => {
          time.offset += 2000
          known.clear()
          known.set(`t${n}`, "node-a")
        }
        expect(yield* unary ?? Effect.never).toEqual(["node-a"])
        replace(2)
        expect(yield* unary ?? Effect.never).toEqual(["node-a"])
        replace(3)
        expect(yield* serverStreaming ?? Effect.never).toEqual(["node-a"])
        expect(obtained.count).toBe(3)
        for (const [index, call] of [clientStreaming, bidiStreaming].entries()) {
          replace(4 + index)
          // Its requests can't be taken a second time, but the next call has the new token.
          expect((yield* Effect.flip(call ?? Effect.never))._tag).toBe("Unauthenticated")
          expect(yield* call ?? Effect.never).toEqual(["node-a"])
        }
        expect(obtained.count).toBe(5)
        // A peer that refuses everything is asked once more, and has no more than one token a second obtained.
        replace(9)
        const before = seen.verified
        for (let i = 0; i < 5; i++) {
          expect((yield* Effect.flip(unary ?? Effect.never))._tag).toBe("Unauthenticated")
        }
        expect([obtained.count, seen.verified - before]).toEqual([6, 6])
      }).pipe(Effect.withClock(later))
    })

    test("are replaced before they expire, while calls go on with the old one", function* () {
      const { target } = yield* guarded(
        new Map([
          ["t1", "first"],
          ["t2", "second"]
        ])
      )
      const obtained = { count: 0 }
      const latch = yield* Deferred.make<void>()
      const middleware = yield* Middleware.bearerToken({
        token: Effect.gen(function* () {
          obtained.count += 1
          const { count } = obtained
          if (count === 2) {
            yield* Deferred.await(latch)
          }
          const lifetime = count === 1 ? 20_000 : 3_600_000
          return { value: Redacted.make(`t${count}`), expiresAt: (yield* Clock.currentTimeMillis) + lifetime }
        }),
        // Never more than half of the token's time.
        refreshBefore: "1 hour"
      })
      const { clock: later, time } = yield* shiftedClock
      const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
      const call = Effect.map(Effect.withClock(client.echo({}), later), ({ message }) => message)
      expect(yield* call).toBe("first")
      expect(yield* call).toBe("first")
      expect(obtained.count).toBe(1)
      time.offset = 12_000
      expect(yield* call).toBe("first")
      expect(yield* call).toBe("first")
      yield* eventually(Effect.sync(() => expect(obtained.count).toBe(2)))
      yield* Deferred.succeed(latch, undefined)
      yield* eventually(Effect.orDie(Effect.map(call, (message) => expect(message).toBe("second"))))
      expect(obtained.count).toBe(2)
    })

    test("that can't be obtained fail the calls as they do, once for all of them", function* () {
      const { seen, target } = yield* guarded(new Map())
      let asked = 0
      const middleware = yield* Middleware.bearerToken({
        token: Effect.suspend(() => {
          asked += 1
          return new PermissionDenied({ message: "no token for you" })
        })
      })
      const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
      for (const call of allCalls(client)) {
        expect(yield* Effect.flip(call)).toMatchObject({ _tag: "PermissionDenied", message: "no token for you" })
      }
      expect([asked, seen.verified]).toEqual([1, 0])
    })

    test("are waited for up to the deadline of the call, and obtained for the next one all the same", function* () {
      const { target } = yield* guarded(new Map([["t1", "node-a"]]))
      const latch = yield* Deferred.make<void>()
      const middleware = yield* Middleware.bearerToken({
        token: Effect.as(Deferred.await(latch), { value: Redacted.make("t1") })
      })
      const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
      for (const call of allCalls(client, { timeout: "50 millis" })) {
        expect((yield* soon(Effect.flip(call)))._tag).toBe("DeadlineExceeded")
      }
      const waiting = yield* Effect.fork(client.echo({}))
      yield* Deferred.succeed(latch, undefined)
      expect((yield* soon(Fiber.join(waiting))).message).toBe("node-a")
    })

    test("are no longer obtained when the scope has closed", function* () {
      const { target } = yield* guarded(new Map())
      const source = yield* follow
      const [middleware, close] = yield* closable(Middleware.bearerToken({ token: source.run(Effect.never) }))
      const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
      const waiting = yield* Effect.fork(Effect.flip(client.echo({})))
      yield* source.started
      yield* close
      expect(yield* source.ended).toBe("interrupted")
      for (const error of [yield* soon(Fiber.join(waiting)), yield* soon(Effect.flip(client.echo({})))]) {
        expect(error).toMatchObject({ _tag: "Unavailable", processed: "no" })
      }
    })

    test("are in no error and no log line", function* () {
      const log = yield* captureLog
      const secret = "s3cr3t-t0k3n"
      yield* Effect.gen(function* () {
        const { target } = yield* guarded(new Map())
        for (const [value, expiresAt] of [
          [secret, undefined],
          [`${secret} and more`, undefined],
          [`${secret}\n`, undefined],
          [secret, 1],
          [secret, Number.NaN]
        ] as const) {
          const middleware = yield* Middleware.bearerToken({
            token: Effect.succeed({ value: Redacted.make(value), expiresAt })
          })
          const client = yield* Transport.client(EchoService, target, { middleware: [middleware] })
          for (const call of allCalls(client)) {
            const error = yield* Effect.flip(call)
            expect(["Unauthenticated", "InvalidArgument"]).toContain(error._tag)
            expect(`${error} ${JSON.stringify(error)} ${error.stack}`).not.toContain(secret)
          }
        }
      }).pipe(Effect.provide(log.layer), Logger.withMinimumLogLevel(LogLevel.All))
      expect(JSON.stringify(log.lines)).not.toContain(secret)
    })
  })
}

const _clientFailures = ({ test }: Suite): void => {
  test("ready-made middleware of one list work together", function* () {
    const { target } = yield* guarded(new Map([["t1", "node-a"]]))
    const { middleware } = yield* tokens()
    let tries = 0
    const flaky = Middleware.client({
      unary: (call, next) =>
        ++tries % 2 === 1 ? Effect.fail(new Unavailable({ message: "flaky", processed: "no" })) : next(call),
      stream: (call, next) => next(call)
    })
    const retrying = Middleware.client({
      unary: (call, next) => Effect.retry(next(call), { times: 1 }),
      stream: (call, next) => next(call)
    })
    const client = yield* Transport.client(EchoService, target, {
      middleware: [retrying, middleware, Middleware.propagate(["x-id"]), flaky]
    })
    for (const call of allCalls(client)) {
      expect(yield* call).toEqual(["node-a"])
    }
    expect(tries).toBe(2)
  })
}
