/** Middleware: what is done around the calls of all methods, on either side, whatever their shape. */
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import {
  Authorizer,
  type CallError,
  Deadline,
  Metadata,
  Middleware,
  PermissionDenied,
  Transport,
  Unauthenticated,
  Unavailable
} from "effect-transport"
import { EchoService, echo, goesOn, messages, numbered, serveEcho, upTo } from "./fixtures/echo.js"
import { soon } from "./fixtures/expect.js"
import { captureLog, follow } from "./fixtures/observe.js"
import type { Suite } from "./harness.js"

const shapes = ["Echo", "EchoServerStream", "EchoClientStream", "EchoBidi"] as const

const shapeOf = (call: { readonly method: string }) => call.method.slice(call.method.lastIndexOf("/") + 1)

/** A call of each shape, with all its answers. */
const callsOf = (client: Transport.Client<typeof EchoService>, options?: Transport.CallOptions) =>
  ({
    Echo: Effect.map(client.echo({ message: "1" }, options), ({ message }) => [message]),
    EchoServerStream: messages(client.echoServerStream({ message: "1" }, options)),
    EchoClientStream: Effect.map(client.echoClientStream(numbered(2), options), ({ message }) => [message]),
    EchoBidi: messages(client.echoBidi(numbered(2), options))
  }) satisfies Record<string, Effect.Effect<ReadonlyArray<string>, CallError>>

const answers = { Echo: ["1"], EchoServerStream: ["1"], EchoClientStream: ["12"], EchoBidi: ["1", "2"] }

class User extends Context.Tag("test/User")<User, string>() {}
class Role extends Context.Tag("test/Role")<Role, string>() {}

/** A middleware that notes when it begins, and how what is behind it ends. */
const noting = (name: string, notes: Array<string>) =>
  Middleware.server({
    wrap: (_, next) =>
      Effect.suspend(() => {
        notes.push(`${name}>`)
        return Effect.onExit(next, (exit) => {
          notes.push(
            Exit.isSuccess(exit)
              ? `<${name}`
              : Cause.isInterrupted(exit.cause)
                ? `interrupted ${name}`
                : `failed ${name}`
          )
          return Effect.void
        })
      })
  })

/** Handlers that all answer with the same text. */
const answering = <R>(text: Effect.Effect<string, CallError, R>) => {
  const answer = Effect.map(text, (message) => ({ message }))
  return {
    echo: () => answer,
    echoServerStream: () => Stream.fromEffect(answer),
    echoClientStream: () => answer,
    echoBidi: () => Stream.fromEffect(answer)
  }
}

