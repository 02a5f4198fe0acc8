/** Metadata: it goes with a request, and comes back as headers and trailers. */
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { Metadata, NotFound, Transport } from "effect-transport"
import { EchoService, echo, echoPath, messages, numbered, serveEcho } from "./fixtures/echo.js"
import { captureLog, follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

export const metadata = ({ test }: Suite): void => {
  describe("metadata", () => {
    const bytes = [Uint8Array.of(0, 1, 2, 254, 255), Uint8Array.of(), Uint8Array.of(0x2c, 0x2c)]
    const sent = {
      "x-text": "a, b; c=~!",
      "X-Upper": "kept as It Is",
      "x-many": ["1", "2", "3"],
      "x-one-bin": Uint8Array.of(255),
      "x-many-bin": bytes
    }

    /** Repeated text may arrive joined, which gRPC holds to be the same; bytes may not. */
    const check = (metadata: Metadata.Metadata) => {
      expect(Metadata.getAll(metadata, "x-text")).toEqual(["a, b; c=~!"])
      expect(Metadata.getAll(metadata, "x-upper")).toEqual(["kept as It Is"])
      expect(Metadata.getAll(metadata, "x-many").join(", ")).toBe("1, 2, 3")
      expect(Metadata.getAll(metadata, "x-one-bin")).toEqual([Uint8Array.of(255)])
      expect(Metadata.getAll(metadata, "x-many-bin")).toEqual(bytes)
    }

    const keys = (metadata: Metadata.Metadata) => [...new Set(metadata.entries.map(([key]) => key))].sort()

    const sentKeys = ["x-many", "x-many-bin", "x-one-bin", "x-text", "x-upper"]

    test("goes with the request, text and bytes, several values under a key", function* () {
      const seen = yield* Queue.unbounded<Metadata.Metadata>()
      const see = (call: Transport.Call) => Queue.offer(seen, call.metadata)
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: (_, call) => Effect.as(see(call), {}),
          echoServerStream: (_, call) => Stream.drain(Stream.fromEffect(see(call))),
          echoClientStream: (_, call) => Effect.as(see(call), {}),
          echoBidi: (_, call) => Stream.drain(Stream.fromEffect(see(call)))
        })
      )
      yield* client.echo({}, { metadata: sent })
      yield* Stream.runDrain(client.echoServerStream({}, { metadata: sent }))
      yield* client.echoClientStream(Stream.empty, { metadata: sent })
      yield* Stream.runDrain(client.echoBidi(Stream.empty, { metadata: sent }))
      const all = yield* Queue.takeAll(seen)
      expect(all.length).toBe(4)
      for (const metadata of all) {
        check(metadata)
      }
    })

    test("of the client and of the call go both", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, { metadata }) =>
            Effect.succeed({
              message: [Metadata.getAll(metadata, "x-both").join(", "), ...Metadata.getAll(metadata, "x-call")].join()
            })
        }),
        { client: { metadata: { "x-both": "client" } } }
      )
      expect((yield* client.echo({})).message).toBe("client")
      const answer = yield* client.echo({}, { metadata: { "x-both": "call", "x-call": "own" } })
      expect(answer.message).toBe("client, call,own")
    })

    test("of a call can be sent on as it came", function* () {
      const seen = yield* Deferred.make<Metadata.Metadata>()
      const last = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) => Effect.as(Deferred.succeed(seen, call.metadata), {})
        })
      )
      const relay = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (request, call) =>
            Effect.zipRight(
              Effect.sync(() => expect(Metadata.make(call.metadata.entries).entries).toEqual(call.metadata.entries)),
              last.client.echo(request, { metadata: call.metadata })
            )
        })
      )
      yield* relay.client.echo({}, { metadata: sent })
      check(yield* Deferred.await(seen))
    })

    test("comes back as headers and trailers, of every shape, and nothing that the handler did not set", function* () {
      const answer = (call: Transport.Call) =>
        Effect.all([call.setHeaders(sent), call.setTrailers({ "x-after": "all", "x-sum-bin": bytes })])
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          echo: (_, call) => Effect.as(answer(call), {}),
          echoServerStream: (_, call) => Stream.as(Stream.fromEffect(answer(call)), {}),
          echoClientStream: (_, call) => Effect.as(answer(call), {}),
          echoBidi: (_, call) => Stream.as(Stream.fromEffect(answer(call)), {})
        })
      )
      const observed = <A, E2>(run: (options: Transport.CallOptions) => Effect.Effect<A, E2>) =>
        Effect.gen(function* () {
          const headers: Array<Metadata.Metadata> = []
          const trailers: Array<Metadata.Metadata> = []
          yield* run({
            onHeaders: (metadata) => headers.push(metadata),
            onTrailers: (metadata) => trailers.push(metadata)
          })
          expect([headers.length, trailers.length]).toEqual([1, 1])
          for (const metadata of headers) {
            check(metadata)
            expect(keys(metadata)).toEqual(sentKeys)
          }
          for (const metadata of trailers) {
            expect(keys(metadata)).toEqual(["x-after", "x-sum-bin"])
            expect(Metadata.getAll(metadata, "x-after")).toEqual(["all"])
            expect(Metadata.getAll(metadata, "x-sum-bin")).toEqual(bytes)
          }
        })
      yield* observed((options) => client.echo({}, options))
      yield* observed((options) => Stream.runDrain(client.echoServerStream({}, options)))
      yield* observed((options) => client.echoClientStream(numbered(2), options))
      yield* observed((options) => Stream.runDrain(client.echoBidi(numbered(2), options)))
    })

    test("set in parts adds up", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) =>
            Effect.as(
              Effect.all([
                call.setHeaders({ "x-a": "1" }),
                call.setHeaders({ "x-b": "2" }),
                call.setTrailers({ "x-c": "3" }),
                call.setTrailers({ "x-c": "4" })
              ]),
              {}
            )
        })
      )
      const seen: Array<Metadata.Metadata> = []
      const see = (metadata: Metadata.Metadata) => seen.push(metadata)
      yield* client.echo({}, { onHeaders: see, onTrailers: see })
      expect(seen.map(keys)).toEqual([["x-a", "x-b"], ["x-c"]])
      expect(seen.flatMap((metadata) => Metadata.getAll(metadata, "x-c")).join(", ")).toBe("3, 4")
    })

    test("response headers arrive before the first message does", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: (_, call) =>
            Stream.concat(
              Stream.as(Stream.fromEffect(call.setHeaders({ "x-early": "yes" })), { message: "1" }),
              Stream.never
            )
        })
      )
      const seen: Array<string> = []
      yield* client
        .echoServerStream({}, { onHeaders: (headers) => seen.push(...Metadata.getAll(headers, "x-early")) })
        .pipe(
          Stream.tap(({ message }) => Effect.sync(() => seen.push(message))),
          Stream.runHead
        )
      expect(seen).toEqual(["yes", "1"])
    })

    test("set as headers after the first message is dropped with a warning", function* () {
      const log = yield* captureLog
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: (_, call) =>
            Stream.concat(
              Stream.make({ message: "1" }),
              Stream.as(Stream.fromEffect(call.setHeaders({ "x-late": "yes" })), { message: "2" })
            )
        })
      ).pipe(Effect.provide(log.layer))
      const headers: Array<Metadata.Metadata> = []
      const answers = yield* messages(client.echoServerStream({}, { onHeaders: (metadata) => headers.push(metadata) }))
      expect(answers).toEqual(["1", "2"])
      expect(headers.map(keys)).toEqual([[]])
      expect(log.lines.filter(({ level }) => level === "WARN")).toEqual([
        expect.objectContaining({ text: expect.stringContaining("/echo.v1.EchoService/EchoServerStream") })
      ])
    })

    test("comes with an error too", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) =>
            Effect.zipRight(
              Effect.all([call.setHeaders({ "x-head": "1" }), call.setTrailers({ "x-set": "2" })]),
              new NotFound({ message: "no", metadata: Metadata.make({ "x-own": "3", "x-own-bin": bytes }) })
            )
        })
      )
      const headers: Array<Metadata.Metadata> = []
      const trailers: Array<Metadata.Metadata> = []
      const error = yield* Effect.flip(
        client.echo(
          {},
          {
            onHeaders: (metadata) => headers.push(metadata),
            onTrailers: (metadata) => trailers.push(metadata)
          }
        )
      )
      expect(error).toBeInstanceOf(NotFound)
      expect(headers.map(keys)).toEqual([["x-head"]])
      expect(trailers.map(keys)).toEqual([["x-own", "x-own-bin", "x-set"]])
      const { metadata } = error as NotFound
      expect(keys(metadata)).toEqual(["x-own", "x-own-bin", "x-set"])
      expect(Metadata.getAll(metadata, "x-own-bin")).toEqual(bytes)
    })

    test("that can't travel is InvalidArgument, and no call is made", function* () {
      const handler = yield* follow
      const { client, listener } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () => handler.run(Effect.succeed({})),
          echoBidi: () => Stream.drain(Stream.fromEffect(handler.run(Effect.void)))
        })
      )
      for (const metadata of [
        { "grpc-timeout": "1S" },
        { "bad key": "x" },
        { "x-text": "ü" },
        { "x-raw-bin": "text" },
        { "x-text": Uint8Array.of(1) }
      ]) {
        const error = { _tag: "InvalidArgument", code: 3, peer: listener.target }
        expect(yield* Effect.flip(client.echo({}, { metadata }))).toMatchObject({ ...error, method: echoPath })
        expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(Stream.never, { metadata })))).toMatchObject(error)
      }
      expect(yield* handler.isStarted).toBe(false)
    })

    test("that is too large is ResourceExhausted, and the connection goes on", function* () {
      const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const metadata = { "x-large": "x".repeat(20 * 1024) }
      expect(yield* Effect.flip(client.echo({}, { metadata }))).toMatchObject({
        _tag: "ResourceExhausted",
        code: 8,
        peer: listener.target,
        method: echoPath
      })
      expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(Stream.never, { metadata })))).toMatchObject({
        _tag: "ResourceExhausted"
      })
      const fits = { "x-large": "x".repeat(10 * 1024) }
      expect((yield* client.echo({ message: "fits" }, { metadata: fits })).message).toBe("fits")
    })

    test("that a handler may not send makes the call Internal", function* () {
      const log = yield* captureLog
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) => Effect.as(call.setHeaders({ "grpc-status": "0" }), {}),
          echoClientStream: (_, call) => Effect.as(call.setTrailers({ "x-text": "ü" }), {})
        })
      ).pipe(Effect.provide(log.layer))
      expect(yield* Effect.flip(client.echo({}))).toMatchObject({ _tag: "Internal" })
      expect(yield* Effect.flip(client.echoClientStream(Stream.empty))).toMatchObject({ _tag: "Internal" })
      expect(log.lines.map(({ text }) => text).join("\n")).toContain("grpc-status")
    })
  })
}
