/** Middleware of the calling side: what is done around the calls of a client, whatever their shape. */
import { describe, expect } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import { Deadline, Metadata, Middleware, Transport, Unavailable } from "effect-transport"
import { EchoService, echo, numbered, serveEcho } from "../fixtures/echo.js"
import { soon } from "../fixtures/expect.js"
import { follow } from "../fixtures/observe.js"
import type { Suite } from "../harness.js"

import { answering, answers, callsOf, shapeOf, shapes } from "./shapes.js"

class User extends Context.Tag("test/User")<User, string>() {}

export const clients = ({ test }: Suite): void => {
  /** A middleware that notes the calls that pass, and how they end. */
  const passing = (name: string, notes: Array<string>) => {
    const note = (text: string) => Effect.sync(() => notes.push(text))
    return Middleware.client({
      unary: (call, next) => Effect.zipRight(note(`${name}>`), Effect.ensuring(next(call), note(`<${name}`))),
      stream: (call, next) =>
        Stream.concat(Stream.execute(note(`${name}>`)), Stream.ensuring(next(call), note(`<${name}`)))
    })
  }

  describe("of a client", () => {
    test("wraps the calls of every shape, in the order of the list", function* () {
      const notes: Array<string> = []
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        client: { middleware: [passing("a", notes), passing("b", notes)] }
      })
      const calls = callsOf(client)
      for (const shape of shapes) {
        notes.length = 0
        expect(yield* calls[shape]).toEqual(answers[shape])
        expect(notes.join(" ")).toBe("a> b> <b <a")
      }
    })

    test("adds metadata to what the client and the call say, with what it requires", function* () {
      const { listener } = yield* serveEcho(
        Transport.handlers(
          EchoService,
          answering(Effect.map(Transport.CurrentCall, ({ metadata }) => Metadata.getAll(metadata, "x-key").join(",")))
        )
      )
      const client = yield* Effect.provideService(
        Transport.client(EchoService, listener.target, {
          metadata: { "x-key": "client" },
          middleware: [
            Middleware.client({
              run: (call) => Effect.map(User, (user) => ({ "x-key": `${user} of ${shapeOf(call)}` }))
            }),
            Middleware.client({ run: () => Effect.succeed(Metadata.empty) })
          ]
        }),
        User,
        "user"
      )
      const calls = callsOf(client, { metadata: { "x-key": "call" } })
      for (const shape of shapes) {
        // Some HTTP stacks join the values of one field.
        expect((yield* calls[shape]).join().replaceAll(", ", ",")).toBe(`client,call,user of ${shape}`)
      }
    })

    test("sees the call, and can't send what no wire takes", function* () {
      const seen: Array<unknown> = []
      const { client, listener } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        client: {
          middleware: [
            Middleware.client({
              run: (call) => {
                seen.push([shapeOf(call), call.shape, call.peer, Number.isFinite(call.deadline)])
                return Effect.succeed({ connection: "close" })
              }
            })
          ]
        }
      })
      const calls = callsOf(client)
      for (const shape of shapes) {
        expect(yield* Effect.flip(calls[shape])).toMatchObject({
          _tag: "InvalidArgument",
          message: expect.stringContaining("reserved"),
          peer: listener.target
        })
      }
      expect(seen).toEqual([
        ["Echo", "unary", listener.target, true],
        ["EchoServerStream", "serverStreaming", listener.target, true],
        ["EchoClientStream", "clientStreaming", listener.target, true],
        ["EchoBidi", "bidiStreaming", listener.target, true]
      ])
    })

    test("calls again, with the requests from their beginning", function* () {
      let refused = 0
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        middleware: [
          Middleware.server({
            run: () => (++refused % 3 === 0 ? Effect.void : new Unavailable({ message: "later", processed: "no" }))
          })
        ],
        client: {
          middleware: [
            Middleware.client({
              unary: (call, next) => Effect.retry(next(call), { times: 2 }),
              stream: (call, next) => Stream.catchAll(next(call), () => Stream.catchAll(next(call), () => next(call)))
            })
          ]
        }
      })
      const calls = callsOf(client)
      for (const shape of shapes) {
        refused = 0
        expect(yield* calls[shape]).toEqual(answers[shape])
        expect(refused).toBe(3)
      }
    })

    test("answers by itself, and nothing reaches the peer", function* () {
      let handled = 0
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, answering(Effect.sync(() => String(++handled)))),
        {
          client: {
            middleware: [
              Middleware.client({
                unary: (call) => Effect.succeed({ message: `cached ${shapeOf(call)}` }),
                stream: (call) => Stream.make({ message: `cached ${shapeOf(call)}` })
              })
            ]
          }
        }
      )
      const calls = callsOf(client)
      for (const shape of shapes) {
        expect(yield* calls[shape]).toEqual([`cached ${shape}`])
      }
      expect(handled).toBe(0)
    })

    test("fails with what its requests fail with", function* () {
      const notes: Array<string> = []
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        client: { middleware: [passing("a", notes)] }
      })
      const requests = Stream.concat(numbered(1), Stream.fail("out of paper" as const))
      expect(yield* Effect.flip(client.echoClientStream(requests))).toBe("out of paper")
      expect(yield* Effect.flip(Stream.runDrain(client.echoBidi(requests)))).toBe("out of paper")
      expect(notes).toEqual(["a>", "<a", "a>", "<a"])
    })

    test("that waits for ever ends at the deadline", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        client: { middleware: [Middleware.client({ run: () => Effect.never })] }
      })
      const calls = callsOf(client, { timeout: "50 millis" })
      for (const shape of shapes) {
        expect(yield* soon(Effect.flip(calls[shape]))).toMatchObject({
          _tag: "DeadlineExceeded",
          method: `/echo.v1.EchoService/${shape}`
        })
      }
    })

    test("that calls again has the time of one call", function* () {
      const attempts: Array<number> = []
      const { client } = yield* serveEcho(
        Transport.handlers(
          EchoService,
          answering(
            Effect.gen(function* () {
              const { deadline } = yield* Transport.CurrentCall
              attempts.push(Duration.toMillis(yield* Deadline.remaining(deadline)))
              return yield* new Unavailable({ message: "busy" })
            })
          )
        ),
        {
          client: {
            middleware: [
              Middleware.client({
                unary: (call, next) => Effect.retry(next(call), { while: ({ _tag }) => _tag === "Unavailable" }),
                stream: (call, next) => next(call)
              })
            ]
          }
        }
      )
      expect((yield* soon(Effect.flip(client.echo({}, { timeout: "1 second" }))))._tag).toBe("DeadlineExceeded")
      expect(attempts.length).toBeGreaterThan(1)
      expect(Math.min(...attempts)).toBeLessThan(Math.max(...attempts) / 2)
    })

    test("interrupted with its call, interrupts the handler", function* () {
      const notes: Array<string> = []
      const handler = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoBidi: () => Stream.concat(numbered(1), Stream.fromEffect(handler.run(Effect.never)))
        }),
        { client: { middleware: [passing("a", notes)] } }
      )
      const fiber = yield* Effect.fork(Stream.runDrain(client.echoBidi(Stream.never)))
      yield* handler.started
      yield* soon(Fiber.interrupt(fiber))
      expect(yield* handler.ended).toBe("interrupted")
      expect(notes).toEqual(["a>", "<a"])
    })

    test("hears of headers and trailers beside the caller", function* () {
      const seen: Array<string> = []
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        middleware: [Middleware.server({ run: (call) => call.setHeaders({ "x-key": "1" }) })],
        client: {
          middleware: [
            Middleware.client({
              unary: (call, next) =>
                next({
                  ...call,
                  onHeaders: (headers) => {
                    seen.push(`middleware ${Metadata.getAll(headers, "x-key")}`)
                    call.onHeaders?.(headers)
                  }
                }),
              stream: (call, next) => next(call)
            })
          ]
        }
      })
      yield* client.echo({}, { onHeaders: (headers) => void seen.push(`caller ${Metadata.getAll(headers, "x-key")}`) })
      expect(seen).toEqual(["middleware 1", "caller 1"])
    })

    test("has a stream's consumer take what it wants, and no more", function* () {
      const notes: Array<string> = []
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, {
          ...echo,
          echoServerStream: () => Stream.forever(Stream.make({ message: "1" }))
        }),
        { client: { middleware: [passing("a", notes)] } }
      )
      const taken = yield* Stream.runCollect(Stream.take(client.echoServerStream({}), 3))
      expect(Chunk.size(taken)).toBe(3)
      expect(notes).toEqual(["a>", "<a"])
    })
  })
}
