import { describe, expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, Middleware, Service, Tls, TlsLive, Transport, TransportError } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { echo } from "../suite/fixtures/echo.js"
import { closable, leavesNothing, soon } from "../suite/fixtures/expect.js"
import { follow } from "../suite/fixtures/observe.js"
import { method } from "../suite/fixtures/text.js"

const live = Layer.provide(TlsLive, Credentials.layerDev())
const quick = Layer.provide(Tls.layer({ gracePeriod: "100 millis" }), Credentials.layerDev())

/** A node that calls back whoever calls it, over the caller's own connection. */
const callsBack = Transport.handlers(EchoService, {
  ...echo,
  echo: (request, call) =>
    Effect.gen(function* () {
      const caller = yield* Transport.reverse(EchoService, call.connection)
      const { message } = yield* caller.echo({ message: `${request.message}, back` })
      return { message: `${message}, and again` }
    }),
  echoServerStream: (_, call) =>
    Stream.unwrap(
      Effect.map(Transport.reverse(EchoService, call.connection), (caller) =>
        Stream.map(caller.echoServerStream({ message: "s", repeat: 100 }), ({ index, message }) => ({ index, message }))
      )
    )
})

it.live("a node that only connects out is called back over its connection", () =>
  leavesNothing(
    Effect.gen(function* () {
      const listener = yield* Transport.listen([callsBack])
      yield* Transport.offer([Transport.handlers(EchoService, echo)], listener.target)
      const client = yield* Transport.client(EchoService, listener.target)
      expect((yield* client.echo({ message: "there" })).message).toBe("there, back, and again")
      expect(yield* Stream.runCount(client.echoServerStream({}))).toBe(100)
    }).pipe(Effect.scoped, Effect.provide(live))
  )
)

it.live("middleware stands around what is offered, and provides for it", () =>
  leavesNothing(
    Effect.gen(function* () {
      const seen: Array<string> = []
      class Caller extends Context.Tag("test/Caller")<Caller, string>() {}
      const noted = Middleware.server({
        wrap: ({ method }, next) =>
          Effect.zipRight(
            Effect.sync(() => seen.push(method)),
            next
          )
      })
      const known = Middleware.server({
        provides: Caller,
        wrap: ({ peer }, next) => Effect.provideService(next, Caller, Option.isSome(peer.identity) ? "known" : "nobody")
      })
      const handlers = Transport.handlers(EchoService, {
        ...echo,
        echo: () => Effect.map(Caller, (message) => ({ message }))
      })
      const listener = yield* Transport.listen([callsBack])
      yield* Transport.offer([handlers], listener.target, { middleware: [noted, known] })
      const client = yield* Transport.client(EchoService, listener.target)
      expect((yield* client.echo({ message: "there" })).message).toBe("known, and again")
      expect(yield* Stream.runCount(client.echoServerStream({}))).toBe(100)
      expect(seen).toEqual(["/echo.v1.EchoService/Echo", "/echo.v1.EchoService/EchoServerStream"])
    }).pipe(Effect.scoped, Effect.provide(live))
  )
)

it.live("nothing may be called back that was not offered, or is offered no more", () =>
  Effect.gen(function* () {
    const listener = yield* Transport.listen([callsBack])
    const client = yield* Transport.client(EchoService, listener.target)
    expect((yield* Effect.flip(client.echo({})))._tag).toBe("Unimplemented")
    const scope = yield* Scope.make()
    yield* Scope.extend(Transport.offer([Transport.handlers(EchoService, echo)], listener.target), scope)
    yield* client.echo({})
    yield* Scope.close(scope, Exit.void)
    expect((yield* Effect.flip(client.echo({})))._tag).toBe("Unimplemented")
  }).pipe(Effect.scoped, Effect.provide(live))
)

