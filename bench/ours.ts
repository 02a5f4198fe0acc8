/** The contestants that are transports of this library: they differ in the layer alone. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Credentials from "effect-transport/Credentials"
import * as Transport from "effect-transport/Transport"
import { EchoService } from "../examples/gen/echo/v1/echo_pb.js"
import type { Certificates, Connection, Consumer, Contestant } from "./contestant.js"
import { bindHost, host } from "./echo.js"

const echoHandlers = (consumer: Consumer) =>
  Transport.handlers(EchoService, {
    echo: ({ payload }) => Effect.succeed({ payload }),
    echoServerStream: ({ payloadSize, repeat }) => {
      const payload = new Uint8Array(payloadSize)
      return Stream.map(Stream.range(0, repeat - 1), () => ({ payload }))
    },
    echoClientStream: (requests) =>
      Effect.map(
        Stream.runFoldEffect(requests, 0, (index, { payload }) => Effect.as(consume(consumer, payload), index + 1)),
        (index) => ({ index })
      ),
    echoBidi: (requests) => Stream.map(requests, ({ payload }) => ({ payload }))
  })

const consume = (consumer: Consumer, payload: Uint8Array): Effect.Effect<void> =>
  Effect.suspend(() => {
    const busy = consumer(payload)
    return busy === undefined ? Effect.void : Effect.promise(() => busy)
  })

/** All clients are one identity here, at one address: it may hold what a crowd does. An older checkout has no admission. */
const admission = await import("effect-transport/Admission").then(
  ({ make }) =>
    make({
      identities: { connections: 20_000, callsInFlight: 20_000, streams: 20_000 },
      sources: { connections: 20_000, connectionsPerSecond: 20_000 }
    }),
  () => undefined
)

/** Clients of one address share its connection: a further one goes to a further address, or has a transport of its own. */
type Further = "address" | "transport"

export const make = <E>(
  transport: Layer.Layer<Transport.Transport, E, Credentials.Credentials>,
  further: Further = "address",
  handlers: typeof echoHandlers = echoHandlers
): Contestant => {
  /** The transport, for what shall outlive the effect that starts it and live as long as the scope. */
  const open = async (certificates: Certificates | undefined) => {
    const scope = Effect.runSync(Scope.make())
    const credentials = certificates === undefined ? Credentials.insecure : Credentials.layerPem(certificates)
    const context = await run(Layer.buildWithScope(Layer.provide(transport, credentials), scope))
    return {
      start: <A, E>(effect: Effect.Effect<A, E, Transport.Transport | Scope.Scope>, within: Scope.Scope = scope) =>
        run(Effect.provide(Scope.extend(effect, within), context)),
      close: () => run(Scope.close(scope, Exit.void))
    }
  }

  const serve = async (certificates: Certificates | undefined, consumer: Consumer) => {
    const { start } = await open(certificates)
    const listener = await start(
      Transport.listen([handlers(consumer)], { host: further === "address" ? bindHost : host, admission })
    )
    return listener.address.port
  }

  return {
    serve,
    serveCleartext: (consumer) => serve(undefined, consumer),
    client: async (certificates) => {
      const { close, start } = await open(certificates)
      let connections = 0
      return {
        connect: async (port) => {
          if (further === "transport") {
            const own = await open(certificates)
            const client = await own.start(Transport.client(EchoService, `${host}:${port}`))
            return connection(client, own.close)
          }
          const scope = Effect.runSync(Scope.make())
          connections += 1
          const target = `127.0.${connections >> 8}.${connections & 0xff}:${port}`
          return connection(await start(Transport.client(EchoService, target), scope), () =>
            run(Scope.close(scope, Exit.void))
          )
        },
        close
      }
    }
  }
}

const run = <A, E>(effect: Effect.Effect<A, E>): Promise<A> =>
  Effect.runPromise(Logger.withMinimumLogLevel(effect, LogLevel.Warning))

const connection = (client: Transport.Client<typeof EchoService>, close: () => Promise<void>): Connection => ({
  work: ({ done, next }) =>
    run(
      Effect.gen(function* () {
        for (let message = next(); message !== undefined; message = next()) {
          done(yield* client.echo(message))
        }
      })
    ),
  close,
  download: (request, consumer) =>
    run(
      Stream.runForEach(client.echoServerStream(request, { timeout: "1 hour" }), ({ payload }) =>
        consume(consumer, payload)
      )
    ),
  upload: (payload, repeat) =>
    run(
      Effect.map(
        client.echoClientStream(
          Stream.map(Stream.range(1, repeat), () => ({ payload })),
          { timeout: "1 hour" }
        ),
        ({ index }) => index
      )
    )
})
