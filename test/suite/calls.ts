/** Calls of the four shapes: what is sent arrives in order, and a call ends as its handler does. */
import { inspect } from "node:util"
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Ref from "effect/Ref"
import * as Stream from "effect/Stream"
import { NotFound, Service, Transport } from "effect-transport"
import { EchoService, echo, echoPath, messages, numbered, payloadOf, serveEcho, upTo } from "./fixtures/echo.js"
import { soon } from "./fixtures/expect.js"
import { follow } from "./fixtures/observe.js"
import { method, Shout } from "./fixtures/text.js"
import type { Suite } from "./harness.js"

export const calls = ({ test }: Suite): void => {
  describe("calls", () => {
    test("unary: one request, one answer", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const answer = yield* client.echo({ message: "hello", payload: payloadOf(300) })
      expect(answer).toMatchObject({ $typeName: "echo.v1.EchoResponse", message: "hello", index: 0 })
      expect(answer.payload).toEqual(payloadOf(300))
    })

    test("server streaming: one request, many answers", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const answers = yield* Stream.runCollect(client.echoServerStream({ message: "a", repeat: 3 }))
      expect(Chunk.toReadonlyArray(answers).map(({ message, index }) => `${message}${index}`)).toEqual([
        "a0",
        "a1",
        "a2"
      ])
    })

    test("client streaming: many requests, one answer", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      expect(yield* client.echoClientStream(numbered(3))).toMatchObject({ message: "123", index: 3 })
    })

    test("bidirectional: many requests, many answers", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      expect(yield* messages(client.echoBidi(numbered(3)))).toEqual(["1", "2", "3"])
    })

    test("a stream may be empty, in each direction", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.empty })
      )
      expect(yield* messages(client.echoServerStream({}))).toEqual([])
      expect(yield* client.echoClientStream(Stream.empty)).toMatchObject({ message: "", index: 0 })
      expect(yield* messages(client.echoBidi(Stream.empty))).toEqual([])
    })

    test("1,000 messages arrive in order, in each direction", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => numbered(1000) })
      )
      expect(yield* messages(client.echoServerStream({}))).toEqual(upTo(1000))
      expect(yield* client.echoClientStream(numbered(1000))).toMatchObject({
        message: upTo(1000).join(""),
        index: 1000
      })
      expect(yield* messages(client.echoBidi(numbered(1000)))).toEqual(upTo(1000))
    })

    test("an effect is a stream of one message", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: ({ message }) => Effect.succeed({ message }),
          echoBidi: () => Effect.fail(new NotFound({ message: "none" }))
        })
      )
      expect(yield* messages(client.echoServerStream({ message: "one" }))).toEqual(["one"])
      expect(yield* client.echoClientStream(Effect.succeed({ message: "one" }))).toMatchObject({ index: 1 })
      expect(yield* Effect.flip(messages(client.echoBidi(Effect.never)))).toMatchObject({ _tag: "NotFound" })
    })

    test("a call is an effect: it can be run again", function* () {
      const calls = yield* Ref.make(0)
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echo: () =>
            Effect.map(
              Ref.updateAndGet(calls, (n) => n + 1),
              (index) => ({ index })
            )
        })
      )
      const call = client.echo({})
      expect(yield* Ref.get(calls)).toBe(0)
      expect([(yield* call).index, (yield* call).index]).toEqual([1, 2])
      const stream = client.echoBidi(numbered(2))
      expect([yield* messages(stream), yield* messages(stream)]).toEqual([upTo(2), upTo(2)])
    })

    test("200 calls at once get each its own answer", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const answers = yield* Effect.forEach(upTo(200), (message) => client.echo({ message }), {
        concurrency: "unbounded"
      })
      expect(answers.map(({ message }) => message)).toEqual(upTo(200))
    })

    test("requests and answers go back and forth without waiting for more", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const requests = yield* Queue.unbounded<string>()
      yield* Queue.offer(requests, "0")
      const seen = yield* client.echoBidi(Stream.map(Stream.fromQueue(requests), (message) => ({ message }))).pipe(
        Stream.tap(({ message }) => Queue.offer(requests, String(Number(message) + 1))),
        Stream.take(100),
        messages
      )
      expect(seen).toEqual(Array.from({ length: 100 }, (_, i) => String(i)))
    })

    test("an answer arrives when it is given, not when the stream ends", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => Stream.concat(Stream.make({ message: "now" }), Stream.never)
        })
      )
      const first = yield* soon(Stream.runHead(client.echoServerStream({})))
      expect(Option.getOrThrow(first).message).toBe("now")
    })

    test("a request arrives when it is sent, not when the stream ends", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoClientStream: (requests) =>
            Effect.map(Stream.runHead(requests), (first) => ({ message: Option.getOrThrow(first).message }))
        })
      )
      const requests = Stream.concat(Stream.make({ message: "now" }), Stream.never)
      expect((yield* soon(client.echoClientStream(requests))).message).toBe("now")
    })

    test("an early answer ends the call, and the requests that still flow", function* () {
      const requests = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoClientStream: () => Effect.succeed({ message: "enough" }),
          echoBidi: () => Stream.make({ message: "enough" }, { message: "really" })
        })
      )
      const endless = Stream.drain(Stream.fromEffect(requests.run(Effect.never)))
      expect((yield* soon(client.echoClientStream(endless))).message).toBe("enough")
      expect(yield* requests.ended).toBe("interrupted")
      const chatter = Stream.forever(Stream.make({ payload: payloadOf(1024) }))
      expect((yield* soon(client.echoClientStream(chatter))).message).toBe("enough")
      expect(yield* soon(messages(client.echoBidi(chatter)))).toEqual(["enough", "really"])
      expect(yield* soon(messages(client.echoBidi(Stream.never)))).toEqual(["enough", "really"])
    })

    test("several services share one listener", function* () {
      const listener = yield* Transport.listen([
        Transport.handlers(EchoService, echo),
        Transport.handlers(Shout, { shout: (text) => Effect.succeed(`${text.toUpperCase()}!`) })
      ])
      const client = yield* Transport.client(EchoService, listener.target)
      const shout = yield* Transport.client(Shout, listener.target)
      expect((yield* client.echo({ message: "quiet" })).message).toBe("quiet")
      expect(yield* shout.shout("loud")).toBe("LOUD!")
    })

    test("two handlers for one method are a mistake in the program", function* () {
      const handlers = Transport.handlers(EchoService, echo)
      const exit = yield* Effect.exit(Transport.listen([handlers, handlers]))
      expect(Exit.isFailure(exit) && Cause.isDie(exit.cause)).toBe(true)
      expect(inspect(exit)).toContain(echoPath)
    })

    test("an unknown service or method is Unimplemented", function* () {
      const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const unknown = yield* Transport.client(
        Service.make("echo.v1.EchoService", {
          method: method("/echo.v1.EchoService/Nothing", "unary"),
          service: method("/no.Such/Thing", "bidiStreaming")
        }),
        listener.target
      )
      expect(yield* Effect.flip(unknown.method("?"))).toMatchObject({
        _tag: "Unimplemented",
        code: 12,
        peer: listener.target,
        method: "/echo.v1.EchoService/Nothing"
      })
      expect(yield* Effect.flip(Stream.runDrain(unknown.service(Stream.never)))).toMatchObject({
        _tag: "Unimplemented",
        method: "/no.Such/Thing"
      })
      expect((yield* client.echo({ message: "still here" })).message).toBe("still here")
    })

    test("too many or too few messages are Unimplemented", function* () {
      const started = yield* Ref.make(0)
      const count = Ref.update(started, (n) => n + 1)
      const listener = yield* Transport.listen([
        Transport.handlers(
          Service.make("test.Many", {
            unary: method("/test.Many/Unary", "unary"),
            streaming: method("/test.Many/Streaming", "bidiStreaming")
          }),
          {
            unary: () => Effect.as(count, "one"),
            streaming: (requests) => requests
          }
        )
      ])
      const client = yield* Transport.client(
        Service.make("test.Many", {
          unary: method("/test.Many/Unary", "clientStreaming"),
          streaming: method("/test.Many/Streaming", "clientStreaming")
        }),
        listener.target
      )
      const texts = [[], ["1", "2"]].map((texts) => Stream.fromIterable(texts))
      for (const requests of texts) {
        expect(yield* Effect.flip(client.unary(requests))).toMatchObject({ _tag: "Unimplemented", code: 12 })
        expect(yield* Effect.flip(client.streaming(requests))).toMatchObject({ _tag: "Unimplemented", code: 12 })
      }
      expect(yield* Ref.get(started)).toBe(0)
      expect(yield* client.unary(Stream.make("1"))).toBe("one")
      expect(yield* client.streaming(Stream.make("1"))).toBe("1")
    })

    test("a message that can't be read is Internal to the caller, and the connection goes on", function* () {
      const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo))
      const raw = yield* Transport.client(
        Service.make("echo.v1.EchoService", { echo: method(echoPath, "unary") }),
        listener.target
      )
      expect(yield* Effect.flip(raw.echo("\x0a\x7f"))).toMatchObject({ _tag: "Internal", code: 13 })
      expect((yield* client.echo({ message: "fine" })).message).toBe("fine")
    })
  })
}
