import { expect, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Credentials, TlsLive, Transport, TransportError } from "effect-transport"
import { EchoService } from "../../examples/gen/echo/v1/echo_pb.js"
import { echo } from "../suite/fixtures/echo.js"
import { leavesNothing, soon } from "../suite/fixtures/expect.js"

const live = Layer.provide(TlsLive, Credentials.layerDev())

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
