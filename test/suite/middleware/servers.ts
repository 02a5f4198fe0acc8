/** Middleware of the serving side: what is done around the calls of all methods, whatever their shape. */
import { describe, expect } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import {
  Authorizer,
  type CallError,
  Metadata,
  Middleware,
  PermissionDenied,
  Transport,
  Unauthenticated,
  Unavailable
} from "effect-transport"
import { EchoService, echo, goesOn, numbered, serveEcho, upTo } from "../fixtures/echo.js"
import { soon } from "../fixtures/expect.js"
import { captureLog, follow } from "../fixtures/observe.js"
import type { Suite } from "../harness.js"

import { answering, answers, callsOf, shapeOf, shapes } from "./shapes.js"

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

export const servers = ({ test }: Suite): void => {
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
