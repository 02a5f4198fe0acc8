/** Traces: a span for each call at each side where somebody looks, with the status that its metrics have. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import { Metadata, NotFound, Transport } from "effect-transport"
import { EchoService, echo, numbered, serveEcho } from "./fixtures/echo.js"
import { eventually } from "./fixtures/expect.js"
import { captureSpans } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

const service = "echo.v1.EchoService"

/** Each span that has ended: its kind, method, status, whether that is an error, and how it ended. */
const endsOf = (spans: ReadonlyArray<Tracer.Span>) =>
  spans.map(({ attributes, kind, name, status }) => [
    kind,
    name.replace(`${service}/`, ""),
    attributes.get("rpc.response.status_code"),
    attributes.get("error.type"),
    status._tag === "Ended" && Exit.isSuccess(status.exit)
  ])

export const traces = ({ test }: Suite): void => {
  describe("traces", () => {
    test("have the attributes of OpenTelemetry's conventions", function* () {
      const { layer, spans } = yield* captureSpans
      const port = yield* Effect.gen(function* () {
        const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
        yield* client.echo({})
        return listener.address.port
      }).pipe(Effect.provide(layer))
      yield* eventually(Effect.sync(() => expect(endsOf(spans)).toHaveLength(2)))
      const [client, server] = spans.map(({ attributes }) => Object.fromEntries(attributes))
      const common = {
        "rpc.system.name": expect.stringMatching(/^(grpc|effect_transport)$/),
        "rpc.method": `${service}/Echo`,
        "rpc.response.status_code": "OK"
      }
      expect(client).toEqual({ ...common, "server.address": "127.0.0.1", "server.port": port })
      expect(server).toMatchObject(common)
      expect(server).toHaveProperty(["network.peer.address"])
    })

    test("end with the status of the call, at both sides", function* () {
      const { layer, spans } = yield* captureSpans
      yield* Effect.gen(function* () {
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            echo: () => new NotFound({ message: "no such echo" }),
            echoServerStream: () => Stream.concat(numbered(2), Stream.never),
            echoClientStream: () => Effect.die("boom"),
            echoBidi: () => Stream.never
          })
        )
        yield* Effect.flip(client.echo({}))
        yield* Stream.runDrain(Stream.take(client.echoServerStream({}), 2))
        yield* Effect.flip(client.echoClientStream(numbered(1)))
        yield* Effect.flip(Stream.runDrain(client.echoBidi(numbered(1), { timeout: "1 second" })))
      }).pipe(Effect.provide(layer))
      yield* eventually(
        Effect.sync(() => {
          const ends = endsOf(spans)
          expect(ends).toHaveLength(8)
          expect(ends).toEqual(
            expect.arrayContaining([
              ["client", "Echo", "NOT_FOUND", "NOT_FOUND", false],
              // It has done what it was asked to.
              ["server", "Echo", "NOT_FOUND", undefined, true],
              ["client", "EchoServerStream", "CANCELLED", "CANCELLED", false],
              ["server", "EchoServerStream", "CANCELLED", undefined, true],
              ["client", "EchoClientStream", "INTERNAL", "INTERNAL", false],
              ["server", "EchoClientStream", "INTERNAL", "INTERNAL", false],
              ["client", "EchoBidi", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", false],
              ["server", "EchoBidi", "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED", false]
            ])
          )
        })
      )
    })

    test("of a stream last as long as it, and hold what its handler does", function* () {
      const { layer, spans } = yield* captureSpans
      yield* Effect.gen(function* () {
        const latch = yield* Deferred.make<void>()
        const { client } = yield* serveEcho(
          Transport.handlers(EchoService, {
            ...echo,
            echoServerStream: () =>
              Stream.concat(
                numbered(1),
                Stream.fromEffect(Effect.withSpan(Effect.as(Deferred.await(latch), { message: "2" }), "inner"))
              )
          })
        )
        yield* Stream.runForEach(client.echoServerStream({}), ({ message }) => {
          const open = spans.filter(({ kind, status }) => kind !== "internal" && status._tag === "Started")
          return message === "1"
            ? Effect.zipRight(
                Effect.sync(() => expect(open).toHaveLength(2)),
                Deferred.succeed(latch, undefined)
              )
            : Effect.void
        })
      }).pipe(Effect.provide(layer))
      yield* eventually(
        Effect.sync(() => {
          const [, server] = spans.filter(({ kind }) => kind !== "internal")
          const inner = spans.find(({ name }) => name === "inner")
          expect(Option.getOrThrow(inner?.parent ?? Option.none()).spanId).toBe(server?.spanId)
          expect(endsOf(spans)).toEqual(
            expect.arrayContaining([
              ["client", "EchoServerStream", "OK", undefined, true],
              ["server", "EchoServerStream", "OK", undefined, true]
            ])
          )
        })
      )
    })

    test("are not made where nobody looks", function* () {
      const seen: Array<unknown> = []
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) =>
            Effect.map(Effect.option(Effect.currentSpan), (span) => {
              seen.push(span, Metadata.get(call.metadata, "traceparent"))
              return {}
            })
        })
      )
      yield* client.echo({})
      expect(seen).toEqual([Option.none(), Option.none()])
    })
  })
}