it.live(
  "a handler that is called back fails as any other: refused by a third node, it is Unavailable to its caller",
  () =>
    Effect.gen(function* () {
      const error = yield* Deferred.make<TransportError.CallError>()
      const listener = yield* Transport.listen([
        Transport.handlers(EchoService, {
          ...echo,
          echo: (_, call) =>
            Effect.gen(function* () {
              const caller = yield* Transport.reverse(EchoService, call.connection)
              yield* Effect.intoDeferred(Effect.orDie(Effect.flip(caller.echo({}))), error)
              return {}
            })
        })
      ])
      const refused = new TransportError.HandshakeFailed({ message: "hunter2", reason: "Expired", refusedBy: "local" })
      yield* Transport.offer([Transport.handlers(EchoService, { ...echo, echo: () => refused })], listener.target)
      const client = yield* Transport.client(EchoService, listener.target)
      yield* client.echo({})
      const seen = yield* Deferred.await(error)
      expect(seen).toMatchObject({ _tag: "Unavailable", processed: "no", details: [] })
      expect(seen.message).not.toContain("hunter2")
    }).pipe(Effect.scoped, Effect.provide(live))
)

it.live("a connection that has ended leads nowhere back", () =>
  Effect.gen(function* () {
    const connection = yield* Deferred.make<Transport.CallConnection>()
    const listener = yield* Transport.listen([
      Transport.handlers(EchoService, {
        ...echo,
        echo: (_, call) => Effect.as(Deferred.succeed(connection, call.connection), {})
      })
    ])
    yield* Effect.scoped(Effect.flatMap(Transport.client(EchoService, listener.target), (client) => client.echo({})))
    const back = yield* Transport.reverse(EchoService, yield* Deferred.await(connection))
    const ended = back.echo({}).pipe(Effect.flip, Effect.repeat({ until: (error) => error._tag === "Unavailable" }))
    expect(yield* soon(ended)).toMatchObject({ _tag: "Unavailable" })
    const strange = { peer: { address: "nowhere", identity: Option.none() } }
    expect(yield* Effect.flip(Transport.reverse(EchoService, strange))).toMatchObject({ processed: "no" })
  }).pipe(Effect.scoped, Effect.provide(live))
)

it.live("what one part of a program offers goes over the connection that another part calls on", () =>
  Effect.gen(function* () {
    const credentials = Layer.succeed(
      Credentials.Credentials,
      Context.get(yield* Layer.build(Credentials.layerDev()), Credentials.Credentials)
    )
    const part = Layer.build(Layer.provide(TlsLive, credentials))
    const listener = yield* Effect.provide(Transport.listen([callsBack]), yield* part)
    yield* Effect.provide(Transport.offer([Transport.handlers(EchoService, echo)], listener.target), yield* part)
    const client = yield* Effect.provide(Transport.client(EchoService, listener.target), yield* part)
    expect((yield* client.echo({ message: "there" })).message).toBe("there, back, and again")
  }).pipe(Effect.scoped, leavesNothing)
)

/** A listener, and a client back to the node that has connected to it, which offers what the test says. */
const backTo = Effect.gen(function* () {
  const connection = yield* Deferred.make<Transport.CallConnection>()
  const listener = yield* Transport.listen([
    Transport.handlers(EchoService, {
      ...echo,
      echo: (_, call) => Effect.as(Deferred.succeed(connection, call.connection), {})
    })
  ])
  const [client, leave] = yield* closable(Transport.client(EchoService, listener.target))
  yield* client.echo({})
  const way = yield* Deferred.await(connection)
  return { back: yield* Transport.reverse(EchoService, way), connection: way, leave, target: listener.target }
})

const Lasting = Service.make("test.Lasting", { last: method("/test.Lasting/Last", "unary") })

const answering = (message: string) =>
  Transport.handlers(EchoService, { ...echo, echo: () => Effect.succeed({ message }) })

