import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import * as RpcServer from "@effect/rpc/RpcServer"
import { describe, expect } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { Middleware, RpcTransport, Transport } from "effect-transport"
import { EchoService, echo } from "../suite/fixtures/echo.js"
import { eventually, soon, within } from "../suite/fixtures/expect.js"
import { closable, connect, formats, Other, otherHandlers, serve, testOn } from "./rpcSupport.js"

/** A protocol whose server runs for as long as the test, on listeners that come and go. */
const protocolOf = (
  handlers: Layer.Layer<Layer.Layer.Success<typeof otherHandlers>> = otherHandlers,
  options?: RpcTransport.ProtocolServerOptions
) =>
  Effect.gen(function* () {
    const server = yield* Effect.provide(RpcTransport.makeProtocolServer(options), formats.MessagePack)
    yield* Layer.build(
      RpcServer.layer(Other).pipe(
        Layer.provide(handlers),
        Layer.provide(Layer.succeed(RpcServer.Protocol, server.protocol))
      )
    )
    return server.handlers
  })

/** What connections do that come and go. */
export const connectionSuite = <E>(name: string, transport: Layer.Layer<Transport.Transport, E>): void => {
  const test = testOn(transport)

  describe(`${name}, connections of @effect/rpc`, () => {
    test(
      "a client that disconnects ends all that it asked for",
      Effect.gen(function* () {
        const { log, started, target } = yield* serve()
        const [client, close] = yield* closable(connect(target))
        yield* Effect.fork(Effect.exit(client.Never()))
        yield* Effect.fork(Effect.exit(Stream.runForEach(client.Count({ to: 1000 }), () => Effect.never)))
        yield* started.take
        yield* eventually(Effect.sync(() => expect(log).toContain("made 1")))
        yield* soon(close)
        yield* eventually(
          Effect.sync(() => expect(log).toEqual(expect.arrayContaining(["Never interrupted", "Count ended"])))
        )
      })
    )

    test(
      "middleware of the listener wraps the call that all requests come on, once, until the client goes",
      Effect.gen(function* () {
        const handlers = yield* protocolOf()
        const notes: Array<string> = []
        const note = (text: string) => Effect.sync(() => notes.push(text))
        const { target } = yield* Transport.listen([handlers], {
          middleware: [
            Middleware.server({
              wrap: ({ method }, next) => Effect.zipRight(note(method), Effect.ensuring(next, note("ended")))
            })
          ]
        })
        const [client, close] = yield* closable(connect(target))
        expect(yield* client.Ping()).toBe("pong")
        expect(yield* client.Ping()).toBe("pong")
        expect(notes).toEqual(["/effect.rpc.v1.Rpc/Connect"])
        yield* soon(close)
        yield* eventually(Effect.sync(() => expect(notes).toEqual(["/effect.rpc.v1.Rpc/Connect", "ended"])))
      })
    )

    test(
      "calls in flight when the server goes fail with its error as the cause, and later ones work when it is back",
      Effect.gen(function* () {
        const handlers = yield* protocolOf()
        const listen = (port: number) => Transport.listen([handlers], { port, gracePeriod: 0 })
        const [{ address, target }, close] = yield* closable(listen(0))
        const client = yield* connect(target)
        expect(yield* client.Ping()).toBe("pong")
        const call = yield* Effect.fork(Effect.flip(client.Wait()))
        yield* Effect.yieldNow()
        yield* client.Ping()
        yield* close
        const error = yield* soon(Fiber.join(call))
        expect(error).toBeInstanceOf(RpcClientError)
        expect(error.cause).toMatchObject({ _tag: "Unavailable" })
        expect(yield* Effect.flip(client.Ping())).toBeInstanceOf(RpcClientError)
        yield* listen(address.port)
        yield* eventually(Effect.orDie(Effect.map(client.Ping(), (pong) => expect(pong).toBe("pong"))), "10 seconds")
      })
    )

    test(
      "a listener that closes takes no further requests and lets those be answered that it has",
      Effect.gen(function* () {
        const started = yield* Deferred.make<void>()
        const finish = yield* Deferred.make<string>()
        const handlers = yield* protocolOf(
          Other.toLayer({
            Ping: () => Effect.zipRight(Deferred.succeed(started, undefined), Deferred.await(finish)),
            Wait: () => Effect.void
          })
        )
        const [{ target }, close] = yield* closable(Transport.listen([handlers], { gracePeriod: "5 seconds" }))
        const client = yield* connect(target)
        const call = yield* Effect.fork(client.Ping())
        yield* Deferred.await(started)
        const closing = yield* Effect.fork(close)
        yield* eventually(
          Effect.map(Effect.flip(client.Wait()), (error) =>
            expect(error.cause).toMatchObject({ _tag: "Unavailable", processed: "no" })
          ).pipe(Effect.orDie)
        )
        expect(call.unsafePoll()).toBe(null)
        yield* Deferred.succeed(finish, "late")
        expect(yield* soon(Fiber.join(call))).toBe("late")
        yield* soon(Fiber.join(closing))
      })
    )

    test(
      "a server that closes takes no further requests and answers those that it has, for as long as it may",
      Effect.gen(function* () {
        const [{ finish, log, started, target }, close] = yield* closable(serve())
        const client = yield* connect(target)
        const [slow, never] = yield* Effect.all([Effect.fork(client.Slow()), Effect.fork(Effect.flip(client.Never()))])
        yield* Effect.repeatN(started.take, 1)
        const closing = yield* Effect.fork(close)
        yield* eventually(
          Effect.map(Effect.flip(client.Ping()), (error) =>
            expect(error.cause).toMatchObject({ _tag: "Unavailable", processed: "no" })
          ).pipe(Effect.orDie)
        )
        expect([slow.unsafePoll(), never.unsafePoll()]).toEqual([null, null])
        yield* Deferred.succeed(finish, undefined)
        expect(yield* soon(Fiber.join(slow))).toBe("late")
        // The grace period is a second.
        const error = yield* within(Fiber.join(never), "5 seconds")
        expect(error).toBeInstanceOf(RpcClientError)
        expect(error.cause).toMatchObject({ _tag: "Unavailable" })
        yield* within(Fiber.join(closing), "5 seconds")
        expect(log).toEqual(["Slow Success", "Never interrupted"])
      })
    )

    test(
      "what is larger than a message, in a serialization without frames, ends the connection with the transport's error",
      Effect.gen(function* () {
        const { target } = yield* serve({ format: formats.JSON })
        const client = yield* connect(target, formats.JSON)
        const error = yield* Effect.flip(client.Blob({ size: 6_000_000 }))
        expect(error).toBeInstanceOf(RpcClientError)
        expect(error.cause).toMatchObject({ _tag: "ResourceExhausted" })
        yield* eventually(Effect.orDie(Effect.map(client.Ping(), (pong) => expect(pong).toBe("pong"))))
      })
    )

    test(
      "several protocols on one listener, next to services of other contracts",
      Effect.gen(function* () {
        const named = (name: string, answer: string) =>
          protocolOf(Other.toLayer({ Ping: () => Effect.succeed(answer), Wait: () => Effect.never }), { name })
        const { target } = yield* Transport.listen([
          yield* named("Ours", "ours"),
          yield* named("Theirs", "theirs"),
          Transport.handlers(EchoService, echo)
        ])
        const ping = (name: string) =>
          Effect.flatMap(RpcClient.make(Other), (client) => client.Ping()).pipe(
            Effect.provide(RpcTransport.layerProtocolClient(target, { name })),
            Effect.provide(formats.MessagePack)
          )
        expect(yield* ping("Ours")).toBe("ours")
        expect(yield* ping("Theirs")).toBe("theirs")
        const error = yield* Effect.flip(ping("Nobodys"))
        expect(error).toBeInstanceOf(RpcClientError)
        expect(error.cause).toMatchObject({ _tag: "Unimplemented" })
        const other = yield* Transport.client(EchoService, target)
        expect((yield* other.echo({ message: "protobuf" })).message).toBe("protobuf")
      })
    )

    test(
      "a layer of a peer that is not there fails as a client of it does",
      Effect.gen(function* () {
        const [{ target }, close] = yield* closable(Transport.listen([]))
        yield* close
        const error = yield* Effect.flip(Effect.scoped(connect(target)))
        expect(error).toMatchObject({ _tag: "Unavailable", peer: target })
      })
    )
  })
}
