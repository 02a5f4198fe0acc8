/** Request logging: a line for each call, which says how it ended. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as HashMap from "effect/HashMap"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Stream from "effect/Stream"
import { type CallError, Middleware, PermissionDenied, Transport } from "effect-transport"
import { EchoService, echo, messages, numbered, serveEcho } from "../fixtures/echo.js"
import { closable, eventually, soon } from "../fixtures/expect.js"
import type { Suite } from "../harness.js"

import { allCalls, answering } from "./shapes.js"
export const logging = ({ test, withOptions }: Suite): void => {
  describe("logging", () => {
    /** What is logged, with its annotations. */
    const capture = Effect.sync(() => {
      const lines: Array<Record<string, unknown>> = []
      const logger = Logger.make<unknown, void>(({ annotations, logLevel, message }) => {
        const fields = Object.fromEntries(annotations)
        if ("durationMs" in fields) {
          lines.push({ ...fields, level: logLevel.label, text: String(message) })
        }
      })
      return { lines, layer: Logger.replace(Logger.defaultLogger, logger) }
    })

    test("says how each call ended, whatever its shape", function* () {
      const log = yield* capture
      let outcome: Effect.Effect<string, CallError> = Effect.succeed("a payload")
      const { client } = yield* serveEcho(Transport.handlers(EchoService, answering(Effect.suspend(() => outcome))), {
        middleware: [Middleware.logging()]
      }).pipe(Effect.provide(log.layer))
      for (const [effect, status, level] of [
        [Effect.succeed("a payload"), "OK", "INFO"],
        [new PermissionDenied({ message: "a payload" }), "PermissionDenied", "WARN"],
        [Effect.die("a payload"), "Internal", "ERROR"]
      ] as const) {
        outcome = effect
        log.lines.length = 0
        yield* Effect.forEach(allCalls(client), Effect.exit)
        yield* eventually(Effect.sync(() => expect(log.lines.length).toBe(4)))
        for (const [index, name] of ["Echo", "EchoServerStream", "EchoClientStream", "EchoBidi"].entries()) {
          const line = log.lines[index]
          const method = `/echo.v1.EchoService/${name}`
          expect(line).toMatchObject({ method, status, level, peer: expect.stringMatching(/./) })
          expect(line?.text).toBe(`${method}: ${status} in ${line?.durationMs} ms`)
          expect(JSON.stringify(line)).not.toContain("a payload")
        }
      }
    })

    test("tells calls that were given up from those that were late, and from those of a listener that closes", function* () {
      const log = yield* capture
      const logs = Layer.merge(log.layer, Logger.minimumLogLevel(LogLevel.All))
      const handlers = Transport.handlers(EchoService, {
        ...echo,
        echoServerStream: () => Stream.concat(numbered(1), Stream.never)
      })
      const options = { gracePeriod: 0, middleware: [Middleware.logging({ level: () => LogLevel.Debug })] }
      const logged = (status: string) =>
        eventually(Effect.sync(() => expect(log.lines).toMatchObject([{ status, level: "DEBUG" }])))
      const late = yield* Effect.provide(
        withOptions({ maxCallDuration: "50 millis" })(serveEcho(handlers, options)),
        logs
      )
      yield* Effect.flip(Stream.runDrain(late.client.echoServerStream({})))
      yield* logged("DeadlineExceeded")
      log.lines.length = 0
      const [listener, close] = yield* closable(Effect.provide(Transport.listen([handlers], options), logs))
      const client = yield* Transport.client(EchoService, listener.target)
      yield* Stream.runDrain(Stream.take(client.echoServerStream({}), 1))
      yield* logged("Cancelled")
      log.lines.length = 0
      const began = yield* Deferred.make<void>()
      const call = yield* Effect.fork(
        Effect.flip(Stream.runForEach(client.echoServerStream({}), () => Deferred.succeed(began, undefined)))
      )
      yield* Deferred.await(began)
      yield* soon(close)
      expect((yield* soon(Fiber.join(call)))._tag).toBe("Unavailable")
      yield* logged("Unavailable")
    })

    test("that throws does not harm the call", function* () {
      let thrown = 0
      const fail = () => {
        thrown += 1
        throw new Error("the disk is full")
      }
      const throwing = Logger.make<unknown, void>(({ annotations }) =>
        HashMap.has(annotations, "durationMs") ? fail() : undefined
      )
      for (const [level, logger] of [
        [fail, Logger.none],
        [undefined, throwing]
      ] as const) {
        thrown = 0
        const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
          middleware: [Middleware.logging({ level })]
        }).pipe(Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
        expect((yield* client.echo({ message: "1" })).message).toBe("1")
        expect(yield* messages(client.echoBidi(numbered(2)))).toEqual(["1", "2"])
        yield* eventually(Effect.sync(() => expect(thrown).toBe(2)))
      }
    })
  })
}