const serverTests = ({ test }: Suite): void => {
  describe("of a server", () => {
    test("wraps the calls of every shape, in the order of the lists", function* () {
      const notes: Array<string> = []
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, echo, { middleware: [noting("c", notes), noting("d", notes)] }),
        { middleware: [noting("a", notes), noting("b", notes)] }
      )
      const calls = callsOf(client)
      for (const shape of shapes) {
        notes.length = 0
        expect(yield* calls[shape]).toEqual(answers[shape])
        expect(notes.join(" ")).toBe("a> b> c> d> <d <c <b <a")
      }
    })

    test("provides services to what is behind it", function* () {
      const seen: Array<string> = []
      const { client } = yield* serveEcho(
        Transport.handlers(
          EchoService,
          answering(Effect.map(Effect.all([User, Role]), ([user, role]) => `${user} is ${role}`)),
          {
            middleware: [
              Middleware.server({
                provides: User,
                run: (call) => Effect.succeed(`user of ${shapeOf(call)}`)
              }),
              Middleware.server({
                provides: Role,
                run: () => Effect.map(User, (user) => `role of ${user}`)
              }),
              Middleware.server({
                onRequest: () => Effect.flatMap(User, (user) => Effect.sync(() => seen.push(user)))
              })
            ]
          }
        )
      )
      const calls = callsOf(client)
      for (const shape of shapes) {
        expect(yield* calls[shape]).toEqual([`user of ${shape} is role of user of ${shape}`])
      }
      // The last two don't take their requests.
      expect(seen).toEqual(["user of Echo", "user of EchoServerStream"])
    })

    test("knows the call, and code below it too", function* () {
      const seen: Array<unknown> = []
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        middleware: [
          Middleware.server({
            run: (call) =>
              Effect.gen(function* () {
                yield* Effect.addFinalizer(() => Effect.sync(() => seen.push("released")))
                const current = yield* Transport.CurrentCall
                const key = Metadata.getAll(call.metadata, "x-key")
                seen.push([
                  current === call,
                  shapeOf(call),
                  key,
                  Number.isFinite(call.deadline),
                  call.peer.address !== ""
                ])
              })
          })
        ]
      })
      const calls = callsOf(client, { metadata: { "x-key": "1" } })
      for (const shape of shapes) {
        seen.length = 0
        yield* calls[shape]
        expect(seen).toEqual([[true, shape, ["1"], true, true], "released"])
      }
    })

    test("fails a call before its handler runs, with metadata", function* () {
      let handled = 0
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, answering(Effect.sync(() => String(++handled))), {
          middleware: [
            Middleware.server({
              run: (call) =>
                call.metadata.entries.length === 0
                  ? new Unauthenticated({
                      message: "who are you?",
                      metadata: Metadata.make({ "x-why": "nothing said" })
                    })
                  : Effect.void
            })
          ]
        })
      )
      const calls = callsOf(client)
      for (const shape of shapes) {
        const error = yield* Effect.flip(calls[shape])
        expect(error).toMatchObject({ _tag: "Unauthenticated", message: "who are you?" })
        expect(error._tag === "Unauthenticated" && Metadata.getAll(error.metadata, "x-why")).toEqual(["nothing said"])
      }
      expect(handled).toBe(0)
      expect((yield* client.echo({}, { metadata: { "x-key": "1" } })).message).toBe("1")
    })

    test("that throws or dies is a defect of the handler", function* () {
      const log = yield* captureLog
      const notes: Array<string> = []
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        middleware: [
          noting("outer", notes),
          Middleware.server({
            wrap: ({ metadata }, next) => {
              if (metadata.entries.length === 0) {
                throw new Error("a secret")
              }
              return Effect.zipRight(Effect.die(new Error("a secret")), next)
            }
          })
        ]
      }).pipe(Effect.provide(log.layer))
      for (const metadata of [{}, { "x-key": "1" }]) {
        const calls = callsOf(client, { metadata })
        for (const shape of shapes) {
          const error = yield* Effect.flip(calls[shape])
          expect(error).toMatchObject({ _tag: "Internal", message: "internal error" })
          expect(String(error)).not.toContain("secret")
        }
      }
      // What stands before it sees the status.
      expect(new Set(notes)).toEqual(new Set(["outer>", "failed outer"]))
      expect(log.lines.filter(({ text }) => text.includes("a secret")).length).toBeGreaterThan(0)
    })

    test("sees the status that the caller gets, and may change it", function* () {
      const { client } = yield* serveEcho(
        Transport.handlers(
          EchoService,
          answering(Effect.fail<CallError>(new Unavailable({ message: "the disk is full" }))),
          {
            middleware: [
              Middleware.server({
                wrap: (_, next) =>
                  Effect.catchTag(next, "Unavailable", ({ message }) =>
                    Effect.fail(new PermissionDenied({ message: `not now: ${message}` }))
                  )
              })
            ]
          }
        )
      )
      const calls = callsOf(client)
      for (const shape of shapes) {
        expect(yield* Effect.flip(calls[shape])).toMatchObject({
          _tag: "PermissionDenied",
          message: "not now: the disk is full"
        })
      }
    })

    test("stands before the authorizer with the listener, and behind it with the service", function* () {
      const notes: Array<string> = []
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, echo, {
          authorize: Authorizer.either(),
          middleware: [noting("service", notes)]
        }),
        { middleware: [noting("listener", notes)] }
      )
      const calls = callsOf(client)
      for (const shape of shapes) {
        notes.length = 0
        expect((yield* Effect.flip(calls[shape]))._tag).toBe("PermissionDenied")
        expect(notes).toEqual(["listener>", "failed listener"])
      }
    })

    test("is interrupted with the call that it wraps, in the middle of a stream too", function* () {
      const wraps = yield* Effect.all({
        Echo: follow,
        EchoServerStream: follow,
        EchoClientStream: follow,
        EchoBidi: follow
      })
      const handler = yield* Effect.all({
        Echo: follow,
        EchoServerStream: follow,
        EchoClientStream: follow,
        EchoBidi: follow
      })
      const { client } = yield* serveEcho(
        Transport.handlers(
          EchoService,
          {
            echo: () => handler.Echo.run(Effect.never),
            echoServerStream: () =>
              Stream.concat(numbered(2), Stream.fromEffect(handler.EchoServerStream.run(Effect.never))),
            echoClientStream: (requests) => Effect.as(handler.EchoClientStream.run(Stream.runDrain(requests)), {}),
            echoBidi: () => Stream.concat(numbered(2), Stream.fromEffect(handler.EchoBidi.run(Effect.never)))
          },
          {
            middleware: [
              Middleware.server({
                wrap: (call, next) => wraps[shapeOf(call) as (typeof shapes)[number]].run(next)
              })
            ]
          }
        )
      )
      const calls = {
        Echo: client.echo({}),
        EchoServerStream: Stream.runDrain(client.echoServerStream({})),
        EchoClientStream: client.echoClientStream(Stream.never),
        EchoBidi: Stream.runDrain(client.echoBidi(Stream.never))
      }
      for (const shape of shapes) {
        const fiber = yield* Effect.fork(calls[shape])
        yield* handler[shape].started
        yield* soon(Fiber.interrupt(fiber))
        expect(yield* handler[shape].ended).toBe("interrupted")
        expect(yield* wraps[shape].ended).toBe("interrupted")
      }
    })

    test("is interrupted when the deadline passes", function* () {
      const wrap = yield* follow
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, { ...echo, echoServerStream: () => Stream.concat(numbered(1), Stream.never) }),
        { middleware: [Middleware.server({ wrap: (_, next) => wrap.run(next) })] }
      )
      const error = yield* Effect.flip(Stream.runDrain(client.echoServerStream({}, { timeout: "100 millis" })))
      expect(error._tag).toBe("DeadlineExceeded")
      expect(yield* wrap.ended).toBe("interrupted")
    })

    test("sets headers and trailers, before the handler and after it", function* () {
      const { client } = yield* serveEcho(Transport.handlers(EchoService, echo), {
        middleware: [
          Middleware.server({
            wrap: (call, next) =>
              Effect.zipRight(call.setHeaders({ "x-before": "1" }), next).pipe(
                Effect.tap(() => call.setTrailers({ "x-after": "2" }))
              )
          })
        ]
      })
      for (const shape of shapes) {
        let seen: ReadonlyArray<unknown> = []
        yield* callsOf(client, {
          onHeaders: (headers) => {
            seen = [...seen, ...Metadata.getAll(headers, "x-before")]
          },
          onTrailers: (trailers) => {
            seen = [...seen, ...Metadata.getAll(trailers, "x-after")]
          }
        })[shape]
        expect(seen).toEqual(["1", "2"])
      }
    })

    test("looks at each request, and ends the call with what it refuses", function* () {
      const seen: Array<string> = []
      const { client } = yield* serveEcho(
        Transport.handlers(EchoService, echo, {
          middleware: [
            Middleware.server({
              onRequest: (request) =>
                Effect.suspend(() => {
                  const { message } = request as { readonly message: string }
                  seen.push(message)
                  return message === "2" ? new PermissionDenied({ message: "not two" }) : Effect.void
                })
            })
          ]
        })
      )
      expect(yield* Effect.flip(client.echo({ message: "2" }))).toMatchObject({ message: "not two" })
      const watched = yield* Effect.flip(Stream.runDrain(client.echoServerStream({ message: "2" })))
      expect(watched).toMatchObject({ _tag: "PermissionDenied", message: "not two" })
      seen.length = 0
      expect(yield* Effect.flip(client.echoClientStream(numbered(3)))).toMatchObject({ message: "not two" })
      expect(seen).toEqual(upTo(2))
      seen.length = 0
      const received: Array<string> = []
      const talk = Stream.runForEach(client.echoBidi(numbered(3)), ({ message }) =>
        Effect.sync(() => received.push(message))
      )
      expect(yield* Effect.flip(talk)).toMatchObject({ _tag: "PermissionDenied", message: "not two" })
      expect([seen, received]).toEqual([upTo(2), ["1"]])
      yield* goesOn(client)
    })
  })
}

const clientTests = ({ test }: Suite): void => {
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

export const middleware = (suite: Suite): void => {
  describe("middleware", () => {
    serverTests(suite)
    clientTests(suite)
  })
}
