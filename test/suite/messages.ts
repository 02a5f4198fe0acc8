/** Messages: each side has its own, no field of them is lost, and each side has limits on their size. */
import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf"
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { Transport, type TransportOptions } from "effect-transport"
import { EchoService, echo, echoPath, goesOn, numbered, payloadOf, serveEcho } from "./fixtures/echo.js"
import { follow } from "./fixtures/observe.js"
import { EchoRequestSchema } from "./gen/echo/v1/echo_pb.js"
import type { Suite } from "./harness.js"

const sizeOf = (request: MessageInitShape<typeof EchoRequestSchema>) =>
  toBinary(EchoRequestSchema, create(EchoRequestSchema, request)).length

/** A request that is exactly so many bytes when encoded. */
const requestOf = (size: number) => {
  const overhead = sizeOf({ payload: payloadOf(size) }) - size
  const payload = payloadOf(size - overhead)
  expect(sizeOf({ payload })).toBe(size)
  return { payload }
}

export const messages = ({ test, withOptions }: Suite): void => {
  describe("messages", () => {
    test("unknown fields survive a relay", function* () {
      // Field 99, a string, which this version of the contract does not have.
      const unknown = Uint8Array.of(0x9a, 0x06, 0x03, 0x6e, 0x65, 0x77)
      const received = yield* Deferred.make<Uint8Array>()
      const last = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (request) =>
            Effect.as(Deferred.succeed(received, toBinary(EchoRequestSchema, request)), { message: "got it" })
        })
      )
      const relay = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echo: (request) => last.client.echo(request) })
      )
      const request = toBinary(EchoRequestSchema, create(EchoRequestSchema, { message: "hello" }))
      const newer = Uint8Array.of(...request, ...unknown)
      expect(yield* relay.client.echo(fromBinary(EchoRequestSchema, newer))).toMatchObject({ message: "got it" })
      expect(yield* Deferred.await(received)).toEqual(newer)
    })

    test("the handler has a message of its own, not the caller's", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: (request) => {
            request.payload.fill(7)
            return Effect.succeed({ payload: request.payload })
          }
        })
      )
      const request = create(EchoRequestSchema, { payload: Uint8Array.of(1, 2, 3) })
      expect((yield* client.echo(request)).payload).toEqual(Uint8Array.of(7, 7, 7))
      expect(request.payload).toEqual(Uint8Array.of(1, 2, 3))
    })

    test("a message just below the default limit passes", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const { payload } = requestOf(4 * 1024 * 1024)
      expect(Buffer.compare((yield* client.echo({ payload })).payload, payload)).toBe(0)
    })

    test("handlers of large messages may wait for one another", function* () {
      // Together they are more than a connection keeps of unfinished or unread messages.
      const calls = 6
      const all = yield* Deferred.make<void>()
      let begun = 0
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: ({ payload }) => {
            begun += 1
            return (begun === calls ? Deferred.succeed(all, undefined) : Effect.void).pipe(
              Effect.zipRight(Deferred.await(all)),
              Effect.as({ index: payload.length })
            )
          }
        })
      )
      const { payload } = requestOf(3_500_000)
      const replies = yield* Effect.all(
        Array.from({ length: calls }, () => client.echo({ payload })),
        { concurrency: "unbounded" }
      )
      expect(replies.map(({ index }) => index)).toEqual(Array(calls).fill(payload.length))
    })

    const small = { maxSendMessageSize: 1000, maxReceiveMessageSize: 1000 }
    const large = { maxSendMessageSize: 1_000_000, maxReceiveMessageSize: 1_000_000 }

    /** An echo server and a client of it, of which each has its own limits. */
    const limited = Effect.fnUntraced(function* (
      server: TransportOptions.TransportOptions,
      client: TransportOptions.TransportOptions
    ) {
      const received = yield* Ref.make(0)
      const ended = yield* follow
      const count = Ref.update(received, (n) => n + 1)
      const listener = yield* withOptions(server)(
        Transport.listen([
          Transport.handlers(EchoService, {
            ...echo,
            echo: (request) => Effect.zipRight(count, echo.echo(request)),
            echoBidi: (requests) =>
              Stream.unwrap(
                Effect.as(
                  Effect.zipRight(Effect.fork(ended.run(Effect.never)), ended.started),
                  Stream.map(requests, ({ message, payloadSize }) => ({ message, payload: payloadOf(payloadSize) }))
                )
              )
          })
        ])
      )
      const echoClient = yield* withOptions(client)(Transport.client(EchoService, listener.target))
      /** What is seen of a stream whose third message is too large: those before it, and the error. */
      const third = (message: MessageInitShape<typeof EchoRequestSchema>) =>
        Effect.gen(function* () {
          const seen: Array<string> = []
          // A call that is cancelled at once may never reach its handler: over QUIC a reset overtakes what was sent.
          const last = Stream.fromEffect(Effect.as(ended.started, message))
          const requests = Stream.concat(Stream.concat(numbered(2), last), Stream.never)
          const error = yield* Effect.flip(
            Stream.runForEach(echoClient.echoBidi(requests), ({ message }) => Effect.sync(() => seen.push(message)))
          )
          expect(error).toMatchObject({
            _tag: "ResourceExhausted",
            code: 8,
            peer: listener.target,
            method: "/echo.v1.EchoService/EchoBidi"
          })
          expect(yield* ended.ended).toBe("interrupted")
          return seen
        })
      return { client: echoClient, received: Ref.get(received), third, peer: listener.target }
    })

    test("a request above the caller's limit is ResourceExhausted and never sent", function* () {
      const { client, peer, received, third } = yield* limited(large, small)
      expect(yield* Effect.flip(client.echo(requestOf(1001)))).toMatchObject({
        _tag: "ResourceExhausted",
        code: 8,
        peer,
        method: echoPath
      })
      expect(yield* received).toBe(0)
      expect(yield* client.echo({ ...requestOf(990), message: "" })).toMatchObject({ index: 0 })
      expect(["1", "2"]).toEqual(expect.arrayContaining(yield* third(requestOf(1001))))
      yield* goesOn(client)
    })

    test("a request above the listener's limit is ResourceExhausted", function* () {
      const { client, peer, received, third } = yield* limited(small, large)
      expect(yield* Effect.flip(client.echo(requestOf(1001)))).toMatchObject({
        _tag: "ResourceExhausted",
        code: 8,
        peer,
        method: echoPath
      })
      expect(yield* received).toBe(0)
      expect(["1", "2"]).toEqual(expect.arrayContaining(yield* third(requestOf(1001))))
      yield* goesOn(client)
    })

    test("an answer above the listener's limit is ResourceExhausted", function* () {
      const { client, third } = yield* limited({ ...large, maxSendMessageSize: 1000 }, large)
      const error = yield* Effect.flip(client.echo(requestOf(1100)))
      expect(error).toMatchObject({ _tag: "ResourceExhausted", code: 8, method: echoPath })
      expect(yield* third({ payloadSize: 1001 })).toEqual(["1", "2"])
      yield* goesOn(client)
    })

    test("an answer above the caller's limit is ResourceExhausted", function* () {
      const { client, third } = yield* limited(large, { ...large, maxReceiveMessageSize: 1000 })
      const error = yield* Effect.flip(client.echo(requestOf(1100)))
      expect(error).toMatchObject({ _tag: "ResourceExhausted", code: 8, method: echoPath })
      expect(yield* third({ payloadSize: 1001 })).toEqual(["1", "2"])
      yield* goesOn(client)
    })

    test("a message of exactly the limit passes", function* () {
      const { client } = yield* limited(small, small)
      const request = requestOf(1000)
      expect((yield* client.echo(request)).payload).toEqual(request.payload)
    })
  })
}
