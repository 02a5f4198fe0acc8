/** A handler that calls on: what it fails with when the next node fails it, and what its own caller learns of that. */
import { inspect } from "node:util"
import { describe, expect } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import {
  ErrorDetails,
  HandshakeFailed,
  Metadata,
  NotFound,
  Transport,
  type TransportError,
  Unavailable
} from "effect-transport"
import { EchoService, echo, numbered, serveEcho } from "./fixtures/echo.js"
import { captureLog } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

const failing = (error: TransportError.CallError) =>
  Transport.handlers(EchoService, {
    echo: () => Effect.fail(error),
    echoServerStream: () => Stream.concat(numbered(2), Stream.fail(error)),
    echoClientStream: (requests) => Effect.zipRight(Stream.runDrain(requests), Effect.fail(error)),
    echoBidi: (requests) => Stream.concat(Stream.drain(requests), Stream.fail(error))
  })

/** A node that does nothing itself. */
const forwarding = (upstream: Transport.Client<typeof EchoService>) =>
  Transport.handlers(EchoService, {
    echo: ({ message }) => upstream.echo({ message }),
    echoServerStream: ({ message }) => upstream.echoServerStream({ message }),
    echoClientStream: (requests) => upstream.echoClientStream(requests),
    echoBidi: (requests) => upstream.echoBidi(requests)
  })

const calls = (client: Transport.Client<typeof EchoService>) => [
  Effect.flip(client.echo({})),
  Effect.flip(Stream.runDrain(client.echoServerStream({}))),
  Effect.flip(client.echoClientStream(numbered(2))),
  Effect.flip(Stream.runDrain(client.echoBidi(numbered(2))))
]

export const handlerErrors = ({ test }: Suite): void => {
  describe("a handler that calls on", () => {
    const secret = "hunter2"
    const evidence = {
      reason: "NameMismatch",
      refusedBy: "local",
      fingerprint: secret,
      nameWanted: secret,
      notAfter: new Date("2031-02-03T04:05:06Z"),
      peer: secret,
      method: `/upstream.v1.${secret}/Call`,
      cause: new Error(secret)
    } as const
    const refused = new HandshakeFailed({ message: `${secret} is for other names`, ...evidence })

    test("and is refused is Unavailable to its caller, who has done nothing twice, and learns no more", function* () {
      const log = yield* captureLog
      const { client, listener } = yield* serveEcho(failing(refused)).pipe(Effect.provide(log.layer))
      for (const call of calls(client)) {
        log.lines.length = 0
        const error = yield* call
        expect(error).toBeInstanceOf(Unavailable)
        expect(error).toMatchObject({
          _tag: "Unavailable",
          code: 14,
          processed: "no",
          idempotent: false,
          details: [],
          peer: listener.target,
          method: expect.stringMatching("^/echo.v1.EchoService/")
        })
        const everything = [inspect(error, { depth: 20, showHidden: true }), JSON.stringify(error), String(error)]
        for (const part of [secret, "2031", "NameMismatch", "HandshakeFailed"]) {
          expect(everything.join("\n")).not.toContain(part)
        }
        const logged = log.lines.filter(({ level }) => level === "ERROR")
        expect(logged).toHaveLength(1)
        expect(logged[0]?.text).toContain(secret)
      }
    })

    test("passes on what it was told as it is, but for what is only true of its own call", function* () {
      const error = new NotFound({
        message: "no such block",
        metadata: Metadata.make({ "x-height": "7" }),
        details: [ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "PRUNED", domain: "test" })]
      })
      const { client: upstream } = yield* serveEcho(failing(error))
      const { client, listener } = yield* serveEcho(forwarding(upstream))
      for (const seen of yield* Effect.all(calls(client))) {
        expect(seen).toBeInstanceOf(NotFound)
        expect(seen).toMatchObject({ message: error.message, details: error.details, peer: listener.target })
        expect(seen).toMatchObject({ metadata: { entries: [["x-height", "7"]] } })
        expect(seen.cause).toBeUndefined()
      }
    })

    test("says once that a call did not run: who passes that on says it of no other", function* () {
      const { client: upstream } = yield* serveEcho(failing(refused))
      const { client } = yield* serveEcho(forwarding(upstream))
      for (const seen of yield* Effect.all(calls(client))) {
        expect(seen).toMatchObject({ _tag: "Unavailable", processed: "unknown", details: [] })
      }
    })

    test("and details that only look like it say nothing", function* () {
      const alike = [
        ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "NOT_PROCESSED", domain: "elsewhere" }),
        ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "NOT_PROCESSED" }),
        {
          ...ErrorDetails.pack(ErrorDetails.ErrorInfo, { reason: "x", domain: "effect-transport" }),
          type: "test.Other"
        }
      ]
      const { client } = yield* serveEcho(
        failing(new Unavailable({ message: "busy", processed: "no", details: alike }))
      )
      for (const seen of yield* Effect.all(calls(client))) {
        expect(seen).toMatchObject({ _tag: "Unavailable", processed: "unknown", details: alike })
        expect(
          Option.map(ErrorDetails.get(seen as Unavailable, ErrorDetails.ErrorInfo), ({ reason }) => reason)
        ).toEqual(Option.some("NOT_PROCESSED"))
      }
    })

    test("and fails goes on serving", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.fail(refused) })
      )
      yield* Effect.flip(Stream.runDrain(client.echoServerStream({})))
      expect((yield* client.echo({ message: "hello" })).message).toBe("hello")
    })
  })
}