describe("offers", () => {
  it.live("of one path are refused but for the first, which stays", () =>
    Effect.gen(function* () {
      const { back, target } = yield* backTo
      const [, withdraw] = yield* closable(Transport.offer([answering("first")], target))
      const second = yield* Effect.flip(Transport.offer([answering("second")], target))
      expect(second).toMatchObject({
        _tag: "InvalidArgument",
        peer: target,
        method: expect.stringContaining("/echo.v1")
      })
      expect(second.message).toContain("already")
      expect((yield* back.echo({})).message).toBe("first")
      // What was refused takes nothing with it when its scope closes.
      yield* Effect.ignore(Effect.scoped(Transport.offer([answering("third")], target)))
      expect((yield* back.echo({})).message).toBe("first")
      yield* withdraw
      yield* Transport.offer([answering("fourth")], target)
      expect((yield* back.echo({})).message).toBe("fourth")
    }).pipe(leavesNothing, Effect.provide(live))
  )

  it.live("of a path to two peers are two", () =>
    Effect.gen(function* () {
      const one = yield* backTo
      const two = yield* backTo
      yield* Transport.offer([answering("one")], one.target)
      yield* Transport.offer([answering("two")], two.target)
      expect((yield* one.back.echo({})).message).toBe("one")
      expect((yield* two.back.echo({})).message).toBe("two")
    }).pipe(leavesNothing, Effect.provide(live))
  )

  it.live("that find no peer leave the path free", () =>
    Effect.gen(function* () {
      const target = yield* Effect.scoped(Effect.map(Transport.listen([]), ({ target }) => target))
      for (let i = 0; i < 2; i++) {
        expect((yield* Effect.flip(Transport.offer([answering("never")], target)))._tag).toBe("Unavailable")
      }
    }).pipe(leavesNothing, Effect.provide(live))
  )

  it.live("let calls end that began, tell them, and take no further ones", () =>
    Effect.gen(function* () {
      const draining = yield* Deferred.make<void>()
      const latch = yield* Deferred.make<void>()
      const handler = yield* follow
      const { back, target } = yield* backTo
      const [, withdraw] = yield* closable(
        Transport.offer(
          [
            Transport.handlers(EchoService, {
              ...echo,
              echo: (_, call) =>
                handler.run(
                  Effect.gen(function* () {
                    yield* call.draining
                    yield* Deferred.succeed(draining, undefined)
                    yield* Deferred.await(latch)
                    return { message: "in time" }
                  })
                )
            })
          ],
          target
        )
      )
      const call = yield* Effect.fork(back.echo({}))
      yield* handler.started
      const closing = yield* Effect.fork(withdraw)
      yield* soon(Deferred.await(draining))
      expect((yield* Effect.flip(back.echo({})))._tag).toBe("Unimplemented")
      const [, withdrawNext] = yield* closable(Transport.offer([answering("next")], target))
      expect((yield* back.echo({})).message).toBe("next")
      yield* Deferred.succeed(latch, undefined)
      expect((yield* soon(Fiber.join(call))).message).toBe("in time")
      yield* soon(Fiber.join(closing))
      expect((yield* back.echo({})).message).toBe("next")
      yield* withdrawNext
      expect((yield* Effect.flip(back.echo({})))._tag).toBe("Unimplemented")
    }).pipe(leavesNothing, Effect.provide(live))
  )

  it.live("keep the connection until what they answer has arrived, also where nobody else uses it", () =>
    Effect.gen(function* () {
      const payload = new Uint8Array(3 * 1024 * 1024).fill(7)
      const handler = yield* follow
      const { back, leave, target } = yield* backTo
      const [, withdraw] = yield* closable(
        Transport.offer(
          [
            Transport.handlers(EchoService, {
              ...echo,
              echo: (_, call) => handler.run(Effect.as(call.draining, { payload }))
            })
          ],
          target
        )
      )
      yield* leave
      const call = yield* Effect.fork(back.echo({}))
      yield* handler.started
      yield* soon(withdraw)
      expect((yield* soon(Fiber.join(call))).payload.length).toBe(payload.length)
    }).pipe(leavesNothing, Effect.provide(live))
  )

  it.live("interrupt what still runs after the grace period, and nothing of another offer", () =>
    Effect.gen(function* () {
      const handler = yield* follow
      const other = yield* follow
      const { back, connection, target } = yield* backTo
      yield* Transport.offer([Transport.handlers(Lasting, { last: () => other.run(Effect.never) })], target)
      const [, withdraw] = yield* closable(
        Transport.offer([Transport.handlers(EchoService, { ...echo, echo: () => handler.run(Effect.never) })], target)
      )
      const lasting = yield* Transport.reverse(Lasting, connection)
      const last = yield* Effect.fork(lasting.last(""))
      const call = yield* Effect.fork(Effect.flip(back.echo({})))
      yield* handler.started
      yield* other.started
      yield* soon(withdraw)
      expect(yield* handler.ended).toBe("interrupted")
      expect(yield* soon(Fiber.join(call))).toMatchObject({ _tag: "Unavailable", processed: "unknown" })
      expect(yield* Fiber.poll(last)).toEqual(Option.none())
      yield* Fiber.interrupt(last)
      expect(yield* other.ended).toBe("interrupted")
    }).pipe(leavesNothing, Effect.provide(quick))
  )
})
