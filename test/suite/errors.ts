/** Errors: a status arrives as it was raised, and of any other failure no text leaves the process. */
import { inspect } from "node:util"
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  Aborted,
  ErrorDetails,
  Internal,
  Metadata,
  NotFound,
  PermissionDenied,
  Transport,
  TransportError
} from "effect-transport"
import { EchoService, echo, echoPath, numbered, serveEcho, upTo } from "./fixtures/echo.js"
import { captureLog, follow } from "./fixtures/observe.js"
import type { EchoRequest } from "./gen/echo/v1/echo_pb.js"
import type { Suite } from "./harness.js"

export const errors = ({ test }: Suite): void => {
  describe("errors", () => {
    const text = "naïve 100% \n\t%41 日本語 🚀\r\nend"
    const details = [
      ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "BUSY", domain: "test", metadata: { ключ: text } }),
      ErrorDetails.pack(ErrorDetails.RetryInfo, { retryDelay: { seconds: 2n, nanos: 5 } })
    ]
    const proof = Uint8Array.of(0, 255)

    test("each of the 16 statuses arrives as it was raised", function* () {
      const fail = ({ repeat }: EchoRequest) =>
        Effect.fail(
          TransportError.fromCode(repeat, {
            message: text,
            metadata: Metadata.make({ "x-proof-bin": proof }),
            details,
            cause: new Error("only known here")
          })
        )
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: fail,
          echoServerStream: (request) => Stream.fromEffect(fail(request))
        })
      )
      for (const [key, clazz] of Object.entries(TransportError.statusErrors)) {
        const code = Number(key)
        for (const [path, call] of [
          [echoPath, client.echo({ repeat: code })],
          ["/echo.v1.EchoService/EchoServerStream", Stream.runDrain(client.echoServerStream({ repeat: code }))]
        ] as const) {
          const error = yield* Effect.flip(call)
          expect(error).toBeInstanceOf(clazz)
          expect(error).toMatchObject({ code, message: text, peer: listener.target, method: path })
          expect(error.cause).toBeUndefined()
          if (!TransportError.isStatusError(error)) {
            throw error
          }
          expect(error.metadata.entries).toEqual([["x-proof-bin", proof]])
          expect(error.details).toEqual(details)
          expect(Option.getOrThrow(ErrorDetails.get(error, ErrorDetails.RetryInfo)).retryDelay).toMatchObject({
            seconds: 2n,
            nanos: 5
          })
          if (error._tag === "Unavailable" || error._tag === "Cancelled") {
            expect(error.processed).toBe("unknown")
          }
        }
      }
    })

    test("a status without a message, metadata or details has none", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: () => new PermissionDenied({ message: "" }) })
      )
      const error = yield* Effect.flip(client.echo({}))
      expect(error).toMatchObject({ _tag: "PermissionDenied", message: "", details: [] })
      expect((error as PermissionDenied).metadata.entries).toEqual([])
    })

    test("a status too long to travel loses its text, not its kind", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => new NotFound({ message: "long ".repeat(50_000) }),
          echoServerStream: () => Stream.concat(numbered(2), Stream.fail(new Aborted({ message: "x".repeat(250_000) })))
        })
      )
      expect(yield* Effect.flip(client.echo({}))).toMatchObject({
        _tag: "NotFound",
        message: expect.stringMatching(/^long long/)
      })
      const seen: Array<string> = []
      const error = yield* Effect.flip(
        Stream.runForEach(client.echoServerStream({}), ({ message }) => Effect.sync(() => seen.push(message)))
      )
      expect(error._tag).toBe("Aborted")
      expect(seen).toEqual(upTo(2))
      expect((yield* client.echoClientStream(numbered(1))).message).toBe("1")
    })

    test("any other failure is Internal without its text, which is logged here", function* () {
      const secret = "hunter2"
      const log = yield* captureLog
      // What the types forbid comes by a cast, as through a library that was typed by hand.
      const forbidden = (failure: unknown) => Effect.fail(failure as NotFound)
      const raise = (request: EchoRequest): Effect.Effect<never, NotFound> => {
        switch (request.message) {
          case "failure":
            return forbidden(new Error(secret))
          case "value":
            return forbidden({ _tag: "Internal", code: 13, message: secret, details: [secret] })
          case "defect":
            return Effect.dieMessage(secret)
          case "binding":
            return forbidden(new TransportError.BindError({ message: secret, reason: "Unknown", address: secret }))
          default:
            throw new Error(secret)
        }
      }
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: raise,
          echoServerStream: (request) => Stream.fromEffect(raise(request)),
          echoClientStream: (requests) =>
            Effect.flatMap(Stream.runHead(requests), (first) => raise(Option.getOrThrow(first))),
          echoBidi: (requests) => Stream.mapEffect(requests, raise)
        })
      ).pipe(Effect.provide(log.layer))
      for (const message of ["failure", "value", "defect", "binding", "throw"]) {
        for (const call of [
          client.echo({ message }),
          Stream.runDrain(client.echoServerStream({ message })),
          client.echoClientStream(Stream.make({ message })),
          Stream.runDrain(client.echoBidi(Stream.make({ message })))
        ]) {
          log.lines.length = 0
          const error = yield* Effect.flip(call)
          expect(error).toBeInstanceOf(Internal)
          expect(error).toMatchObject({ _tag: "Internal", code: 13, details: [] })
          const everything = [inspect(error, { depth: 20, showHidden: true }), JSON.stringify(error), String(error)]
          expect(everything.join("\n")).not.toContain(secret)
          const logged = log.lines.filter(({ level }) => level === "ERROR")
          expect(logged).toHaveLength(1)
          expect(logged[0]?.text).toContain(secret)
        }
      }
    })

    test("a handler that interrupts itself is Cancelled to its caller", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => Effect.interrupt,
          echoServerStream: () => Stream.fromEffect(Effect.interrupt)
        })
      )
      expect(yield* Effect.flip(client.echo({}))).toMatchObject({ _tag: "Cancelled", code: 1 })
      expect(yield* Effect.flip(Stream.runDrain(client.echoServerStream({})))).toMatchObject({ _tag: "Cancelled" })
    })

    test("what was sent before a failure arrives before it", function* () {
      const failing = Stream.concat(numbered(20), Stream.fail(new Aborted({ message: "no more" })))
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => failing,
          echoBidi: (requests) => Stream.drain(requests).pipe(Stream.concat(failing))
        })
      )
      for (const stream of [client.echoServerStream({}), client.echoBidi(numbered(3))]) {
        const seen: Array<string> = []
        const error = yield* Effect.flip(
          Stream.runForEach(stream, ({ message }) => Effect.sync(() => seen.push(message)))
        )
        expect(error).toMatchObject({ _tag: "Aborted", message: "no more" })
        expect(seen).toEqual(upTo(20))
      }
    })

    test("a failure of the requests' own ends the call with just that, and interrupts the handler", function* () {
      class OutOfPaper {
        readonly _tag = "OutOfPaper"
      }
      const failure = new OutOfPaper()
      for (const shape of ["clientStreaming", "bidiStreaming"] as const) {
        const handler = yield* follow
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoClientStream: (requests) => Effect.as(handler.run(Stream.runDrain(requests)), {}),
            echoBidi: (requests) => Stream.drain(Stream.fromEffect(handler.run(Stream.runDrain(requests))))
          })
        )
        const requests = Stream.concat(numbered(3), Stream.fail(failure)).pipe(
          // Only a handler that has started can be interrupted.
          Stream.tap(({ message }) => (message === "3" ? handler.started : Effect.void))
        )
        const call =
          shape === "clientStreaming" ? client.echoClientStream(requests) : Stream.runDrain(client.echoBidi(requests))
        expect(yield* Effect.flip(call)).toBe(failure)
        expect(yield* handler.ended).toBe("interrupted")
      }
    })

    test("a defect of the requests is a defect of the call", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const exit = yield* Effect.exit(client.echoClientStream(Stream.concat(numbered(2), Stream.dieMessage("oops"))))
      expect(Exit.isFailure(exit) && Cause.isDie(exit.cause) && Cause.pretty(exit.cause)).toContain("oops")
    })
  })
}
